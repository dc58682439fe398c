#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# guest.sh uml|qemu SOCKET CPU SCRIPT [PROGRAM]...: runs SCRIPT in a real guest on the socket, pinned to one CPU of the host.
set -euo pipefail

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
kind=$1 socket=$2 cpu=$3 script=$4
shift 4
programs=()
for program in "$@"; do
  programs+=(--program "$(command -v "$program")")
done
lib_begin
taskset -cp "$cpu" $$ >/dev/null
guest_boot --timeout 300 --memory 512 "${programs[@]}" --file /usr/share/dbench/client.txt /usr/share/dbench/client.txt \
  "$kind" "$socket" bench "$script"
