#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Unpacks Debian packages of any suite (bookworm-backports, trixie, ...) into a folder, without touching what
# is installed or the machine's package sources: lists and archives stay in a cache folder beside it. The
# archive's address and its keys are those that the machine itself is configured with.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: fetch-deb.sh [--deps GLOB] SUITE DIR PACKAGE...
  --deps GLOB   also the packages' dependencies whose names match GLOB, and theirs (what a metapackage stands for)
DIR holds the unpacked files afterwards; a DIR that is complete already is left as it is.
TEXT
}

die() {
  echo "fetch-deb.sh: $*" >&2
  exit 1
}

deps_glob=
while (($#)); do
  case $1 in
    --deps) deps_glob=${2:?--deps needs a glob}; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) break ;;
  esac
done
(($# >= 3)) || { usage >&2; exit 2; }
suite=$1 dir=$2
shift 2

[[ -e $dir/.complete ]] && exit 0
command -v apt-get >/dev/null || die "needs Debian's apt"

# Which of the machine's sources is the archive proper: the one that has this release without a suffix.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016 # apt's own placeholders
archive=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
  awk -v release="$codename" '$1 == release && !found { print $2; found = 1 }')
[[ -n $archive ]] || die "no package source of this machine offers the release '$codename'"

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cache=$(dirname "$dir")/apt-$suite
mkdir -p "$cache"/{etc,state/lists/partial,cache/archives/partial,parts}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" >"$cache/etc/sources.list"
: >"$cache/status"
apt_options=(
  -o Dir::Etc::SourceList="$cache/etc/sources.list" -o Dir::Etc::SourceParts="$cache/parts"
  -o Dir::State="$cache/state" -o Dir::State::status="$cache/status" -o Dir::Cache="$cache/cache"
  -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3
)
apt-get "${apt_options[@]}" -qq update

packages=("$@")
if [[ -n $deps_glob ]]; then
  for ((i = 0; i < ${#packages[@]}; i++)); do # what is added is looked at, too
    while read -r name; do
      # shellcheck disable=SC2053 # the glob is meant as one
      [[ $name == $deps_glob && " ${packages[*]} " != *" $name "* ]] && packages+=("$name")
    done < <(apt-cache "${apt_options[@]}" depends "${packages[i]}" | awk '/ Depends:/ { print $NF }')
  done
fi

archives=$cache/cache/archives
(cd "$archives" && apt-get "${apt_options[@]}" -qq download "${packages[@]}")
for package in "${packages[@]}"; do
  found=("$archives/${package}"_*.deb)
  [[ -e ${found[0]} ]] || die "$package: apt downloaded no archive"
  for deb in "${found[@]}"; do
    dpkg-deb -x "$deb" "$dir"
    rm -f "$deb"
  done
done
touch "$dir/.complete"
