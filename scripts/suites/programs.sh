# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# shellcheck disable=SC2154,SC2054 # names of test.sh; commas of meson
#
# The builds, and the suites that run test programs on the host: unit, clang, asan, tsan, functional, fuzz.

program_seconds=600
program_pids=()
declare -A build_state=()

# build_variant NAME: brings one of the builds up to date, once a run; a failure is reported once.
build_variant() {
  local name=$1 dir options=() environment=()
  dir=$(build_folder "$name")
  case $name in
    gcc) environment=(CC=gcc) ;;
    clang) environment=(CC=clang) ;;
    # With -O3 and a sanitizer gcc warns of null pointers that cannot be.
    asan) environment=(CC=gcc) options=(-Doptimization=2 -Db_sanitize=address,undefined) ;;
    # gcc warns of fences, which the sanitizer does not model.
    tsan) environment=(CC=gcc) options=(-Doptimization=2 -Db_sanitize=thread -Dc_args=-Wno-tsan) ;;
    fuzz) environment=(CC=clang) options=(-Dfuzzers=true -Db_sanitize=address,undefined -Db_lundef=false) ;;
  esac
  if [[ -z ${build_state[$name]:-} ]]; then
    local log=$scratch/build-$name.log status=0
    (
      export "${environment[@]}"
      build_in "$dir" "${options[@]}"
    ) >"$log" 2>&1 || status=$?
    build_state[$name]=$status
    report_status "build: $name" "$status" "$log"
  fi
  ((build_state[$name] == 0))
}

build_folder() {
  if [[ $1 == gcc ]]; then echo "$build"; else echo "$build/$1"; fi
}

# The executables that the build in folder $1 makes below $2, relative to the folder.
build_programs() {
  ninja -C "$1" -t targets all | sed -n "s|^\\($2/[^/:]*\\): c_LINKER.*|\\1|p" | sort
}

# build_daemon SUITE VARIANT: sets daemon to its spinfsd; where there is none, the suite has failed.
build_daemon() {
  daemon=$(build_folder "$2")/app/spinfsd/spinfsd
  [[ -x $daemon ]] && return 0
  report_fail "$1: the build has no ${daemon#"$root"/}"
  return 1
}

programs_stop() {
  local pid
  for pid in "${program_pids[@]}"; do
    kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  program_pids=()
}

# programs_run SUITE SLOTS FOLDER PROGRAM... [-- WRAPPER...]: runs the programs, SLOTS at a time, and reports each.
programs_run() {
  local suite=$1 slots=$2 folder=$3 names=() wrapper=() pid name status
  shift 3
  while (($#)) && [[ $1 != -- ]]; do
    names+=("$1")
    shift
  done
  (($# == 0)) || wrapper=("${@:2}")
  if ((${#names[@]} == 0)); then
    report_fail "$suite: the build has no test programs"
    return
  fi
  local outputs
  outputs=$(mktemp -d)
  local -A running=()
  for name in "${names[@]}" ''; do
    while ((${#running[@]} >= slots || (${#running[@]} > 0 && ${#name} == 0))); do
      status=0
      wait_any "${!running[@]}" || status=$?
      pid=$waited
      programs_ended "$pid"
      ((status != 124 && status != 137)) || echo "# took longer than $program_seconds s" >>"$outputs/${running[$pid]}"
      report_program "$suite: ${running[$pid]#test_}" "$status" "$outputs/${running[$pid]}"
      unset "running[$pid]"
    done
    [[ -n $name ]] || break
    CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 10 "$program_seconds" "${wrapper[@]}" "$folder/$name" \
      >"$outputs/$(basename "$name")" 2>&1 </dev/null &
    program_pids+=("$!")
    running[$!]=$(basename "$name")
  done
}

programs_ended() {
  local pid kept=()
  for pid in "${program_pids[@]}"; do
    [[ $pid == "$1" ]] || kept+=("$pid")
  done
  program_pids=("${kept[@]}")
}

suite_unit() {
  local programs
  build_variant gcc || return 0
  mapfile -t programs < <(build_programs "$build" test/unit)
  programs_run unit 2 "$build" "${programs[@]}"
  programs_run unit 1 "$root" test/scripts/cases.sh
}

# suite_not_quick NAME: in a quick run the suite is skipped, and this says so.
suite_not_quick() {
  ((quick)) || return 0
  report_skip "$1" 'not in a quick run'
  return 1
}

suite_clang() {
  suite_not_quick clang || return 0
  build_variant clang || return 0
}

# functional_run SUITE VARIANT ENGINE [PATTERN]: all programs, or those whose names match.
functional_run() {
  local folder programs
  folder=$(build_folder "$2")
  mapfile -t programs < <(build_programs "$folder" test/functional | grep -E "${4:-.}")
  SPINFSD=$daemon SPINFS_ENGINE=$3 programs_run "$1 ($3)" 1 "$folder" "${programs[@]}"
}

suite_functional() {
  local engine
  local -x SPINFS_TEST_FULL=${SPINFS_TEST_FULL:-0} # 1: the long counts, a quarter of an hour more
  build_variant gcc || return 0
  build_daemon functional gcc || return 0
  for engine in "${engines[@]}"; do
    functional_run functional gcc "$engine"
    ((quick == 0)) || break
  done
}

suite_asan() {
  local programs folder=$build/asan
  suite_not_quick asan || return 0
  build_variant asan || return 0
  mapfile -t programs < <(build_programs "$folder" test/unit)
  local -x ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
  local -x UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
  programs_run asan 2 "$folder" "${programs[@]}"
  build_daemon asan asan || return 0
  # The others count processes, mappings and time, which the sanitizer changes.
  functional_run asan asan "${engines[0]}" 'daemon_(fs|ring|pins|owner|bad|bad_ids)$'
}

# Programs in which threads meet. Address space randomisation of newer kernels is more than the sanitizer bears.
tsan_programs=(test_reactor test_workers test_aio test_aio_sleep test_node test_table test_table_fds test_lock test_trim
  test_log)

suite_tsan() {
  local programs wanted=() name folder=$build/tsan
  suite_not_quick tsan || return 0
  build_variant tsan || return 0
  mapfile -t programs < <(build_programs "$folder" test/unit)
  for name in "${programs[@]}"; do
    [[ " ${tsan_programs[*]} " == *" $(basename "$name") "* ]] && wanted+=("$name")
  done
  local -x TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
  programs_run tsan 2 "$folder" "${wanted[@]}" -- setarch -R
}

# Each fuzzer from its corpus in the tree; what it finds new stays in the scratch folder.
suite_fuzz() {
  local programs name short folder=$build/fuzz seconds=15 status
  suite_not_quick fuzz || return 0
  if ! compgen -G "$root/test/fuzz/fuzz_*.c" >/dev/null; then
    report_skip fuzz 'the tree has no fuzzers'
    return
  fi
  build_variant fuzz || return 0
  mapfile -t programs < <(build_programs "$folder" test/fuzz)
  ((${#programs[@]})) || report_fail 'fuzz: the build has no fuzzers'
  for name in "${programs[@]}"; do
    short=$(basename "$name")
    local corpus=$root/test/fuzz/corpus/${short#fuzz_} new=$scratch/fuzz/$short
    mkdir -p "$new/corpus" "$new/artifacts"
    [[ ! -d $corpus ]] || cp -r "$corpus/." "$new/corpus/"
    status=0
    timeout -k 10 $((seconds * 3 + 60)) "$folder/$name" -max_total_time=$seconds -rss_limit_mb=2048 -timeout=20 \
      -print_final_stats=1 -artifact_prefix="$new/artifacts/" "$new/corpus" >"$new/log" 2>&1 </dev/null || status=$?
    if ((status)); then
      local file
      for file in "$new"/artifacts/*; do
        [[ -e $file ]] && { echo "input $(basename "$file"), base64:"; base64 "$file"; } >>"$new/log"
      done
    fi
    report_status "fuzz: $short" "$status" "$new/log"
  done
}
