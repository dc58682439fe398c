# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034,SC2154 # names of test.sh, of lib.sh, of guest.sh and of report.sh
#
# Cases side by side: a case is a function that reports, as a process with a scratch folder of its own.

cases_slots=2
cases_number=0
declare -A cases_running=() # folder and begin, by process

# case_begin FUNCTION [ARGUMENT]...: begins it once there is a slot. What it reports comes when it has ended.
case_begin() {
  while ((${#cases_running[@]} >= cases_slots)); do
    case_reap
  done
  cases_number=$((cases_number + 1))
  local folder=$scratch/case-$cases_number
  mkdir -p "$folder"
  case_process "$folder" "$@" >"$folder.log" 2>&1 </dev/null &
  cases_running[$!]="$folder $SECONDS $*"
}

cases_wait() {
  while ((${#cases_running[@]})); do
    case_reap
  done
}

cases_stop() {
  local pid
  for pid in "${!cases_running[@]}"; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  cases_running=()
}

case_process() {
  scratch=$1
  export TMPDIR=$scratch
  passed=0 failed=0 skipped=0 report_failed_names=() daemon_pids=() guest_pids=()
  trap lib_stop EXIT
  trap 'exit 143' TERM
  "${@:2}"
  printf '%s\n' "$passed $failed $skipped" "${report_failed_names[@]}" >"$scratch.counts"
}

# Takes what one that has ended reported.
case_reap() {
  local folder begun name counts=() count=()
  wait_any "${!cases_running[@]}" || true # what it printed and counted says how it ended
  read -r folder begun name <<<"${cases_running[$waited]}"
  unset "cases_running[$waited]"
  cat "$folder.log"
  if [[ -s $folder.counts ]]; then
    mapfile -t counts <"$folder.counts"
    read -ra count <<<"${counts[0]}"
    passed=$((passed + count[0])) failed=$((failed + count[1])) skipped=$((skipped + count[2]))
    report_failed_names+=("${counts[@]:1}")
  else
    report_fail "$name ended early"
  fi
  echo "        $((SECONDS - begun)) s"
}
