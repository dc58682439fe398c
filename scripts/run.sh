#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# One command that shows a real Linux guest working on a shared directory.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/run.sh [DIR] [--qemu] [--shell] [--no-install] [--config FILE]
Builds spinfs, shares DIR (without it: a scratch folder with a few files), boots a Linux guest that mounts the share, and
shows a listing, a file and a read/write figure as the guest sees them.
  --qemu         boot the guest with QEMU (software emulation) in place of User-Mode Linux
  --shell        a prompt in the guest instead; leave with exit
  --no-install   install no packages, fail where some are missing
  --config FILE  run spinfsd with this configuration; the guest mounts every device of it, at /mnt, /mnt2, ...
TEXT
}

kind=uml shell=0 install=yes config='' dir=''
while (($#)); do
  case $1 in
    --qemu) kind=qemu; shift ;;
    --shell) shell=1; shift ;;
    --no-install) install=no; shift ;;
    --config) config=${2:?--config needs a file}; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *)
      [[ -z $dir ]] || { usage >&2; exit 2; }
      dir=$1
      shift
      ;;
  esac
done
[[ -z $config || -z $dir ]] || { echo "run.sh: DIR or --config, not both" >&2; exit 2; }
[[ -z $dir || -d $dir ]] || { echo "run.sh: $dir: no such directory" >&2; exit 2; }
[[ -z $config || -r $config ]] || { echo "run.sh: $config: cannot be read" >&2; exit 2; }

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Prints "SOCKET TAG" of each device of the configuration; paths are relative to the file's folder.
config_devices() {
  python3 - "$1" <<'PYTHON'
import json, os, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
folder = os.path.dirname(os.path.abspath(sys.argv[1]))
for device in config["devices"]:
    print(os.path.join(folder, device["socket"]["path"]), device["tag"])
PYTHON
}

guest_script() {
  cat <<'SCRIPT'
echo "== the share in the guest ($(uname -sr))"
ls -la /mnt | head -n 20
file=$(find /mnt -maxdepth 1 -type f -size -64k ! -name '.*' | sort | head -n 1)
if [ -n "$file" ]; then
  echo "== $file"
  head -c 1000 "$file" | tr -cd '\11\12\40-\176' | head -n 15
  echo
fi
# timed WORD COMMAND...: how fast the command moves 64 MiB
timed() {
  word=$1 begin=$(cut -d ' ' -f 1 /proc/uptime)
  shift
  "$@" 2>/tmp/error || { cat /tmp/error; return 1; }
  cut -d ' ' -f 1 /proc/uptime | awk -v begin="$begin" -v word="$word" \
    '{ printf "%s: %.0f MiB/s\n", word, 64 / ($1 > begin ? $1 - begin : 0.01) }'
}
test=/mnt/.spinfs-run-$$
echo "== 64 MiB, 1 MiB a call"
if timed written dd if=/dev/zero of=$test bs=1M count=64 conv=fsync; then
  echo 3 >/proc/sys/vm/drop_caches
  timed 'read back' dd if=$test of=/dev/null bs=1M
fi
rm -f $test
SCRIPT
}

main() {
  local sockets=() tags=() options=() socket tag i
  lib_begin
  local groups=(build guest)
  [[ $kind == uml ]] || groups=(build qemu)
  packages_install "$install" "${groups[@]}"
  echo "== building in $build"
  build_in "$build" >"$scratch/build.log" 2>&1 || { cat "$scratch/build.log"; return 1; }
  [[ -x $spinfsd ]] || { echo "run.sh: the build has no $spinfsd" >&2; return 1; }

  if [[ -n $config ]]; then
    while read -r socket tag; do
      sockets+=("$socket") tags+=("$tag")
    done < <(config_devices "$config")
    options=(--config "$config")
  else
    if [[ -z $dir ]]; then
      dir=$scratch/share
      mkdir -p "$dir/folder"
      echo "Hello from the host. This file is read in the guest through spinfs." >"$dir/hello.txt"
      seq 1000 >"$dir/folder/numbers.txt"
    fi
    sockets=("$scratch/socket") tags=(share)
    options=(--socket-path "$scratch/socket" --shared-dir "$dir" --tag share --sandbox none --seccomp none)
  fi
  ((${#sockets[@]})) || { echo "run.sh: $config has no device" >&2; return 1; }

  echo "== spinfsd ${options[*]}"
  daemon_start "$scratch/spinfsd.log" "${sockets[*]}" "${options[@]}"

  local guest_options=(--memory 512)
  for ((i = 1; i < ${#sockets[@]}; i++)); do
    guest_options+=(--device "${sockets[i]}" "${tags[i]}")
  done
  echo "== booting a guest ($kind)"
  if ((shell)); then
    guest_boot --shell "${guest_options[@]}" "$kind" "${sockets[0]}" "${tags[0]}"
  else
    guest_script >"$scratch/script"
    guest_boot "${guest_options[@]}" "$kind" "${sockets[0]}" "${tags[0]}" "$scratch/script" ||
      { local status=$?; cat "$scratch/spinfsd.log"; return "$status"; }
  fi
  daemon_stop "$daemon_pid" || { echo "spinfsd ended with status $?"; cat "$scratch/spinfsd.log"; return 1; }
  echo "== done"
}

main
