#!/usr/bin/env bash
# schemathesis.sh: Schemathesis in .cache, for the test that holds the daemon to its own OpenAPI document.
set -euo pipefail
cd "$(dirname "$0")/.."
what=Schemathesis
. make/needs.sh
version=4.32.5
folder=$PWD/.cache/schemathesis

[ "$(cat "$folder/version" 2>/dev/null)" != "$version" ] || exit 0
rm -rf "$folder"
if ! python3 -m venv "$folder" 2>/dev/null; then
  install_debian python3-venv
  python3 -m venv "$folder" || without "'python3 -m venv' does not work."
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" ||
  without "pip install schemathesis failed."
echo "$version" >"$folder/version"
