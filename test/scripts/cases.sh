#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Cases side by side (scripts/suites/cases.sh), however they end: each is counted, and what is not passed has a name.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
source "$here/scripts/lib.sh"
# shellcheck source=scripts/report.sh
source "$here/scripts/report.sh"
# shellcheck source=scripts/suites/cases.sh
source "$here/scripts/suites/cases.sh"

# shellcheck disable=SC2317 # by case_begin
passes() { report_pass "$1"; report_skip "$1" 'no reason'; }
# shellcheck disable=SC2317
fails() { report_fail 'one that fails'; }
# shellcheck disable=SC2317
gives_up() { report_pass 'lost'; false; report_pass 'never'; }
# shellcheck disable=SC2317
is_killed() { kill -KILL "$BASHPID"; }
# shellcheck disable=SC2317
leaves_a_child() { sleep 1000 & daemon_pids+=("$!"); echo "$!" >"$left"; }

lib_begin
left=$scratch/left
for begin in 'passes first' fails gives_up is_killed is_killed leaves_a_child 'passes last'; do
  # shellcheck disable=SC2086 # words
  case_begin $begin
done >"$scratch/printed"
cases_wait >>"$scratch/printed"

# Whose process this was is gone with it.
if kill -0 "$(<"$left")" 2>/dev/null; then
  echo "a case's child goes on"
  exit 1
fi
[[ "$passed $failed $skipped" == '2 4 2' ]] || {
  echo "$passed $failed $skipped"
  cat "$scratch/printed"
  exit 1
}
printf '%s\n' "${report_failed_names[@]}" | sort >"$scratch/names"
diff - "$scratch/names" <<'NAMES'
gives_up ended early
is_killed ended early
is_killed ended early
one that fails
NAMES
