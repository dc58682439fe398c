# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# shellcheck disable=SC2154 # names of test.sh
#
# The seeded simulation, whether it finds planted bugs, and whether the tests notice that a check is gone.

suite_sim() {
  local status=0
  build_variant gcc || return 0
  SPINFS_TEST_FULL=$((1 - quick)) timeout -k 10 "$program_seconds" "$build/test/sim/test_sim" \
    >"$scratch/sim" 2>&1 </dev/null || status=$?
  report_status 'sim: seeds' "$status" "$scratch/sim"
  suite_not_quick 'sim: planted bugs' || return 0
  status=0
  "$root/test/sim/planted.sh" "$build/planted" >"$scratch/planted" 2>&1 </dev/null || status=$?
  report_status 'sim: planted bugs' "$status" "$scratch/planted"
}

suite_mutation() {
  local status=0
  suite_not_quick mutation || return 0
  "$root/scripts/mutate.sh" --keep "$build/mutation" >"$scratch/mutation" 2>&1 </dev/null || status=$?
  report_status 'mutation: each check has a test' "$status" "$scratch/mutation"
}
