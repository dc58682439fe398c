# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Counting. A suite reports single cases, or whole programs whose output is read: TAP is counted case by case (cmocka's
# programs write it), anything else is one case that its exit status decides, 77 being a skip. Sourced.

passed=0 failed=0 skipped=0
report_failed_names=()

report_pass() {
  passed=$((passed + 1))
  echo "ok      $1"
}

# report_fail NAME [FILE]: FILE holds what the case printed.
report_fail() {
  failed=$((failed + 1))
  report_failed_names+=("$1")
  echo "NOT OK  $1"
  if [[ -n ${2:-} && -s $2 ]]; then
    tail -n 100 "$2" | sed 's/^/        | /'
  fi
}

# report_skip NAME REASON
report_skip() {
  skipped=$((skipped + 1))
  echo "skip    $1: $2"
}

# Fails NAME unless STATUS is 0.
report_status() {
  if (($2 == 0)); then report_pass "$1"; else report_fail "$1 (exit status $2)" "${3:-}"; fi
}

# report_program NAME STATUS FILE
report_program() {
  local name=$1 status=$2 file=$3 counts good bad missed planned
  if ! grep -qE '^1\.\.[0-9]+' "$file"; then
    if ((status == 77)); then
      report_skip "$name" "$(tail -n 1 "$file")"
    else
      report_status "$name" "$status" "$file"
    fi
    return
  fi
  counts=$(awk '
    /^1\.\.[0-9]+/ { sub(/^1\.\./, ""); planned += $1; next }
    /^(not )?ok .*# SKIP/ { missed++; next }
    /^ok / { good++; next }
    /^not ok / { bad++ }
    END { print good + 0, bad + 0, missed + 0, planned + 0 }' "$file")
  read -r good bad missed planned <<<"$counts"
  passed=$((passed + good)) skipped=$((skipped + missed))
  echo "ok      $name: $good cases"
  awk -v name="$name" '
    /^# / { reason = substr($0, 3); sub(/^skip: /, "", reason); next }
    /^(not )?ok .*# SKIP/ { sub(/^(not )?ok [0-9]+ -? ?/, ""); sub(/# SKIP/, ""); print "skip    " name ": " $0 " " reason }
    { reason = "" }' "$file" | sed 's/  */ /g; s/^skip /skip    /'
  report_failed_cases "$name" "$file" "$bad"
  if ((good + bad + missed < planned)); then
    ((bad == 0)) || file=/dev/null # shown already
    report_fail "$name (ended after $((good + bad + missed)) of $planned cases, exit status $status)" "$file"
  elif ((status != 0 && bad == 0)); then
    report_fail "$name (every case passed, but exit status $status)" "$file"
  fi
}

# The program's failed cases by name, then once what it printed.
report_failed_cases() {
  local name=$1 file=$2 count=$3 line
  ((count)) || return 0
  failed=$((failed + count))
  while read -r line; do
    report_failed_names+=("$name: $line")
    echo "NOT OK  $name: $line"
  done < <(grep '^not ok ' "$file" | grep -v '# SKIP' | sed 's/^not ok [0-9]* *-* *//')
  grep -vE '^ok ' "$file" | tail -n 150 | sed 's/^/        | /'
}

# The last line of every run; its status is that of the run.
report_end() {
  local name
  if ((failed)); then
    echo
    echo "failed:"
    for name in "${report_failed_names[@]}"; do
      echo "  $name"
    done
  fi
  echo
  echo "$passed passed, $failed failed, $skipped skipped"
  ((failed == 0 && passed > 0))
}
