# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Every Debian package that building, running and testing needs, in one place; sourced by run.sh, test.sh and bench.sh.

declare -A packages_group=(
  [build]='gcc libc6-dev meson ninja-build pkg-config python3 git
    libdpdk-dev liburing-dev libaio-dev libnuma-dev libjansson-dev libseccomp-dev libcap-ng-dev libcmocka-dev'
  [guest]='user-mode-linux busybox-static cpio kmod xz-utils util-linux'
  [qemu]='qemu-system-x86 busybox-static cpio kmod xz-utils util-linux'
  [bench]='python3 numactl qemu-system-common gnuplot-nox linux-perf fio dbench'
  [test]='clang clang-format clang-tidy shellcheck fio dbench stress-ng strace binutils e2fsprogs xfsprogs btrfs-progs
    checkpolicy'
)
packages_libraries='DPDK 22.11 or newer with rte_vhost, liburing, libaio, libnuma, jansson, libseccomp, libcap-ng, cmocka, meson, ninja'

# Prints those of the groups' packages that are not installed.
packages_missing() {
  local group package
  for group in "$@"; do
    for package in ${packages_group[$group]}; do
      [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || echo "$package"
    done
  done | sort -u
}

# packages_install yes|no GROUP...: makes the groups' packages be there; "no" installs nothing and fails where some are
# missing. Says first what it is going to do.
packages_install() {
  local install=$1 missing privileged=()
  shift
  if ! command -v dpkg-query apt-get >/dev/null; then
    [[ $install == no ]] && return 0
    echo "This is not Debian: install yourself $packages_libraries, and use --no-install." >&2
    return 1
  fi
  mapfile -t missing < <(packages_missing "$@")
  ((${#missing[@]})) || return 0
  if [[ $install == no ]]; then
    echo "Missing packages, which --no-install forbids to install: ${missing[*]}" >&2
    return 1
  fi
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "Run as root, or install: ${missing[*]}" >&2; return 1; }
    privileged=(sudo)
  fi
  echo "Installing from Debian's packages: ${missing[*]}"
  "${privileged[@]}" apt-get -qq -o Acquire::Retries=3 update &&
    "${privileged[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Acquire::Retries=3 \
      -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" >/dev/null
}
