# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2034,SC2154 # names of test.sh and of guests.sh
#
# The suite `qemu`: what guests.sh has for both kinds of guests, and what needs QEMU: other kernels, more queues, a pause.

# A directory of 5,000 takes a minute to make and remove under emulation.
qemu_less='--entries 1000'

# guests_qmp SOCKET COMMAND...: speaks to QEMU; each command must succeed.
guests_qmp() {
  python3 - "$@" <<'PYTHON'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
f = s.makefile("rw")
f.readline()
for command in ["qmp_capabilities"] + sys.argv[2:]:
    f.write(json.dumps({"execute": command}) + "\n")
    f.flush()
    reply = json.loads(f.readline())
    while "event" in reply:
        reply = json.loads(f.readline())
    if "return" not in reply:
        sys.exit("%s: %s" % (command, reply))
PYTHON
}

# A guest that is paused while it waits for a lock of the host goes on waiting, and gets it.
guests_paused() {
  local status=0 holder round
  guests_case 'qemu: a guest is paused while it waits for a lock'
  touch "$share/f"
  echo 'flock /mnt/f touch /mnt/got & sleep 1; touch /mnt/waits; wait $!' >"$work/script"
  guests_daemon || return 0
  exec {holder}>"$share/f"
  flock "$holder"
  guest_start --timeout 120 --program "$(command -v flock)" --vmm-arg -qmp --vmm-arg "unix:$work/qmp,server=on,wait=off" \
    qemu "$socket" share "$work/script" {holder}>&-
  local pid=$GUEST_PID console=$GUEST_LOG
  guests_until 60 test -e "$share/waits" || status=1
  for round in 1 2; do
    guests_qmp "$work/qmp" stop >>"$log" 2>&1 || status=$?
    ((round == 1)) || exec {holder}>&-
    sleep 1
    if [[ -e $share/got ]]; then
      echo 'the guest has the lock though it is held, or though it is paused' >>"$log"
      status=1
    fi
    guests_qmp "$work/qmp" cont >>"$log" 2>&1 || status=$?
  done
  guest_wait "$pid" "$console" >>"$log" 2>&1 || status=$?
  [[ -e $share/got ]] || status=1
  guests_end "$status"
}

# A kernel that uses every request queue: four CPUs, four queues, requests counted on each of them by the daemon. It tries to open a
# file once.
guests_queues() {
  local status=0
  # shellcheck disable=SC2034 # for guest.sh
  local GUEST_KERNEL=
  guests_case 'qemu: Linux 6.12 with four CPUs uses four queues, and opens nothing'
  guest_kernel bookworm-backports >"$log" 2>&1 || { report_fail "$guests_name" "$log"; return 0; }
  cat >"$work/script" <<'SCRIPT'
for cpu in 0 1 2 3; do
  taskset $((1 << cpu)) dd if=/dev/zero of=/mnt/cpu$cpu bs=64k count=64 2>/dev/null || exit
done
echo 3 >/proc/sys/vm/drop_caches
for cpu in 0 1 2 3; do
  taskset $((1 << cpu)) dd if=/mnt/cpu$cpu of=/dev/null bs=64k 2>/dev/null || exit
done
touch /mnt/done
until [ -e /mnt/counted ]; do sleep 1; done
conformance --only data_ --only open_ /mnt
SCRIPT
  guests_daemon --request-queues 4 --cache always --no-open --control-socket "$work/control" || return 0
  guest_start --timeout 300 --smp 4 --queues 4 --program "$guests_program" qemu "$socket" share "$work/script"
  local pid=$GUEST_PID console=$GUEST_LOG
  guests_until 120 test -e "$share/done" || status=1
  "$spinfs_ctl" --socket "$work/control" stats --json >"$work/stats" 2>&1 || status=$?
  touch "$share/counted"
  guest_wait "$pid" "$console" >"$log" 2>&1 || status=$?
  if ! python3 - "$work/stats" >>"$log" 2>&1 <<'PYTHON'; then status=1; fi
import json, sys
device = json.load(open(sys.argv[1]))["devices"][0]
requests = {queue["index"]: queue["requests"] for queue in device["queues"]}
opens = device["ops"]["OPEN"]["count"]
print("requests of each queue:", requests, "OPEN:", opens)
sys.exit(any(requests.get(index, 0) < 10 for index in (1, 2, 3, 4)) or opens != 1)
PYTHON
  guests_end "$status"
}

# guests_counted OPERATION...: the case's daemon, which has a control socket, has served each of them.
guests_counted() {
  "$spinfs_ctl" --socket "$work/control" stats --json >"$work/stats" 2>&1 || { cat "$work/stats"; return 1; }
  python3 - "$work/stats" "$@" <<'PYTHON'
import json, sys
ops = json.load(open(sys.argv[1]))["devices"][0]["ops"]
counts = {name: ops.get(name, {}).get("count", 0) for name in sys.argv[2:]}
print(counts)
sys.exit(not all(counts.values()))
PYTHON
}

# What only newer kernels ask for: birth times (STATX, 6.6), a caller's groups (6.3), shared mappings without a cache (6.6), files
# without a name, ids that a mount maps (6.12). With killpriv, so that the guest leaves it to us to drop set-user-ID bits. The daemon
# has counted what came.
guests_newer() {
  local status=0
  # shellcheck disable=SC2034 # for guest.sh
  local GUEST_KERNEL=
  guests_case 'qemu: Linux 6.12, nothing cached: birth times, groups, mappings, mapped ids, killpriv'
  guest_kernel bookworm-backports >"$log" 2>&1 || { report_fail "$guests_name" "$log"; return 0; }
  guests_native
  guests_daemon --engine workers --cache never --allow-mmap --killpriv-v2 --posix-acl --on-disconnect listen \
    --control-socket "$work/control" || return 0
  echo "conformance $qemu_less ${guests_options[*]} /mnt" >"$work/script"
  guest_boot --timeout 600 --program "$guests_program" qemu "$socket" share "$work/script" >"$log" 2>&1 || status=$?
  guests_counted STATX TMPFILE IOCTL LSEEK FALLOCATE SETLKW >>"$log" 2>&1 || status=1
  guests_compare || { cat "$work/compared" >>"$log"; status=1; }
  guests_end "$status"
}

# The share as the guest's root file system, from which its first process comes: no other is there. Attributes are kept, data are
# not, and mapped by no file. And what only the newest kernels ask for (copies of more than 4 GiB, 7.45).
guests_root() {
  local status=0
  # shellcheck disable=SC2034 # for guest.sh
  local GUEST_KERNEL=
  guests_case 'qemu: a newest Linux boots from the share'
  guest_kernel trixie-backports >"$log" 2>&1 || { report_fail "$guests_name" "$log"; return 0; }
  guests_native
  guests_daemon --cache metadata --on-disconnect listen --control-socket "$work/control" || return 0
  cat >"$work/script" <<SCRIPT
grep -q '^share / virtiofs ' /proc/mounts || exit
mkdir /mnt/here
conformance $qemu_less ${guests_options[*]} /mnt/here
SCRIPT
  guest_boot --timeout 600 --root "$share" --program "$guests_program" qemu "$socket" share "$work/script" >"$log" 2>&1 ||
    status=$?
  guests_counted COPY_FILE_RANGE_64 STATX TMPFILE SETLKW READLINK >>"$log" 2>&1 || status=1
  guests_compare || { cat "$work/compared" >>"$log"; status=1; }
  guests_end "$status"
}

# What only older kernels say: killpriv in its first form (before 5.11, 7.33), where each write drops set-user-ID bits.
guests_older() {
  local status=0 only=(--only attr_ --only perm_ --only xattr_ --only open_)
  # shellcheck disable=SC2034 # for guest.sh
  local GUEST_KERNEL=
  guests_case 'qemu: Linux 5.10, killpriv in its first form'
  if ! guest_kernel bullseye >"$log" 2>&1; then
    # Old releases leave the archive one day.
    if grep -q 'does not have a Release file' "$log"; then
      report_skip "$guests_name" 'the package archive has Debian 11 no more'
      rm -rf "$work"
    else
      report_fail "$guests_name" "$log"
    fi
    return 0
  fi
  echo "conformance ${only[*]} /mnt" >"$work/script"
  guests_native "${only[@]}"
  guests_daemon --killpriv-v2 --log-level debug || return 0
  guest_boot --timeout 300 --program "$guests_program" qemu "$socket" share "$work/script" >"$log" 2>&1 || status=$?
  # FUSE_HANDLE_KILLPRIV and no FUSE_HANDLE_KILLPRIV_V2
  local agreed
  agreed=$(sed -n 's/.*INIT: guest 7\.32 .*agreed \(0x[0-9a-f]*\).*/\1/p' "$work/spinfsd.log")
  if (((${agreed:-0} & (1 << 19 | 1 << 28)) != 1 << 19)); then
    echo "INIT flags ${agreed:-none}" >>"$log"
    status=1
  fi
  # Nameless files came with 6.1.
  # shellcheck disable=SC2086 # words
  guests_compare $guests_linux_6_1 open_tmpfile || { cat "$work/compared" >>"$log"; status=1; }
  guests_end "$status"
}

# A guest with SELinux (without a policy everything is "unlabeled"), whose labels the host keeps under another name.
guests_labels() {
  local status=0
  guests_case 'qemu: labels of a guest with SELinux'
  cat >"$work/script" <<'SCRIPT'
cd /mnt && touch file && mkdir dir && touch dir/file && ln -s file link && mkfifo fifo && grep -q . /proc/self/attr/current
SCRIPT
  guests_daemon --security-label --xattrmap ':map:security.:user.virtiofs.:' || return 0
  guest_boot --append 'security=selinux selinux=1 enforcing=0' qemu "$socket" share "$work/script" >"$log" 2>&1 || status=$?
  (cd "$share" && python3 - file dir dir/file >>"$log" 2>&1 <<'PYTHON') || status=1
import os, sys
for name in sys.argv[1:]:
    label = os.getxattr(name, "user.virtiofs.security.selinux")
    print(name, label)
    assert b"unlabeled" in label
assert os.path.islink("link") and os.path.exists("fifo")
PYTHON
  guests_end "$status"
}

# A machine of QEMU's plays a host with SELinux and a policy of its own: the daemon runs in there, on tmpfs and on ext4, its guests are
# the program's.
guests_selinux_host() {
  local status=0
  guests_case 'qemu: a host with SELinux'
  cat >"$work/script" <<'SCRIPT'
mount -t selinuxfs none /sys/fs/selinux &&
  cat /guest/policy >/sys/fs/selinux/load &&
  echo 1 >/sys/fs/selinux/enforce || exit
test_daemon_labels
on_tmpfs=$?
mount -o loop -t ext4 /guest/ext4 /tmp && test_daemon_labels 'labels *' && exit $on_tmpfs
SCRIPT
  if ! checkpolicy -U allow -o "$work/policy" "$root/test/guest/selinux.conf" >"$log" 2>&1 ||
    ! mkfs.ext4 -q "$work/ext4" 16M >"$log" 2>&1; then
    report_fail "$guests_name" "$log"
    return 0
  fi
  guest_boot --alone --timeout 300 --memory 512 --append 'security=selinux selinux=1' --module loop --file "$work/policy" /guest/policy \
    --file "$work/ext4" /guest/ext4 --program "$spinfsd" --program "$build/test/guest/test_daemon_labels" \
    --env "SPINFSD=/usr/bin/spinfsd" --env CMOCKA_MESSAGE_OUTPUT=TAP qemu "$work/script" >"$log" 2>&1 || status=$?
  report_program "$guests_name" "$status" "$log"
  rm -rf "$work"
}

suite_qemu() {
  local guests_daemon_options=() kernel
  guests_ready qemu || return 0
  guest_kernel bookworm >"$scratch/kernel.log" 2>&1 || { report_fail 'qemu: no kernel for the guest' "$scratch/kernel.log"; return 0; }
  guests_conformance_options=$qemu_less case_begin guests_conformance qemu 'qemu: conformance'
  case_begin guests_paused
  if ((quick == 0)); then
    # Fetched by one; the case says what was wrong.
    for kernel in bookworm-backports trixie-backports bullseye; do
      (guest_kernel "$kernel") >/dev/null 2>&1 || true
    done
    # Half of a ring of 16 may wait for a lock. What moves data, and what waits: the rest in this mode is the suite lower's.
    guests_daemon_options=(--engine libaio --cache always --writeback)
    guests_conformance_options="$qemu_less --waiters 6 --only data_ --only dir_ --only lock_ --only open_ --only space_" \
      case_begin guests_conformance qemu 'qemu: conformance, always and writeback, 4 CPUs, small rings' --smp 4 --queue-size 16
    guests_daemon_options=()
    case_begin guests_newer
    case_begin guests_root
    case_begin guests_older
    case_begin guests_queues
    case_begin guests_tree qemu
    case_begin guests_fsops qemu
    case_begin guests_dbench qemu
    case_begin guests_killed qemu
    case_begin guests_locks qemu
    case_begin guests_two qemu
    case_begin guests_fio qemu
    case_begin guests_labels
    case_begin guests_selinux_host
  fi
  cases_wait
}
