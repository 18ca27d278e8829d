#!/usr/bin/env bash
# Debian 12 with its systemd and cgroup v2, in an emulated machine in which our package is installed; what is tried there
# is in service.py, and in the documentation.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/vm/machine.sh

need
kernel
debian debian bookworm 1G systemd,systemd-sysv,python3,curl
over=$(mktemp -d)
trap 'rm -rf "$over"' EXIT
package=$(package)
install -D -m 644 "$package" "$over/sandboxd.deb"
install -D -m 644 "$package" -t "$over/given"
install -m 644 -D -t "$over/docs" docs/*.md
install -D -m 644 -t "$over/etc/systemd/system" tests/vm/check.service
install -D tests/vm/check.sh "$over/check"
install -m 644 tests/vm/{machine,service}.py tests/docs.py "$over/"
initrd "$cache/service.initrd.gz" "$cache/modules" "$over"
boot_systemd debian "$cache/service.initrd.gz"
