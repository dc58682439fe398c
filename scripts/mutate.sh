#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Whether the tests notice when a check is gone: for each row of test/mutation/rows applies the patch that removes one check
# to a copy of the tree, builds the row's test program and expects the named test to fail. Prints a line a row; the last
# line is: N red, N green, N broken.
set -euo pipefail

usage() {
  echo 'usage: scripts/mutate.sh [--list] [--keep DIR] [ROW]...     exit 0: every row turned red' >&2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
table=$root/test/mutation/rows
seconds=60 # a test that loops for ever is red, too; one of the whole daemon takes longer to give up
seconds_functional=200
daemon=app/spinfsd/spinfsd

rows() {
  grep -v '^#' "$table"
}

work=
only=()
while (($#)); do
  case $1 in
    --list) rows; exit 0 ;;
    --keep) work=${2:?--keep needs a folder}; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage; exit 2 ;;
    *) only+=("$1"); shift ;;
  esac
done
for name in "${only[@]}"; do
  grep -q "^$name " "$table" || { echo "mutate.sh: no row $name; --list names them" >&2; exit 2; }
done

if [[ -z $work ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
# A run that was broken off has left objects of a mutant that look new.
[[ ! -e $work/mutant ]] || rm -rf "$work/build"
mkdir -p "$work/tree"

# The tree as it stands, with what is not committed; unchanged files keep their times, so a kept folder builds little.
(cd "$root" && git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
  [[ ! -e $file ]] || printf '%s\0' "$file"
done | tar --null -T - -cf -) | tar -C "$work/tree" -xf -
[[ -e $work/build/build.ninja ]] || meson setup "$work/build" "$work/tree" -Dwerror=false >/dev/null

# What a row's program needs to be built.
row_targets() {
  echo "test/$1"
  [[ $1 != functional/* ]] || echo "$daemon"
}

# What every row links is built once, sound.
mapfile -t targets < <(rows | while read -r _ target _; do row_targets "$target"; done | sort -u)
ninja -C "$work/build" "${targets[@]}" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

red=0 green=0 broken=0

# row NAME TARGET TEST: prints what became of it.
row() {
  local name=$1 target=$2 test=$3 status=0 limit=$seconds arguments=() needs
  mapfile -t needs < <(row_targets "$target")
  if [[ $target == functional/* ]]; then
    limit=$seconds_functional arguments=("$test")
  fi
  : >"$work/mutant"
  if ! patch -s -d "$work/tree" -p1 <"$root/test/mutation/$name.patch" >"$work/log" 2>&1; then
    broken=$((broken + 1))
    echo "broken $name: the patch does not apply: $(head -n 1 "$work/log")"
    return
  fi
  if ! ninja -C "$work/build" "${needs[@]}" >"$work/log" 2>&1; then
    broken=$((broken + 1))
    echo "broken $name: does not build: $(grep -m 1 'error:' "$work/log" || true)"
  else
    # Braces: the shell's own word about a program that was killed goes where the program's go.
    {
      SPINFSD=$work/build/$daemon timeout -k 5 "$limit" "$work/build/test/$target" "${arguments[@]}"
    } >"$work/log" 2>&1 </dev/null || status=$?
    if ((status == 0)); then
      green=$((green + 1))
      echo "GREEN  $name: $target passes without the check"
    elif grep -qE "(FAILED|ERROR) +\\] $test" "$work/log"; then
      red=$((red + 1))
      echo "red    $name: $test fails"
    elif ((status >= 124)) && grep 'RUN      \]' "$work/log" | tail -n 1 | grep -q "$test"; then
      red=$((red + 1))
      echo "red    $name: $test ends the program (status $status)"
    else
      green=$((green + 1))
      echo "GREEN  $name: $target fails (status $status), but not in $test: $(grep -m 1 'FAILED  \]' "$work/log" || true)"
    fi
  fi
  patch -s -R -d "$work/tree" -p1 <"$root/test/mutation/$name.patch"
}

while read -r name target test; do
  if ((${#only[@]})) && [[ " ${only[*]} " != *" $name "* ]]; then
    continue
  fi
  row "$name" "$target" "$test"
done < <(rows)
rm -f "$work/mutant"
echo "$red red, $green green, $broken broken"
((green == 0 && broken == 0))
