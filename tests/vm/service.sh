#!/usr/bin/env bash
# Debian 12 with its systemd and cgroup v2, in an emulated machine in which our package is installed; what is tried there
# is in service.py. The Debian is made once and never written to.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/vm/machine.sh

debian() {
  [ -e "$cache/debian.ext4" ] && return
  local work missing=()
  if [ "$(id -u)" -ne 0 ]; then
    echo "SKIP the machine with systemd: to make its Debian takes root, once"
    [ -z "${CI:-}" ]
    exit
  fi
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  command -v mke2fs >/dev/null || missing+=(e2fsprogs)
  [ ${#missing[@]} -eq 0 ] || apt-get install -y -q --no-install-recommends "${missing[@]}"
  work=$(mktemp -d)
  mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,python3 bookworm "$work/base.tar"
  mkdir "$work/root"
  tar -xf "$work/base.tar" -C "$work/root" --exclude './dev/*'
  truncate -s 1G "$work/debian.ext4"
  mke2fs -q -t ext4 -O ^has_journal -d "$work/root" "$work/debian.ext4"
  cp --sparse=always "$work/debian.ext4" "$cache/debian.ext4.new"
  mv "$cache/debian.ext4.new" "$cache/debian.ext4"
  rm -rf "$work"
}

# First of all busybox mounts the Debian, lays over it what is tried, and hands over to systemd.
initrd() {
  local root
  root=$(mktemp -d)
  mkdir -p "$root"/{bin,dev,debian,modules}
  cp /bin/busybox "$root/bin/"
  cp "$cache"/modules/*.ko "$root/modules/"
  install -D -m 644 "$1" "$root/over/sandboxd.deb"
  install -D -m 644 -t "$root/over/etc/systemd/system" tests/vm/check.service
  install -D tests/vm/service.py "$root/over/check"
  cat >"$root/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs none /dev
for name in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
  $b insmod "/modules/$name.ko"
done
for _ in $($b seq 100); do [ -e /dev/vda ] || $b sleep 0.1; done
$b mount -t ext4 /dev/vda /debian
$b cp -a /over/. /debian/
$b mount --move /dev /debian/dev
exec $b switch_root /debian /sbin/init
INIT
  chmod 755 "$root/init" "$root"
  (cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$cache/service.initrd.gz"
  rm -rf "$root"
}

need
kernel
debian
cargo build --locked -p sandboxd
command -v dpkg-shlibdeps >/dev/null || apt-get install -y -q --no-install-recommends dpkg-dev
binary=$cache/sandboxd
strip -o "$binary" "${CARGO_TARGET_DIR:-target}/debug/sandboxd"
initrd "$(packaging/deb.sh "$binary" "$cache")"
log=$cache/service.log
append="systemd.unit=check.service systemd.firstboot=off systemd.show_status=no systemd.getty_auto=no" \
  boot "$cache/service.initrd.gz" -drive "file=$cache/debian.ext4,format=raw,if=virtio,snapshot=on" |
  stdbuf -oL tr -d '\r' | tee "$log" | grep -E --line-buffered '^(test |== |    )' || true
grep -q '^== passed' "$log" || { echo "the machine with systemd: failed (see $log)" >&2; exit 1; }
