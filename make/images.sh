#!/usr/bin/env bash
# images.sh BINARY [LANG...]: the images of these languages, or of all, in the Docker that answers here. Built within a
# minute or two the first time on a day, and found again after that.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
shift
if ! curl -fs -m 5 -o /dev/null --unix-socket /var/run/docker.sock http://docker/_ping 2>/dev/null; then
  echo "No images: Docker does not answer at /var/run/docker.sock." >&2
  [ -z "${CI:-}" ]
  exit
fi
make/base-image.sh
SANDBOXD_RUNTIMES__DOCKER__KIND=docker "$binary" images build --runtime docker --quiet "$@"
