#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs every test. The last line says how it went: N passed, N failed, N skipped.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/test.sh [--quick] [--suite NAME]... [--engine E]... [--list] [--no-install]
  --quick        what is worth waiting for before each commit: at most 6 minutes on 2 cores; everything: at most 40
  --suite NAME   only this suite, or these
  --engine E     of io_uring, libaio and workers only this engine, or these
  --list         names the suites
  --no-install   install no packages, fail where some are missing
TEXT
}

# name, what it does
suites=(
  'format   clang-format and shellcheck over the tree'
  'unit     unit tests, built by gcc'
  'clang    everything builds under clang (not with --quick)'
  'asan     unit and functional tests under the address and undefined behaviour sanitizers (not with --quick)'
  'tsan     unit tests with threads under the thread sanitizer (not with --quick)'
  'functional  the whole daemon against a fake guest, once an engine (with --quick: the first)'
  'sim      the seeded simulation (with --quick: 50 seeds), and bugs that it must find (not with --quick)'
  'mutation  one check removed at a time: a named test must fail (only by --suite: it builds once a check)'
  'uml      real guests: User-Mode Linux'
  'qemu     real guests: QEMU with software emulation'
  'lower    a real guest on shares of several filesystems: ext4, XFS, btrfs, tmpfs, overlayfs (not with --quick)'
  'fuzz     short runs of the fuzzers (not with --quick)'
  'tidy     clang-tidy over the tree (only by --suite: minutes of analysis)'
)

quick=0 install=yes list=0 chosen=() engines=()
# shellcheck disable=SC2034 # quick is for the suites
while (($#)); do
  case $1 in
    --quick) quick=1; shift ;;
    --suite) chosen+=("${2:?--suite needs a name}"); shift 2 ;;
    --engine)
      [[ ${2:-} =~ ^(io_uring|libaio|workers)$ ]] || { usage >&2; exit 2; }
      engines+=("$2")
      shift 2
      ;;
    --list) list=1; shift ;;
    --no-install) install=no; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

suite_names() {
  printf '%s\n' "${suites[@]}" | awk '{ print $1 }'
}

if ((list)); then
  printf '%s\n' "${suites[@]}" | sed 's/  */  /'
  exit 0
fi
for suite in "${chosen[@]}"; do
  suite_names | grep -qx -- "$suite" || { echo "test.sh: no suite $suite; --list names them" >&2; exit 2; }
done
((${#chosen[@]})) || mapfile -t chosen < <(suite_names | grep -vxE 'mutation|tidy')
((${#engines[@]})) || engines=(io_uring libaio workers)

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/report.sh
source "$root/scripts/report.sh"
for file in "$root"/scripts/suites/*.sh; do
  # shellcheck source=/dev/null
  source "$file"
done

# However a run ends, nothing of it goes on, and it says how many passed: on the run's own output, wherever that of the
# command that was interrupted went.
exec 9>&1
test_end() {
  exec >&9 2>&9
  programs_stop
  cases_stop
  lib_end || report_fail 'test.sh: its files are not all gone'
  ((finished)) || report_fail 'test.sh ended early'
  report_end
}

finished=0
lib_begin
trap test_end EXIT
cd "$root"
if ! packages_install "$install" build guest qemu test; then
  report_fail 'packages: some are missing'
else
  for suite in "${chosen[@]}"; do
    echo "--- $suite"
    begun=$SECONDS
    "suite_$suite"
    echo "--- $suite took $((SECONDS - begun)) s"
  done
fi
finished=1
