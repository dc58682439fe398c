# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # names of test.sh and of guests.sh
#
# The suite `lower`: a User-Mode Linux guest on shares that lie on filesystems of each kind, from image files where they
# need a disk. What this machine cannot make or mount is skipped, with the reason.

# Prints what is wrong with making the filesystem $1 at $2, from files in the folder $3; nothing: it is mounted.
lower_mount() {
  local kind=$1 at=$2 dir=$3 image=$3/image
  mkdir -p "$at" "$dir"
  case $kind in
    ext4 | xfs | btrfs)
      command -v "mkfs.$kind" >/dev/null || { echo "no mkfs.$kind"; return; }
      truncate -s 512M "$image"
      "mkfs.$kind" -q "$image" >/dev/null 2>&1 || { echo "mkfs.$kind failed"; return; }
      mount -o loop "$image" "$at" 2>/dev/null || echo 'no loop mounts'
      ;;
    tmpfs) mount -t tmpfs none "$at" 2>/dev/null || echo 'no tmpfs' ;;
    # It has no file handles unless it is asked for them.
    overlay)
      lower_mount ext4 "$dir/base" "$dir" | grep . && return
      mkdir -p "$dir/base/low/old" "$dir/base/up" "$dir/base/work"
      echo content >"$dir/base/low/old/file"
      mount -t overlay -o "lowerdir=$dir/base/low,upperdir=$dir/base/up,workdir=$dir/base/work" none "$at" 2>/dev/null ||
        echo 'no overlay mounts'
      ;;
  esac
}

lower_unmount() {
  local at
  for at in "$1" "$2/base"; do
    while mountpoint -q "$at" 2>/dev/null && umount "$at" 2>/dev/null; do :; done
  done
}

lower_script() {
  cat <<'SCRIPT'
# shellcheck disable=SC2086 # words
conformance $OPTIONS /mnt || exit
fsops run /mnt/ops 7 "$OPS" /tmp/list || exit
umount /mnt && mount -t virtiofs share /mnt || exit
fsops check /mnt/ops /tmp/list || exit
cp /tmp/list /mnt/list
SCRIPT
}

# lower_case KIND [OPTION...]: the daemon's options.
lower_case() {
  local kind=$1 status=0 stopped=0 reason ops=1500
  shift
  guests_case "lower: $kind${*:+, $*}"
  ((quick)) || ops=8000
  reason=$(lower_mount "$kind" "$share" "$work/image.d")
  if [[ -n $reason ]]; then
    lower_unmount "$share" "$work/image.d"
    report_skip "$guests_name" "$reason"
    rm -rf "$work"
    return 0
  fi
  mkdir -p "$share/ops"
  chmod 755 "$share"
  lower_script >"$work/script"
  guests_native
  if guests_daemon "$@"; then
    guest_boot --timeout 600 --env "OPS=$ops" --env "OPTIONS=${guests_options[*]}" --program "$guests_program" \
      --program "$guests_fsops" uml "$socket" share "$work/script" >"$log" 2>&1 || status=$?
    daemon_stop "$daemon_pid" || stopped=$?
    if ((status == 0)) && ! "$guests_fsops" check "$share/ops" "$share/list" >>"$log" 2>&1; then
      status=1
    fi
    report_program "$guests_name" "$status" "$log"
    # shellcheck disable=SC2086 # words
    guests_compared $guests_linux_6_1
    ((stopped == 0)) || report_fail "$guests_name: spinfsd ended with status $stopped" "$work/spinfsd.log"
  fi
  lower_unmount "$share" "$work/image.d"
  mountpoint -q "$share" || rm -rf "$work"
}

suite_lower() {
  local kind
  suite_not_quick lower || return 0
  guests_ready lower || return 0
  if ((EUID != 0)); then
    report_skip 'lower' 'only root may mount'
    return 0
  fi
  for kind in ext4 xfs btrfs tmpfs overlay; do
    case_begin lower_case "$kind"
  done
  case_begin lower_case ext4 --inode-file-handles never
  case_begin lower_case ext4 --cache never
  case_begin lower_case xfs --cache always --writeback --killpriv-v2 --allow-direct-io
  case_begin lower_case overlay --cache metadata --posix-acl
  case_begin lower_case ext4 --cache always --no-open --inode-fds-max 8 --posix-acl --killpriv-v2 --allow-direct-io
  case_begin lower_case overlay --cache always --no-open
  cases_wait
}
