#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Packs the root of a test guest: busybox, kernel modules with what they depend on, and programs of the host
# with their libraries.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: initramfs.sh {--out FILE | --tree DIR} --modules DIR [--module NAME]... [--program PATH]... [--file SOURCE DEST]...
  --tree DIR           no archive: the root's files go there
  --modules DIR        .../lib/modules/VERSION of the guest's kernel, with its modules.dep
  --module NAME        loaded by the guest before it mounts, after what it depends on
  --program PATH       becomes /usr/bin/NAME, its libraries stay at their own paths
  --file SOURCE DEST   one more file, or folder with everything below it
TEXT
}

out='' tree='' modules='' module_names=() programs=() files=()
while (($#)); do
  case $1 in
    --out) out=$2; shift 2 ;;
    --tree) tree=$2; shift 2 ;;
    --modules) modules=$2; shift 2 ;;
    --module) module_names+=("$2"); shift 2 ;;
    --program) programs+=("$2"); shift 2 ;;
    --file) files+=("$2" "$3"); shift 3 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
[[ -n $out$tree && -d $modules ]] || { usage >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,usr/bin,modules,guest,etc}
cp "$here/init" "$root/init"
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
printf '%s\n' 'root:x:0:0::/tmp:/bin/sh' 'user:x:1000:1000::/tmp:/bin/sh' >"$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'user:x:1000:' >"$root/etc/group"

# modprobe looks below lib/modules only; User-Mode Linux keeps its modules elsewhere.
version=$(basename "$modules")
mkdir -p "$work/kernel/lib/modules"
cp -rs "$(cd "$modules" && pwd)" "$work/kernel/lib/modules/$version"
: >"$root/modules/order"
for name in "${module_names[@]}"; do
  modprobe -d "$work/kernel" -S "$version" --show-depends "$name" >"$work/depends"
  while read -r verb path _; do
    [[ $verb == insmod ]] || continue # "builtin NAME"
    file=$(basename "${path%.xz}")
    [[ -e $root/modules/$file ]] && continue
    if [[ $path == *.xz ]]; then xz -dc "$path" >"$root/modules/$file"; else cp -L "$path" "$root/modules/$file"; fi
    echo "$file" >>"$root/modules/order"
  done <"$work/depends"
done

for program in "${programs[@]}"; do
  cp -L "$program" "$root/usr/bin/"
  # ldd fails on a static program, which needs nothing.
  { ldd "$program" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
    [[ -e $root$library ]] || install -D "$library" "$root$library"
  done
done

for ((i = 0; i < ${#files[@]}; i += 2)); do
  mkdir -p "$root/$(dirname "${files[i + 1]}")"
  cp -rL "${files[i]}" "$root/${files[i + 1]}"
done

if [[ -n $tree ]]; then
  cp -a "$root/." "$tree/"
  exit
fi
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$out.new"
mv "$out.new" "$out"
