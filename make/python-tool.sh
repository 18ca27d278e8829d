#!/usr/bin/env bash
# python-tool.sh NAME REQUIREMENT...: a tool of the tests from Python's package index, in .cache/NAME, in these versions.
set -euo pipefail
cd "$(dirname "$0")/.."
what=$1
. make/needs.sh
shift
folder=$PWD/.cache/$what
wanted=$*

[ "$(cat "$folder/version" 2>/dev/null)" != "$wanted" ] || exit 0
rm -rf "$folder"
if ! python3 -m venv "$folder" 2>/dev/null; then
  install_debian python3-venv
  python3 -m venv "$folder" || without "'python3 -m venv' does not work."
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check "$@" || without "pip install $wanted failed."
echo "$wanted" >"$folder/version"
