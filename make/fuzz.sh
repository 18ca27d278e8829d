#!/usr/bin/env bash
# Fuzzes every target of tests/fuzz for some seconds each, under libFuzzer, as instrumented by rustc itself (no nightly, no
# sanitizer: what counts is panics, assertions, overflows, time and memory). What is found is kept in .cache/fuzz/findings
# and becomes a seed. Usage: make/fuzz.sh [SECONDS [TARGET…]]
set -euo pipefail
cd "$(dirname "$0")/.."
. make/needs.sh
seconds=${1:-20}
shift || true
what="fuzzing"
command -v c++ >/dev/null || install_debian g++
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
 -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1 -Cpanic=abort"
# An explicit target keeps the flags away from build scripts and macros, which no fuzzer's runtime is linked to.
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}/fuzz
CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_INCREMENTAL=0 \
  cargo build --locked -p sandboxd-fuzz --features libfuzzer --target "$host" --target-dir "$target"
fuzzer=$target/$host/debug/sandboxd-fuzz
[ $# -gt 0 ] || set -- $(ls tests/fuzz/seeds)
findings=.cache/fuzz/findings
mkdir -p "$findings"
for name in "$@"; do
  corpus=.cache/fuzz/$name
  mkdir -p "$corpus"
  log=$(mktemp)
  options=(-seed="${FUZZ_SEED:-0}" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0
    -print_final_stats=1 -artifact_prefix="$findings/$name-")
  if ! FUZZ_TARGET=$name "$fuzzer" "${options[@]}" "$corpus" "tests/fuzz/seeds/$name" >"$log" 2>&1; then
    grep -A 2 'panicked at' "$log" | cut -c 1-2000 || true
    tail -n 40 "$log"
    echo "fuzzing $name: a finding, kept in $findings" >&2
    exit 1
  fi
  awk -v name="$name" '/number_of_executed_units/ { n = $2 } /average_exec_per_sec/ { s = $2 }
    END { printf "fuzzing %-16s %9d executions, %6d a second, nothing found\n", name, n, s }' "$log"
  rm -f "$log"
done
