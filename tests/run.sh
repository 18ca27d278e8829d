#!/usr/bin/env bash
# Every test, then one line that sums them up. Tests with containers find engines and images made for them here.
set -euo pipefail
cd "$(dirname "$0")/.."
make/services.sh up
cargo build --locked
make/images.sh "${CARGO_TARGET_DIR:-target}/debug/sandboxd" || [ -z "${CI:-}" ]
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --locked --no-fail-fast -- --nocapture 2>&1 | tee "$log" || status=$?
skipped=$(grep -c '^SKIP' "$log" || true)
if [ -n "${CI:-}" ] && [ "$skipped" -gt 0 ]; then
  echo "In CI nothing may be skipped:"
  grep '^SKIP' "$log"
  status=1
fi
awk -v skipped="$skipped" '
  /^test result:/ { passed += $4; failed += $6 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
' "$log"
exit "$status"
