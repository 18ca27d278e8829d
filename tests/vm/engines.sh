#!/usr/bin/env bash
# engines.sh SUITE...: Debian 12 (bookworm), 13 (trixie) or the next one (forky) with the Docker, containerd, runc and
# runsc of that Debian, its own kernel and systemd, in an emulated machine in which our package is installed; what is tried
# there is in service.py and engines.py, the conformance suite and the tests of the HTTP contract of both engines.
# The images of the languages are those that this host's Docker has.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/vm/machine.sh

# The kernel of the suite, unpacked and not installed, since no boot loader is there. Since Debian 14 it comes in parts.
hook='chroot "$1" sh -ec "
  cd /tmp
  needs() { apt-cache depends \$1 | sed -n \"s/^ *Depends: \(linux-\(image\|binary\|modules\)-[0-9].*\)/\1/p\"; }
  image=\$(needs linux-image-cloud-amd64 | head -n 1)
  apt-get -qq download \$image \$(needs \$image)
  for part in linux-*.deb; do dpkg-deb -x \$part kernel; done
  cp \$(find kernel -name \"vmlinuz*\" -type f | head -n 1) /boot/vmlinuz
  if [ -d kernel/usr/lib/modules ]; then cp -a kernel/usr/lib/modules /usr/lib/; else cp -a kernel/lib/modules /usr/lib/; fi
  rm -rf kernel linux-*.deb
  depmod \$(ls /usr/lib/modules | head -n 1)
  systemctl disable --quiet docker.service docker.socket containerd.service"'

need
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/payload"
package=$(package)
make/images.sh "$cache/sandboxd" python bash
install -D -m 644 "$package" "$work/over/sandboxd.deb"
install -D -m 644 -t "$work/over/etc/systemd/system" tests/vm/check.service
install -m 755 tests/vm/check.sh "$work/over/check"
install -m 644 tests/vm/{machine,service,engines}.py "$work/over/"
install -m 644 systemd/{docker,containerd,gvisor}.conf "$work/over/"
for kind in docker containerd; do
  strip -o "$work/over/conformance-$kind" "$(test_program "sandboxd-$kind" conformance)"
done
# Where the tests look for the daemon is in them.
install -D "$cache/sandboxd" "$work/over$(realpath "${CARGO_TARGET_DIR:-target}")/debug/sandboxd"
strip -o "$work/over/contract" "$(test_program sandboxd integration)"
curl -fsS --unix-socket /var/run/docker.sock -o "$work/payload/images.tar" \
  "http://docker/images/get?names=sandboxd/python:latest&names=sandboxd/bash:latest"
for suite in "$@"; do
  echo "== $suite"
  debian "$suite" "$suite" 3G systemd,systemd-sysv,python3,dbus,kmod,docker.io,containerd,runc,runsc,iptables,apparmor,procps "$hook"
  # By now the tools that make it are there.
  [ -e "$work/payload.ext4" ] || disk "$work/payload" 512M "$work/payload.ext4"
  initrd "$work/initrd.gz" "$cache/$suite/modules" "$work/over"
  kernel=$cache/$suite/vmlinuz memory_mib=3072 SANDBOXD_VM_TIMEOUT_S=5400 boot_systemd "$suite" "$work/initrd.gz" \
    -drive "file=$work/payload.ext4,format=raw,if=virtio,snapshot=on"
done
