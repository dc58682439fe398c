# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# shellcheck disable=SC2154 # names of test.sh
#
# The suites that look at the source: format, tidy.

# The tree's files of these patterns, tracked or about to be.
source_files() {
  git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r file; do
    [[ ! -f $file ]] || echo "$file"
  done
}

suite_format() {
  local file files log=$scratch/format.log
  mapfile -t files < <(source_files '*.c' '*.h')
  for file in "${files[@]}"; do
    if ! clang-format --dry-run -Werror "$file" >"$log" 2>&1; then
      report_fail "format: clang-format: $file" "$log"
    fi
  done
  report_pass "format: clang-format read ${#files[@]} files"
  mapfile -t files < <(source_files '*.sh' .ci/run test/guest/init)
  for file in "${files[@]}"; do
    if shellcheck -x "$file" >"$log" 2>&1; then
      report_pass "format: shellcheck: $file"
    else
      report_fail "format: shellcheck: $file" "$log"
    fi
  done
}

# One file a case, two at a time; the findings of .clang-tidy are errors.
suite_tidy() {
  local file files outputs=$scratch/tidy
  suite_not_quick tidy || return 0
  build_variant clang || return 0
  mkdir -p "$outputs"
  mapfile -t files < <(source_files '*.c' | while read -r file; do
    ! grep -qF "\"../../$file\"" "$build/clang/compile_commands.json" || echo "$file"
  done)
  # shellcheck disable=SC2016 # for the inner shell
  printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P 2 bash -c '
    clang-tidy --quiet -p "$0" "$2" >"$1/${2//\//_}" 2>&1 || touch "$1/${2//\//_}.failed"' "$build/clang" "$outputs" || true
  for file in "${files[@]}"; do
    if [[ -e $outputs/${file//\//_}.failed ]]; then
      report_fail "tidy: $file" "$outputs/${file//\//_}"
    else
      report_pass "tidy: $file"
    fi
  done
}
