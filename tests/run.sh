#!/usr/bin/env bash
# Every test, then one line that sums them up. Tests with containers find engines and images made for them here.
set -euo pipefail
cd "$(dirname "$0")/.."
make/services.sh up
make/prometheus.sh
make/python-tool.sh schemathesis schemathesis==4.32.5
make/python-tool.sh kubernetes kubernetes-validate==1.37.0 cloudcoil.models.prometheus-operator==0.80.1.0
cargo build --locked
target=$(realpath "${CARGO_TARGET_DIR:-target}")
make/images.sh "$target/debug/sandboxd" || [ -z "${CI:-}" ]
# Built before the tests, whose clocks it would disturb; the documentation's own build finds it done.
image=$(packaging/container/image.sh dev 2>&1) || { echo "$image"; [ -z "${CI:-}" ]; }
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
# Daemons of the tests end with them; they may still be finishing.
daemons() { pgrep -af "^$target/debug/sandboxd serve --config ${TMPDIR:-/tmp}/" || true; }
for _ in {1..50}; do
  [ -n "$(daemons)" ] || break
  sleep 0.2
done
if [ -n "$(daemons)" ]; then
  echo "Daemons of the tests still run:"
  daemons
  status=1
fi
# Why, once more and together: what failed stands far above.
{ grep -oP '^test \K\S+(?= \.\.\. FAILED$)' "$log" || true; } | sort -u | while read -r name; do
  grep -F -A 15 "thread '$name' " "$log" | grep -v '^test ' | cut -c 1-2000 || true
done
awk -v skipped="$skipped" '
  /^test result:/ { passed += $4; failed += $6 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
' "$log"
exit "$status"
