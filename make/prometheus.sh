#!/usr/bin/env bash
# prometheus.sh: Debian's prometheus, with promtool, for the tests that let it read the daemon's metrics.
#
# Where it can't be installed one sentence says why, and those tests skip; under CI it is a failure.
set -euo pipefail

export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
! command -v promtool >/dev/null || exit 0

without() {
  echo "No Prometheus in the tests: $1" >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
}

command -v apt-get >/dev/null || without "this host lacks what Debian has in prometheus."
[ "$(id -u)" = 0 ] || without "installing it takes root: apt-get install prometheus"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y --no-install-recommends prometheus)
"${install[@]}" || { apt-get update && "${install[@]}"; } || without "${install[*]} failed."
