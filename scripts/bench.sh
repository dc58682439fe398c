#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Measures spinfs, both virtiofsd daemons and the bare core in one run: a JSON file, a table and plots.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/bench.sh [--quick] [--peers c,rust] [--only CASE] [--rounds N] [--compare FILE] [--out DIR]
                        [--cpus DAEMON,LOAD] [--time S] [--list] [--no-install]
  --quick         the most telling cases, short runs, 3 rounds: at most 5 minutes; everything: at most 60
  --peers LIST    of c (QEMU's virtiofsd) and rust only these; none: no peer (c,rust)
  --only CASE     only this case, any number of times; a shell pattern is understood
  --rounds N      how often each measurement is taken (5; with --quick 3)
  --time S        length of each measurement (1; with --quick 0.5); below 0.5 only shows that everything works
  --compare FILE  also a table against the results.json of an earlier run; a loss above 5 % is the exit status 1
  --out DIR       where results.json, results.md and the plots go (build/bench)
  --cpus D,L      the daemon's CPU and the load's (0,1)
  --list          names the cases
  --no-install    install no packages, fail where some are missing
TEXT
}

install=yes quick=0 peers=c,rust rounds='' out='' options=()
while (($#)); do
  case $1 in
    --quick) quick=1; options+=(--quick); shift ;;
    --peers) peers=${2?--peers needs a list}; shift 2 ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --only | --compare | --cpus | --time) options+=("$1" "${2:?$1 needs a value}"); shift 2 ;;
    --list) options+=(--list); install=no; shift ;;
    --no-install) install=no; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
[[ $peers == none ]] && peers=
[[ $peers =~ ^((c|rust)(,(c|rust))*)?$ ]] || { usage >&2; exit 2; }
[[ -z $rounds || $rounds =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }
[[ -n $rounds ]] || rounds=$((quick ? 3 : 5))

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ -z $out ]] || out=$(realpath -m "$out")
if [[ " ${options[*]} " == *' --list '* ]]; then
  exec python3 -B "$root/scripts/bench/main.py" --list
fi

# The Rust daemon needs a newer C library than Debian 12's: it runs through the loader of the one beside it.
bench_fetch_rust() {
  "$root/scripts/fetch-deb.sh" trixie "$build/bench-peers/rust" virtiofsd libc6 libgcc-s1 libseccomp2 libcap-ng0
}

# Prints the folder of an ext4 with a journal, from an image file in the run's folder, where the run's own filesystem is an ext4
# without: one that uses inode numbers of deleted files again only after a minute, and searches on, one by one, until then.
bench_journaled() {
  local at=$scratch/journaled number device
  number=$(stat -c '%Hd:%Ld' "$scratch")
  device=$(basename "$(realpath "/sys/dev/block/$number" 2>/dev/null)")
  [[ $(stat -f -c %T "$scratch") == ext* && -n $device ]] || return 0
  ! compgen -G "/proc/fs/jbd2/$device-*" >/dev/null || return 0
  mkdir "$at"
  truncate -s 4G "$scratch/image"
  mkfs.ext4 -q "$scratch/image" 2>/dev/null && mount -o loop "$scratch/image" "$at" 2>/dev/null && echo "$at"
}

lib_begin
packages_install "$install" build bench guest
[[ ,$peers, != *,rust,* ]] || bench_fetch_rust
((quick)) || packages_install "$install" qemu
echo "== building in $build"
build_in "$build" >"$scratch/build.log" 2>&1 || { cat "$scratch/build.log"; exit 1; }
status=0
journaled=$(bench_journaled) || true
[[ -z $journaled ]] || options+=(--journaled "$journaled")
python3 -B "$root/scripts/bench/main.py" --build "$build" --scratch "$scratch" --peers "$peers" --rounds "$rounds" \
  --out "${out:-$build/bench}" "${options[@]}" || status=$?
exit "$status"
