# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # names of test.sh
#
# The suite `uml`, and the cases that it has in common with others. Each case has a share of its own and, if not said otherwise, a
# daemon of its own.

guests_program=$build/test/guest/conformance
guests_fsops=$build/test/guest/fsops
guests_number=0
# Cases that are right on the host and not to be had in a guest. Linux sends the groups of a caller from 6.3 on, asks for birth
# times from 6.6 on, and maps ids by mount from 6.12 on.
guests_linux_6_1='perm_setgid_of_member perm_idmapped_mount ext_birth_time'
# Without --posix-acl a guest has none.
guests_without_acls='xattr_acl_default xattr_acl_grants'

# guests_case NAME: begins a case; sets guests_name, share, socket, log and work, a folder that goes with the case.
guests_case() {
  guests_number=$((guests_number + 1))
  work=$scratch/guest-$guests_number
  share=$work/share socket=$work/socket log=$work/log guests_name=$1
  mkdir -p "$share"
  chmod 755 "$work" "$share"
}

# Block counts and change times are the host's, which has not heard of everything that a writeback cache holds: docs/semantics.md.
guests_without_writeback='space_blocks_follow_data attr_ctime_follows_changes'

# guests_daemon [OPTION...]: the case's daemon on its share. Where it does not start, the case has failed. Sets guests_known to the
# cases of the conformance program that the options leave out, and guests_options to those of the program that go with them.
guests_daemon() {
  local case
  guests_known='' guests_options=()
  [[ " $* " == *' --posix-acl '* ]] || guests_known=$guests_without_acls
  if [[ " $* " == *' --writeback '* ]]; then
    guests_known+=" $guests_without_writeback"
    for case in $guests_without_writeback; do
      guests_options+=(--skip "$case")
    done
  fi
  # A guest that may not keep a file's data maps none, unless it is told to.
  if [[ " $* " =~ ' --cache '(never|metadata)' ' && " $* " != *' --allow-mmap '* ]]; then
    guests_options+=(--no-shared-mappings)
  fi
  daemon_start "$work/spinfsd.log" "$socket" --socket-path "$socket" --shared-dir "$share" --tag share --xattr \
    -o posix_lock,flock --sandbox none --seccomp none "$@" >"$log" 2>&1 && return 0
  report_fail "$guests_name" "$log"
  return 1
}

# guests_end STATUS: ends the case with its daemon, whose clean exit is part of it; the log of both is shown on failure.
guests_end() {
  local status=$1 stopped=0
  daemon_stop "$daemon_pid" || stopped=$?
  if ((status == 0 && stopped != 0)); then
    echo "spinfsd ended with status $stopped" >>"$log"
    status=$stopped
  fi
  if mountpoint -q "$share/sub"; then
    umount "$share/sub" || { report_fail "$guests_name: the share is still in use"; return 0; }
  fi
  if ((status)); then
    { echo "--- spinfsd:"; tail -n 40 "$work/spinfsd.log"; } >>"$log"
  fi
  report_status "$guests_name" "$status" "$log"
  rm -rf "$work"
}

# Waits up to $1 seconds for the command that follows.
guests_until() {
  local tries=$(($1 * 10))
  shift
  until "$@"; do
    ((tries-- > 0)) || return 1
    sleep 0.1
  done
}

# guests_native [conformance's options...]: runs the program without any guest on the case's share, before the daemon does; what
# it printed is then in $work/native.
guests_native() {
  timeout 600 "$guests_program" "$@" "$share" >"$work/native" 2>&1 || true
}

# guests_compare [CASE...]: the guest's cases, in the log, against those of guests_native. Fails where a case that is right on the
# host's own filesystem is not so, or skipped, in the guest, but for the CASEs; and where one fails on the host itself.
# $work/compared says why.
guests_compare() {
  local known=" $* $guests_known " file name status=0
  for file in "$work/native" "$log"; do
    grep -qE '^1\.\.[1-9]' "$file" || status=1
  done
  if ((status)) || grep -q '^not ok' "$work/native"; then
    { echo '--- no cases, or some fail on the host itself:'; grep -vE '^ok ' "$work/native"; } >"$work/compared"
    return 1
  fi
  awk '
    /^ok / && !/# SKIP/ { if (NR == FNR) host[$4]; else guest[$4] }
    END { for (name in host) if (!(name in guest)) print name }' "$work/native" "$log" | sort >"$work/differ"
  while read -r name; do
    [[ $known != *" $name "* ]] || continue
    echo "$name: right on the host, not in the guest"
    status=1
  done <"$work/differ" >"$work/compared"
  return "$status"
}

# guests_compared [CASE...]: the same as a case of its own.
guests_compared() {
  local status=0
  guests_compare "$@" || status=$?
  report_status "$guests_name, against the host" "$status" "$work/compared"
}

# conformance KIND LABEL [guest_boot's options...]; extra daemon options in guests_daemon_options, the program's own in
# guests_conformance_options.
guests_conformance() {
  local kind=$1 status=0 stopped=0 options
  guests_case "$2"
  shift 2
  read -ra options <<<"${guests_conformance_options:-}"
  guests_native "${options[@]}"
  guests_daemon "${guests_daemon_options[@]}" || return 0
  echo "conformance ${options[*]} ${guests_options[*]} /mnt" >"$work/script"
  guest_boot --timeout 600 --program "$guests_program" "$@" "$kind" "$socket" share "$work/script" >"$log" 2>&1 || status=$?
  daemon_stop "$daemon_pid" || stopped=$?
  if ((status != 0 || stopped != 0)); then
    { echo "--- spinfsd:"; tail -n 40 "$work/spinfsd.log"; } >>"$log"
  fi
  report_program "$guests_name" "$status" "$log"
  # shellcheck disable=SC2086 # words
  guests_compared $guests_linux_6_1
  ((stopped == 0)) || report_fail "$guests_name: spinfsd ended with status $stopped" "$work/spinfsd.log"
  rm -rf "$work"
}

guests_fio() {
  local kind=$1 status=0 size=16m
  guests_case "$1: fio with verification"
  [[ $quick == 1 || $kind == qemu ]] || size=64m
  cat >"$work/script" <<SCRIPT
mkdir /mnt/fio || exit
common="--directory=/mnt/fio --thread --size=$size --verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting --minimal"
for job in "--rw=randwrite --bs=4k-64k" "--rw=write --bs=1m" "--rw=randrw --bs=4k --direct=1 --numjobs=2" \\
           "--rw=randwrite --bs=4k-16k --fsync=64 --ioengine=mmap"; do
  rm -f /mnt/fio/*
  if ! fio --name=job \$common \$job >/tmp/out 2>&1; then
    echo "fio \$job"
    cat /tmp/out
    exit 1
  fi
done
SCRIPT
  guests_daemon || return 0
  guest_boot --timeout 600 --memory 768 --program "$(command -v fio)" "$kind" "$socket" share "$work/script" \
    >"$log" 2>&1 || status=$?
  guests_end "$status"
}

# Random operations, checked as they go, after a remount, and from the host; in the cache modes.
guests_fsops() {
  local kind=$1 mode status=0 count=1500 options
  [[ $quick == 1 || $kind == qemu ]] || count=10000
  for mode in '--cache auto' '--cache never --allow-mmap' '--cache always --writeback --killpriv-v2'; do
    guests_case "$kind: random operations, $mode"
    mkdir "$share/ops"
    cat >"$work/script" <<SCRIPT
fsops run /mnt/ops $RANDOM $count /tmp/list || exit
umount /mnt && mount -t virtiofs share /mnt || exit
fsops check /mnt/ops /tmp/list || exit
cp /tmp/list /mnt/list
SCRIPT
    read -ra options <<<"$mode"
    guests_daemon "${options[@]}" || continue
    status=0
    guest_boot --timeout 600 --program "$guests_fsops" "$kind" "$socket" share "$work/script" >"$log" 2>&1 || status=$?
    if ((status == 0)); then
      "$guests_fsops" check "$share/ops" "$share/list" >>"$log" 2>&1 || status=$?
    fi
    cat "$work/script" >>"$log"
    guests_end "$status"
    ((quick == 0)) || break
  done
}

guests_dbench() {
  local kind=$1 status=0
  guests_case "$1: dbench"
  cat >"$work/script" <<'SCRIPT'
dbench -c /usr/share/dbench/client.txt -D /mnt -t 15 4 >/tmp/out 2>&1 && grep -q '^Throughput' /tmp/out && exit 0
tail -n 30 /tmp/out
exit 1
SCRIPT
  guests_daemon || return 0
  guest_boot --timeout 300 --memory 512 --program "$(command -v dbench)" \
    --file /usr/share/dbench/client.txt /usr/share/dbench/client.txt "$kind" "$socket" share "$work/script" \
    >"$log" 2>&1 || status=$?
  guests_end "$status"
}

# stress-ng's stressors of filesystems, with verification: name, operations of each of two workers. lockf does not wait for its
# locks: at its end a process waits for its child, and the child, which no signal reaches there, for a lock of that process
# (docs/semantics.md). Not here: those that do not use the folder that they are given (bind-mount, binderfs, eventfd, fstat,
# getdent, procfs), fanotify (User-Mode Linux has none) and ioprio (no filesystem's matter).
guests_stressors='access:20 chattr:2 chdir:20 chmod:20 chown:100 copy-file:4 dentry:256 dir:100 dirdeep:50 dirmany:50
  dnotify:10 dup:5 fallocate:10 fcntl:200 fiemap:20 file-ioctl:50 filename:20 flock:200 fpunch:2 fsize:10 handle:100 hdd:100
  inode-flags:20 inotify:5 io:20 iomix:500 lease:200 link:4 locka:200 lockf:200 lockofd:200 mknod:50 msync:50 open:200
  readahead:50 rename:500 revio:100 seek:200 sendfile:50 splice:50 symlink:4 sync-file:5 touch:200 utime:200 verity:10
  xattr:2'

guests_stress() {
  local kind=$1 status=0
  guests_case "$1: stress-ng with verification"
  cat >"$work/script" <<'SCRIPT'
mkdir /mnt/stress || exit
options="--chdir-dirs 64 --dir-dirs 64 --dentries 64 --hdd-bytes 16M --iomix-bytes 16M --seek-size 8M --copy-file-bytes 128M
  --fallocate-bytes 2M --lockf-nonblock"
failed=0
for stressor in $STRESSORS; do
  name=${stressor%:*} status=0
  # shellcheck disable=SC2086 # words
  stress-ng --temp-path /mnt/stress --verify --timeout 6 $options "--$name" 2 "--$name-ops" "${stressor#*:}" >/tmp/out 2>&1 ||
    status=$?
  # 4: the system has no such thing
  if [ $status != 0 ] && [ $status != 4 ]; then
    echo "$name: status $status"
    cat /tmp/out
    failed=1
  fi
  # Their workers share one file; who ends while another's flag is on it leaves it behind, immutable: on any filesystem.
  case $name in chattr | inode-flags) chattr -R -f -ia /mnt/stress; rm -rf /mnt/stress/* ;; esac
done
rmdir /mnt/stress || failed=1 # they clear up
exit $failed
SCRIPT
  guests_daemon || return 0
  guest_boot --timeout 600 --memory 768 --env "STRESSORS=${guests_stressors//$'\n'/ }" --program "$(command -v stress-ng)" \
    --program "$(command -v chattr)" "$kind" "$socket" share "$work/script" >"$log" 2>&1 || status=$?
  guests_end "$status"
}

# run.sh as a person uses it: a configuration with two shares, and a prompt in the guest.
guests_prompt() {
  local status=0
  guests_case 'uml: run.sh --shell --config'
  echo 'of the host' >"$share/file"
  daemon_config "$work/config.json" "$share" "$work/first" one "$work/second" two
  python3 "$root/test/guest/prompt.py" 120 'cat /mnt/file; echo of the guest >/mnt2/written' 'exit' -- \
    "$root/scripts/run.sh" --no-install --shell --config "$work/config.json" >"$log" 2>&1 </dev/null || status=$?
  if ! grep -q 'of the host' "$log" || ! grep -qx 'of the guest' "$share/written"; then
    status=1
  fi
  report_status "$guests_name" "$status" "$log"
  rm -rf "$work"
}

# A source tree that brings its system headers along, as an archive, so that two compilers see the same.
guests_tree_pack() {
  local tree=$work/tree header
  mkdir -p "$tree/system"
  cp "$root"/test/guest/{conf*.[ch],fsops.c} "$tree/"
  (cd "$tree" && gcc -O1 -D_GNU_SOURCE -fPIC -M ./*.c) | grep -o ' /[^ ]*' | xargs -n 1 realpath | sort -u |
    while read -r header; do
      install -D "$header" "$tree/system$header"
    done
  cat >"$tree/build.sh" <<SCRIPT
set -e
for source in *.c; do
  gcc -O1 -fno-ident -D_GNU_SOURCE -fPIC -nostdinc -isystem "system$(realpath "$(gcc -print-file-name=include)")" \\
    -isystem system/usr/include/x86_64-linux-gnu -isystem system/usr/include -c "\$source"
done
ld -r -o all.o conf*.o
SCRIPT
  tar -C "$work" -cf "$share/tree.tar" tree
}

# Unpack, compile and delete in the guest; before the delete the host builds the same and compares every byte.
guests_tree() {
  local kind=$1 status=0
  guests_case "$1: unpack, compile, delete a source tree"
  guests_tree_pack
  (cd "$work/tree" && sh build.sh) >"$log" 2>&1 || { report_fail "$guests_name (on the host)" "$log"; return 0; }
  cat >"$work/script" <<'SCRIPT'
set -e
cd /mnt
tar -xf tree.tar
(cd tree && TMPDIR=/mnt sh build.sh)
touch built
until [ -e compared ]; do sleep 1; done
rm -rf tree
[ ! -e tree ]
SCRIPT
  guests_daemon || return 0
  guest_start --timeout 600 --memory 768 --program "$(command -v gcc)" --program "$(gcc -print-prog-name=cc1)" \
    --program "$(command -v as)" --program "$(command -v ld)" "$kind" "$socket" share "$work/script"
  local pid=$GUEST_PID console=$GUEST_LOG
  if guests_until 590 guests_there_or_gone "$pid" "$share/built" && [[ -e $share/built ]]; then
    diff -r "$work/tree" "$share/tree" >"$work/diff" 2>&1 || status=$?
  fi
  touch "$share/compared"
  guest_wait "$pid" "$console" >"$log" 2>&1 || status=$?
  if [[ -s $work/diff ]]; then
    { echo '--- the host and the guest differ:'; cat "$work/diff"; } >>"$log"
  fi
  if ((status == 0)) && [[ ! -e $share/built || -e $share/tree ]]; then
    echo 'the tree was not built, or is still there on the host' >>"$log"
    status=1
  fi
  guests_end "$status"
}

# The guest, a process, has made the file, or is gone.
guests_there_or_gone() {
  [[ -e $2 ]] || ! kill -0 "$1" 2>/dev/null
}

# Two guests on two devices of one daemon that share one folder: each must see what the other wrote.
guests_two() {
  local kind=$1 status=0 me pids=() logs=()
  guests_case "$1: two guests on one daemon"
  cat >"$work/script" <<'SCRIPT'
set -e
cd /mnt
seq 1 20000 | sed "s/^/$ME /" >"$ME.new"
mv "$ME.new" "$ME"
tries=0
until [ -e "$OTHER" ]; do
  tries=$((tries + 1))
  [ $tries -lt 100 ]
  sleep 1
done
seq 1 20000 | sed "s/^/$OTHER /" | cmp - "$OTHER"
# In a folder of its own: the program's is named after its process, and two guests may count alike.
mkdir "$ME.d"
conformance --only data_ --only name_rename "/mnt/$ME.d"
SCRIPT
  daemon_config "$work/config.json" "$share" "$work/first" share "$work/second" share2
  daemon_start "$work/spinfsd.log" "$work/first $work/second" --config "$work/config.json" >"$log" 2>&1 ||
    { report_fail "$guests_name" "$log"; return 0; }
  for me in first second; do
    local other=second tag=share
    [[ $me == first ]] || other=first tag=share2
    guest_start --timeout 300 --program "$guests_program" --env "ME=$me" --env "OTHER=$other" \
      "$kind" "$work/$me" "$tag" "$work/script"
    pids+=("$GUEST_PID") logs+=("$GUEST_LOG")
  done
  guest_wait "${pids[0]}" "${logs[0]}" >"$log" 2>&1 || status=$?
  guest_wait "${pids[1]}" "${logs[1]}" >>"$log" 2>&1 || status=$?
  guests_end "$status"
}

# A configuration with one device for each cache mode, all on the share.
guests_modes_config() {
  local mode comma=''
  echo '{ "version": 1, "sandbox": "none", "seccomp": "none", "devices": ['
  for mode in "$@"; do
    echo "  $comma{ \"tag\": \"$mode\", \"socket\": { \"path\": \"$work/$mode\" }, \"fs\": { \"driver\": \"passthrough\","
    echo "    \"options\": { \"shared_dir\": \"$share\", \"cache\": \"$mode\" } } }"
    comma=', '
  done
  echo '] }'
}

# What the guest sees of the host's changes in each cache mode is what docs/semantics.md says: it has looked at all there is, the
# host changes it, and it looks again.
guests_coherence() {
  local kind=$1 status=0 mode modes=(never metadata auto always) devices=() sockets
  guests_case "$1: the host's changes in each cache mode"
  cat >"$work/script" <<'SCRIPT'
failed=0
fail() { echo "$mode: not so: $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1 is '$3' ('$2')"; }
here() { [ -e "$1" ] || fail "$1 is there"; }
gone() { [ ! -e "$1" ] || fail "$1 is not there"; }
# what becomes true in a while
becomes() { tries=0; until eval "$*"; do tries=$((tries + 1)); [ $tries -lt 50 ] || { fail "$*"; return; }; sleep 0.2; done; }
for at in /mnt /mnt2 /mnt3 /mnt4; do
  cd $at/d && cat ./* >/tmp/seen && stat ./* >/tmp/seen && ls >/tmp/seen && ls >/tmp/seen && cd / || exit
done
touch /mnt/ready
until [ -e /mnt/changed ]; do sleep 0.1; done

# What a guest that remembers nothing sees.
all_new() {
  here new; gone removed; gone renamed
  is 'the renamed' renamed "$(cat renamed-to)"
  is 'the replaced' after "$(cat replaced)"
  is 'the longer' 'before and after' "$(cat longer)"
  is 'the size of the longer' 17 "$(stat -c %s longer)"
  is 'the overwritten' after- "$(cat overwritten)"
  is 'the mode' 600 "$(stat -c %a mode)"
  is 'the listing' 'longer mode new overwritten renamed-to replaced' "$(echo $(ls))"
}
# What one sees that remembers names and attributes.
names_old() {
  here new # never looked for before
  here removed; here renamed
  is 'the renamed' renamed "$(cat renamed)"
  is 'the size of the longer' 7 "$(stat -c %s longer)"
  is 'the mode' 644 "$(stat -c %a mode)"
  is 'the listing' 'longer mode overwritten removed renamed replaced' "$(echo $(ls))"
  # The file that was there, if it still is one.
  case $(cat replaced) in before | after) ;; *) fail 'the replaced has one of two contents' ;; esac
}
names_asked() {
  is 'the size of the longer' 17 "$(/usr/bin/stat --cached=never -c %s longer)"
  is 'the longer' 'before and after' "$(cat longer)"
}

mode=never
cd /mnt/d && all_new
mode=auto
cd /mnt3/d && is 'the listing' 'longer mode new overwritten renamed-to replaced' "$(echo $(ls))"
here new
becomes '[ ! -e removed ]'; becomes '[ ! -e renamed ]'
becomes '[ $(stat -c %s longer) = 17 ]'; becomes '[ $(stat -c %a mode) = 600 ]'
becomes '[ $(cat overwritten) = after- ]'; becomes '[ $(cat replaced) = after ]'
all_new
mode=metadata
cd /mnt2/d && is 'the overwritten' after- "$(cat overwritten)"
names_old
names_asked
mode=always
cd /mnt4/d && is 'the overwritten' before "$(cat overwritten)"
names_old
names_asked
# Without its caches the guest remembers nothing.
cd /
for at in /mnt2/d /mnt4/d; do
  mode=$at
  becomes "echo 2 >/proc/sys/vm/drop_caches; echo 2 >/proc/sys/vm/drop_caches; [ ! -e $at/removed ] && [ ! -e $at/renamed ]"
  becomes "echo 2 >/proc/sys/vm/drop_caches; [ \$(stat -c %a $at/mode) = 600 ]"
  (cd $at && all_new && exit $failed) || failed=1
done
exit $failed
SCRIPT
  mkdir "$share/d"
  local d=$share/d
  echo before | tee "$d/longer" "$d/overwritten" "$d/removed" "$d/replaced" "$d/mode" >/dev/null
  echo renamed >"$d/renamed"
  echo after >"$work/after"
  guests_modes_config "${modes[@]}" >"$work/config.json"
  sockets=$(printf '%s ' "${modes[@]/#/$work/}")
  daemon_start "$work/spinfsd.log" "$sockets" --config "$work/config.json" >"$log" 2>&1 ||
    { report_fail "$guests_name" "$log"; return 0; }
  for mode in "${modes[@]:1}"; do
    devices+=(--device "$work/$mode" "$mode")
  done
  guest_start --timeout 180 --program "$(command -v stat)" "${devices[@]}" "$kind" "$work/never" never "$work/script"
  local pid=$GUEST_PID console=$GUEST_LOG
  if guests_until 120 guests_there_or_gone "$pid" "$share/ready" && [[ -e $share/ready ]]; then
    echo 'before and after' >"$d/longer"
    printf 'after-\n' | dd of="$d/overwritten" conv=notrunc status=none
    rm "$d/removed"
    mv "$d/renamed" "$d/renamed-to"
    mv "$work/after" "$d/replaced"
    chmod 600 "$d/mode"
    echo new >"$d/new"
    touch "$share/changed"
  fi
  guest_wait "$pid" "$console" >"$log" 2>&1 || status=$?
  guests_end "$status"
}

# A filesystem that is mounted below the share is one of its own in the guest.
guests_submounts() {
  local kind=$1 status=0
  guests_case "$1: a filesystem mounted below the share"
  mkdir "$share/sub"
  if ! mount -t tmpfs none "$share/sub" 2>/dev/null; then
    report_skip "$guests_name" 'no mounts here'
    rm -rf "$work"
    return 0
  fi
  chmod 755 "$share/sub"
  mkdir "$share/sub/d"
  echo below >"$share/sub/d/f"
  cat >"$work/script" <<'SCRIPT'
failed=0
fail() { echo "not so: $*"; failed=1; }
# Entered by a walk, with its own root's attributes.
[ "$(cat /mnt/sub/d/f)" = below ] || fail 'the file below is to be read'
grep -q ' /mnt/sub virtiofs ' /proc/mounts || fail 'it is in /proc/mounts'
[ "$(stat -c %d /mnt/sub)" != "$(stat -c %d /mnt)" ] || fail 'it is a device of its own'
[ "$(stat -c %d /mnt/sub/d/f)" = "$(stat -c %d /mnt/sub)" ] || fail 'what is below is on it'
[ "$(stat -c %i /mnt/sub /mnt/sub/d | tr '\n' ' ')" = "$INODES" ] || fail 'inode numbers are those of the host'
touch /mnt/top
# EXDEV
perl -e 'for (["/mnt/top", "/mnt/sub/top"], ["/mnt/sub/d", "/mnt/d"]) {
  rename($$_[0], $$_[1]) and die "$$_[0] was renamed\n";
  $! == 18 or die "$$_[0]: $!\n" }' || fail 'a rename across gives EXDEV'
ln /mnt/top /mnt/sub/top 2>/dev/null && fail 'a link across gives EXDEV'
conformance --only dir_ --only name_rename --only ext_tmpfile /mnt/sub || failed=1
exit $failed
SCRIPT
  guests_daemon --announce-submounts || { umount "$share/sub"; return 0; }
  guest_boot --timeout 180 --env "INODES=$(stat -c %i "$share/sub" "$share/sub/d" | tr '\n' ' ')" \
    --program "$guests_program" --program "$(command -v perl)" "$kind" "$socket" share "$work/script" >"$log" 2>&1 || status=$?
  if [[ ! -e $share/top || ! -e $share/sub/d/f ]]; then
    echo 'the host misses files' >>"$log"
    status=1
  fi
  guests_end "$status"
}

guests_wrote() {
  (($(stat -c %s "$share/load" 2>/dev/null || echo 0) >= 4194304))
}

# A guest ends under load as by a power cut; the daemon goes on and serves the next one.
guests_killed() {
  local kind=$1 status=0 round
  guests_case "$1: a guest killed under load, and the next one"
  cat >"$work/load" <<'SCRIPT'
while :; do
  dd if=/dev/zero of=/mnt/load bs=64k count=256 conv=notrunc oflag=append 2>/dev/null
  ls -l /mnt >/dev/null
done
SCRIPT
  echo 'conformance --only open_ --only name_ /mnt' >"$work/script"
  guests_daemon --on-disconnect listen || return 0
  for round in 1 2 3; do
    rm -f "$share/load"
    guest_start --timeout 120 "$kind" "$socket" share "$work/load"
    local pid=$GUEST_PID console=$GUEST_LOG
    if ! guests_until 60 guests_wrote; then
      status=1
      guest_kill "$pid"
      { echo "round $round: no load came"; guest_wait "$pid" "$console"; } >>"$log" 2>&1 || true
      break
    fi
    guest_kill "$pid"
    guest_wait "$pid" "$console" >/dev/null 2>&1 || true
  done
  if ((status == 0)); then
    guest_boot --timeout 300 --program "$guests_program" "$kind" "$socket" share "$work/script" >>"$log" 2>&1 || status=$?
  fi
  guests_end "$status"
}

# Locks of the host keep a guest waiting; it goes on when they go, and ends while it waits without harm to the next one.
guests_locks() {
  local kind=$1 status=0 round holder
  guests_case "$1: locks between the host and guests"
  touch "$share/f"
  echo 'flock /mnt/f touch /mnt/got & sleep 1; touch /mnt/waits; wait $!' >"$work/script"
  guests_daemon --on-disconnect listen || return 0
  for round in killed served; do
    rm -f "$share/waits" "$share/got"
    exec {holder}>"$share/f"
    flock "$holder"
    guest_start --timeout 120 --program "$(command -v flock)" "$kind" "$socket" share "$work/script" {holder}>&-
    local pid=$GUEST_PID console=$GUEST_LOG
    guests_until 60 test -e "$share/waits" || status=1
    if [[ -e $share/got ]]; then
      echo 'the guest has a lock that the host holds' >>"$log"
      status=1
    fi
    if [[ $round == killed ]]; then
      guest_kill "$pid"
      guest_wait "$pid" "$console" >/dev/null 2>&1 || true
      exec {holder}>&-
    else
      exec {holder}>&-
      guest_wait "$pid" "$console" >>"$log" 2>&1 || status=$?
      [[ -e $share/got ]] || status=1
    fi
  done
  guests_end "$status"
}

# What both suites need: the build and its daemon.
guests_ready() {
  build_variant gcc || return 1
  build_daemon "$1" gcc
}

suite_uml() {
  local engine guests_daemon_options=()
  guests_ready uml || return 0
  for engine in "${engines[@]}"; do
    guests_daemon_options=(--engine "$engine")
    case_begin guests_conformance uml "uml: conformance, $engine"
    ((quick == 0)) || break
  done
  case_begin guests_fsops uml
  case_begin guests_fio uml
  case_begin guests_killed uml
  case_begin guests_locks uml
  case_begin guests_two uml
  case_begin guests_prompt
  if ((quick == 0)); then
    case_begin guests_stress uml
    case_begin guests_tree uml
    case_begin guests_coherence uml
    case_begin guests_submounts uml
    case_begin guests_dbench uml
    # All of the guest's attributes under other names on the host; and the guest's duties with privileges left to the host.
    guests_daemon_options=(--xattrmap ':map::user.virtiofs.:')
    guests_conformance_options='--only xattr_ --only attr_ --only perm_' \
      case_begin guests_conformance uml 'uml: conformance, mapped attributes'
    guests_daemon_options=(--posix-acl --killpriv-v2 --allow-direct-io)
    guests_conformance_options='--only xattr_ --only attr_ --only perm_ --only open_' \
      case_begin guests_conformance uml 'uml: conformance, ACLs, killpriv, O_DIRECT'
  fi
  cases_wait
}
