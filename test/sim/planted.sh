#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Whether the simulation finds bugs: builds with three planted ones and expects each of them to be found, and nothing without.
#
# usage: test/sim/planted.sh [BUILD_DIR]     a scratch folder if none is given; exit 0: all found
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=
if (($# == 0)); then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  set -- "$scratch/build"
fi
build=$1
[[ -e $build/build.ninja ]] || meson setup "$build" "$root" -Dplanted_bugs=true >/dev/null
ninja -C "$build" test/sim/test_sim >/dev/null

status=0
expect() {
  local planted=$1 wanted=$2 out rc=0
  out=$(SPINFS_PLANT=$planted timeout 300 "$build/test/sim/test_sim" --seeds 50 2>&1) || rc=$?
  ((rc == 0)) || rc=1
  if ((rc == wanted)); then
    echo "ok: ${planted:-nothing planted}: $(tail -n 2 <<<"$out" | head -n 1)"
  else
    echo "FAILED: ${planted:-nothing planted}: $(tail -n 2 <<<"$out")"
    status=1
  fi
}

expect '' 0
for bug in lost_resume double_end stale_fd; do
  expect "$bug" 1
done
exit "$status"
