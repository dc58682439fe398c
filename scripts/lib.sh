# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What run.sh and test.sh share: folders, builds, daemons, and the way out. Sourced.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
spinfsd=$build/app/spinfsd/spinfsd
# shellcheck disable=SC2034 # for the suites
spinfs_ctl=$build/app/spinfs-ctl/spinfs-ctl
# shellcheck disable=SC2034 # for test/guest/guest.sh
GUEST_CACHE=$build/guest GUEST_UML_PRELOAD=$build/test/guest/uml_ptrace.so
# shellcheck source=scripts/packages.sh
source "$root/scripts/packages.sh"
# shellcheck source=test/guest/guest.sh
source "$root/test/guest/guest.sh"

scratch=
daemon_pids=()

# A folder of this run, removed at its end; on a disk, since tmpfs lacks what the engines want. lib_end goes into the
# caller's EXIT trap: whatever was started ends with the caller, however that ends.
lib_begin() {
  scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/spinfs.XXXXXX")
  export TMPDIR=$scratch
  mkdir -p "$GUEST_CACHE"
  trap lib_end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

# Stops what goes on, unmounts what is mounted below the folder.
lib_stop() {
  local pid at
  guest_stop_all
  for pid in "${daemon_pids[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  while read -r at; do
    umount "$at" || true
  done < <(awk -v below="$scratch/" 'index($2, below) == 1 { print $2 }' /proc/mounts | tac)
}

lib_end() {
  [[ -n $scratch ]] || return 0
  lib_stop
  if ! rm -rf "$scratch" 2>/dev/null; then
    chattr -R -f -ia "$scratch" || true # what a test made immutable and did not live to free
    rm -rf "$scratch"
  fi
}

# wait_any PID...: waits for one of these children, sets waited to it and returns its exit status. One that a signal has ended may be
# forgotten by bash before it is asked for: that one's is 255.
wait_any() {
  local pid status
  while :; do
    status=0
    wait -n -p waited "$@" 2>/dev/null || status=$?
    [[ -z ${waited:-} ]] || return "$status"
    for pid in "$@"; do
      waited=$pid
      kill -0 "$pid" 2>/dev/null || return 255
    done
    sleep 0.1
  done
}

# build_in DIR [meson's options]: sets the build up where needed and brings it up to date.
build_in() {
  local dir=$1
  shift
  if [[ ! -e $dir/build.ninja ]]; then
    meson setup "$dir" "$root" "$@" || return
  fi
  ninja -C "$dir"
}

# daemon_start LOG SOCKETS OPTION...: sets daemon_pid once each of the sockets (separated by blanks) is there.
daemon_start() {
  local log=$1 sockets=$2 socket tries=0
  shift 2
  "$spinfsd" "$@" >"$log" 2>&1 </dev/null &
  daemon_pid=$!
  daemon_pids+=("$daemon_pid")
  for socket in $sockets; do
    until [[ -S $socket ]]; do
      if ! kill -0 "$daemon_pid" 2>/dev/null || ((++tries > 200)); then
        echo "spinfsd did not start: $*"
        cat "$log"
        return 1
      fi
      sleep 0.05
    done
  done
}

# daemon_stop PID: asks it to stop, prints nothing, returns its exit status; 137 if it did not stop in time.
daemon_stop() {
  local pid=$1 status=0 kept=() other tries=0
  kill -TERM "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do
    if ((++tries > 700)); then
      kill -KILL "$pid"
      break
    fi
    sleep 0.05
  done
  wait "$pid" 2>/dev/null || status=$?
  for other in "${daemon_pids[@]}"; do
    [[ $other == "$pid" ]] || kept+=("$other")
  done
  daemon_pids=("${kept[@]}")
  return "$status"
}

# daemon_config FILE DIR SOCKET TAG [SOCKET TAG]...: a configuration with a device for each socket, all on DIR.
daemon_config() {
  local file=$1 dir=$2 comma=''
  shift 2
  {
    echo "{ \"version\": 1, \"control_socket\": \"$file.control\", \"sandbox\": \"none\", \"seccomp\": \"none\","
    echo '  "devices": ['
    while (($#)); do
      echo "    $comma{ \"tag\": \"$2\", \"socket\": { \"path\": \"$1\" },"
      echo "      \"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"$dir\", \"xattr\": true } } }"
      comma=', '
      shift 2
    done
    echo '  ] }'
  } >"$file"
}
