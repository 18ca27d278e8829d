#!/usr/bin/env bash
# schemathesis.sh: Schemathesis in .cache, for the test that holds the daemon to its own OpenAPI document.
#
# Where it can't be had one sentence says why, and that test skips; under CI it is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
version=4.32.5
folder=$PWD/.cache/schemathesis

without() {
  echo "No Schemathesis in the tests: $1" >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
}

[ "$(cat "$folder/version" 2>/dev/null)" != "$version" ] || exit 0
rm -rf "$folder"
if ! python3 -m venv "$folder" 2>/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || without "'python3 -m venv' does not work: apt-get install python3-venv"
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv ||
    without "apt-get install python3-venv failed."
  python3 -m venv "$folder" || without "'python3 -m venv' does not work."
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" ||
  without "pip install schemathesis failed."
echo "$version" >"$folder/version"
