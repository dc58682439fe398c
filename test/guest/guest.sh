# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Real Linux guests on a virtio-fs socket, for scripts: source it, then
#
#   guest_boot  [options] uml|qemu SOCKET TAG SCRIPT    boots, runs SCRIPT in the guest, prints what it printed,
#                                                       returns its exit status
#   guest_start [options] uml|qemu SOCKET TAG SCRIPT    the same in two halves: sets GUEST_PID and GUEST_LOG
#   guest_wait  PID LOG
#   guest_kill  PID                                     ends a guest at once, like a power cut
#   guest_stop_all                                      for the caller's exit trap
#   guest_kernel SUITE                                  sets GUEST_KERNEL to the unpacked cloud kernel of a release
#
# The share is mounted at /mnt, further devices at /mnt2, /mnt3, ... Options:
#   --device SOCKET TAG   one more device          --memory MIB       (256)
#   --env NAME=VALUE      seen by SCRIPT           --timeout SECONDS  (120) from boot to power off
#   --program PATH        carried to /usr/bin      --file SOURCE DEST carried to DEST
#   --vmm-arg WORD        one more word for QEMU's or User-Mode Linux's command line
#   --module NAME         one more module of its kernel, loaded before it mounts
#   --alone               no device at all: the words are uml|qemu SCRIPT
#   --shell               a prompt on the terminal in place of SCRIPT; guest_boot only, no time limit
# and for qemu: --smp N (2: QEMU 7.2 leaves out the memory barriers of a guest with one CPU, which then misses interrupts), --queues N (1), --queue-size N (QEMU's own), --append WORDS for the kernel, and --root DIR: the share
# is the guest's root, which is put into its folder DIR (a kernel with virtiofs built in). Its kernel is GUEST_KERNEL, if not
# set bookworm's.
#
# Statuses of guest_boot and guest_wait beside the script's own: 120 the guest could not load its modules, 121 it
# could not mount, 124 time was up, 125 it ended without a word, 126 its kernel complained.
#
# The caller sets GUEST_CACHE, the folder for kernels, and GUEST_UML_PRELOAD, the built uml_ptrace module.

guest_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
guest_pids=()
GUEST_KERNEL=

guest_kernel() {
  local dir=$GUEST_CACHE/kernel-$1 modules
  "$guest_here/../../scripts/fetch-deb.sh" --deps 'linux-@(image|binary|modules|base)-*' "$1" "$dir" linux-image-cloud-amd64 || return
  # Newer packages have it all in one folder.
  [[ -e $dir/lib || ! -d $dir/usr/lib/modules ]] || ln -s usr/lib "$dir/lib" || return
  for modules in "$dir"/lib/modules/*; do
    [[ -e $modules/modules.dep ]] || depmod -b "$dir" "$(basename "$modules")" || return
  done
  GUEST_KERNEL=$dir
}

guest__defaults() {
  guest_memory=256 guest_smp=2 guest_queues=1 guest_queue_size='' guest_timeout=120 guest_shell=0 guest_root='' guest_append=''
  guest_alone=0 guest_image_args=() guest_vmm_args=() guest_env=() guest_sockets=() guest_tags=()
}

# Reads options into guest_*, the four words into guest_kind, guest_sockets, guest_tags and guest_script.
guest__parse() {
  guest__defaults
  while [[ ${1:-} == --* ]]; do
    case $1 in
      --device) guest_sockets+=("$2") guest_tags+=("$3"); shift 3 ;;
      --memory) guest_memory=$2; shift 2 ;;
      --smp) guest_smp=$2; shift 2 ;;
      --queues) guest_queues=$2; shift 2 ;;
      --append) guest_append=$2; shift 2 ;;
      --root) guest_root=$2; shift 2 ;;
      --queue-size) guest_queue_size=$2; shift 2 ;;
      --program) guest_image_args+=(--program "$2"); shift 2 ;;
      --file) guest_image_args+=(--file "$2" "$3"); shift 3 ;;
      --module) guest_image_args+=(--module "$2"); shift 2 ;;
      --alone) guest_alone=1; shift ;;
      --env) guest_env+=("$2"); shift 2 ;;
      --timeout) guest_timeout=$2; shift 2 ;;
      --vmm-arg) guest_vmm_args+=("$2"); shift 2 ;;
      --shell) guest_shell=1; shift ;;
      *) echo "guest.sh: unknown option $1" >&2; return 2 ;;
    esac
  done
  if [[ ${1:-} != uml && ${1:-} != qemu ]] || (($# != 4 - guest_shell - 2 * guest_alone)); then
    echo "guest.sh: wants [options] uml|qemu SOCKET TAG SCRIPT, or [options] --alone uml|qemu SCRIPT" >&2
    return 2
  fi
  guest_kind=$1
  if ((guest_alone == 0)); then
    guest_sockets=("$2" "${guest_sockets[@]}") guest_tags=("$3" "${guest_tags[@]}")
    shift 2
  fi
  guest_script=${2:-/dev/null}
}

# Builds the guest's root, with its script and settings, in the folder $1.
guest__image() {
  local modules
  case $guest_kind in
    uml) modules=(/usr/lib/uml/modules/*); guest_image_args+=(--module virtiofs) ;;
    qemu) modules=("$GUEST_KERNEL"/lib/modules/*); guest_image_args+=(--module virtiofs --module virtio_pci) ;;
  esac
  {
    # The root is mounted by then.
    echo "GUEST_TAGS='${guest_tags[*]:${guest_root:+1}}'"
    echo "GUEST_SHELL=$guest_shell"
    echo "GUEST_MARKER=$guest_marker"
    local pair
    for pair in "${guest_env[@]}"; do
      printf "export %s='%s'\n" "${pair%%=*}" "${pair#*=}"
    done
  } >"$1/boot.conf"
  local to=(--out "$1/initrd")
  [[ -z $guest_root ]] || to=(--tree "$guest_root")
  "$guest_here/initramfs.sh" "${to[@]}" --modules "${modules[-1]}" "${guest_image_args[@]}" \
    --file "$1/boot.conf" /guest/boot.conf --file "$guest_script" /guest/script
}

# Sets guest_command for the root in the folder $1. QEMU 7.2's emulation of cmpxchg16b leaves wrong flags behind, which
# kills kernels that use it on several CPUs (6.12 does), so the guest's CPU has none.
# Nor does it see at once that another CPU has put an instruction back: a kernel turns a switch in sched_clock_cpu() at the end of booting, while
# all CPUs run through it, and with four of them one died of the breakpoint that stands there meanwhile. It does so for a stable TSC alone.
guest__command() {
  local i
  guest_command=()
  if [[ $guest_kind == uml ]]; then
    local input=null
    ((guest_shell)) && input=fd:0
    guest_command=(env "TMPDIR=/dev/shm" "LD_PRELOAD=$GUEST_UML_PRELOAD" linux.uml "mem=${guest_memory}M"
      "initrd=$1/initrd" "con0=$input,fd:1" con=null ssl=null quiet panic=-1 "uml_dir=$1/uml/")
    for ((i = 0; i < ${#guest_sockets[@]}; i++)); do
      guest_command+=("virtio_uml.device=${guest_sockets[i]}:26")
    done
  else
    local properties="num-request-queues=$guest_queues${guest_queue_size:+,queue-size=$guest_queue_size}"
    local kernel initrd=(-initrd "$1/initrd") append="console=ttyS0 panic=-1 quiet $guest_append"
    kernel=("$GUEST_KERNEL"/boot/vmlinuz-*)
    [[ -e ${kernel[0]} ]] || kernel=("$GUEST_KERNEL"/lib/modules/*/vmlinuz)
    ((guest_smp <= 2)) || append+=" tsc=unstable"
    if [[ -n $guest_root ]]; then
      initrd=()
      append+=" root=${guest_tags[0]} rootfstype=virtiofs rw init=/init"
    fi
    # shellcheck disable=SC2054 # QEMU's own commas
    guest_command=(qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -serial stdio
      -machine q35 -accel "tcg,thread=multi" -cpu max,cx16=off -smp "$guest_smp" -m "$guest_memory"
      -object "memory-backend-memfd,id=mem,size=${guest_memory}M,share=on" -numa "node,memdev=mem"
      -kernel "${kernel[-1]}" "${initrd[@]}" -append "$append")
    for ((i = 0; i < ${#guest_sockets[@]}; i++)); do
      guest_command+=(-chardev "socket,id=fs$i,path=${guest_sockets[i]}"
        -device "vhost-user-fs-pci,chardev=fs$i,tag=${guest_tags[i]},$properties")
    done
  fi
  guest_command+=("${guest_vmm_args[@]}")
}

# A process id namespace of its own ends with its first process: nothing of the guest is left behind. That is a
# shell, because a first process cannot abort by a signal to itself, which is how a panic ends User-Mode Linux.
guest__namespace() {
  guest_namespace=(unshare --pid --fork --kill-child=KILL)
  ((EUID == 0)) || guest_namespace+=(--user --map-current-user)
  # shellcheck disable=SC2016 # for the inner shell
  guest_namespace+=(sh -c '"$@"; exit $?' guest)
}

guest_start() {
  guest__parse "$@" || return
  if [[ $guest_kind == qemu && -z $GUEST_KERNEL ]]; then
    guest_kernel bookworm || return
  fi
  guest_marker=guest-$$-$RANDOM$RANDOM
  local dir
  dir=$(mktemp -d)
  guest__image "$dir" || return
  guest__command "$dir"
  guest__namespace
  GUEST_LOG=$dir/log
  echo "$guest_marker" >"$dir/marker"
  if ((guest_shell)); then
    local status=0
    "${guest_namespace[@]}" "${guest_command[@]}" || status=$?
    rm -rf "$dir"
    return "$status"
  fi
  timeout -s KILL "$guest_timeout" "${guest_namespace[@]}" "${guest_command[@]}" </dev/null >"$GUEST_LOG" 2>&1 &
  GUEST_PID=$!
  guest_pids+=("$GUEST_PID")
}

guest__forget() {
  local pid kept=()
  for pid in "${guest_pids[@]}"; do
    [[ $pid == "$1" ]] || kept+=("$pid")
  done
  guest_pids=("${kept[@]}")
}

guest_wait() {
  local pid=$1 log=$2 status=0 marker
  wait "$pid" 2>/dev/null || status=$?
  guest__forget "$pid"
  marker=$(<"$(dirname "$log")/marker")
  tr -d '\r' <"$log" >"$log.text"
  awk -v begin="$marker begin" -v any="$marker " '
    index($0, any) { inside = ($0 == begin); next } inside' "$log.text"
  local verdict complaints
  verdict=$(sed -n "s/^.*$marker exit //p" "$log.text")
  complaints=$(sed -n "s/^.*$marker kernel //p" "$log.text")
  if [[ -z $verdict || $verdict == 12[0-9] || -n $complaints ]]; then
    echo "--- console of the guest (${complaints:+its kernel complained, }status of the process $status)"
    grep -v "$marker begin" "$log.text" | tail -n 60
    echo "--- end of the console"
  fi
  rm -rf "$(dirname "$log")"
  if [[ -z $verdict ]]; then
    ((status == 137)) && return 124
    return 125
  fi
  [[ -z $complaints ]] || return 126
  return "$verdict"
}

guest_boot() {
  guest_start "$@" || return
  ((guest_shell)) || guest_wait "$GUEST_PID" "$GUEST_LOG"
}

# timeout(1) leads a process group of its own, which is the guest's outer half; the inner half follows.
guest_kill() {
  kill -KILL -- "-$1" 2>/dev/null || kill -KILL "$1" 2>/dev/null || true
}

guest_stop_all() {
  local pid
  for pid in "${guest_pids[@]}"; do
    guest_kill "$pid"
    wait "$pid" 2>/dev/null || true
  done
  guest_pids=()
}
