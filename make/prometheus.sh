#!/usr/bin/env bash
# prometheus.sh: Debian's prometheus, with promtool, for the tests that let it read the daemon's metrics.
set -euo pipefail
cd "$(dirname "$0")/.."
what=Prometheus
. make/needs.sh

command -v promtool >/dev/null || install_debian prometheus
