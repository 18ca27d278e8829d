#!/usr/bin/env bash
# The conformance suite on Debian 12's own kernel with cgroup v2, in an emulated machine: as root, and as a user to
# whom a cgroup is delegated as systemd does it. It needs no KVM and no image: the machine's file system is an archive
# of this host's programs, and the kernel comes from a Debian package. Then systemd runs us,
# in a machine of its own: service.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/vm/machine.sh

# Copies a program and the libraries it loads to the same places below $root.
take() {
  local file=$1 real
  real=$(readlink -f "$file")
  mkdir -p "$root$(dirname "$real")"
  cp -n "$real" "$root$real"
  # Links (sh -> dash) keep their names.
  [ "$real" = "$file" ] || ln -sf "$(basename "$real")" "$root$file" 2>/dev/null || true
  # A file that loads nothing has no such line.
  { ldd "$real" 2>/dev/null | grep -o '/[^ ]*' || true; } | while read -r library; do
    real=$(readlink -f "$(dirname "$library")")
    mkdir -p "$root$real"
    cp -nL "$library" "$root$real/"
  done
}

archive() {
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  mkdir -p "$root"/{proc,sys,dev,tmp,etc,newroot,test} "$root"/usr/{bin,sbin,lib,lib64}
  for link in bin sbin lib lib64; do ln -s "usr/$link" "$root/$link"; done
  cp /bin/busybox "$root/usr/bin/busybox"
  for name in cat chmod cut dash env head id kill ln ls mkdir mkfifo python3 rm seq setsid sh sleep touch true wc; do
    take "/usr/bin/$name"
  done
  local python
  python=$(dirname "$(/usr/bin/python3 -c 'import os; print(os.__file__)')")
  mkdir -p "$root$python"
  for part in "$python"/*.py "$python"/{collections,encodings,importlib,json,re,lib-dynload}; do
    [ -e "$part" ] && cp -r "$part" "$root$python/"
  done
  for module in "$python"/lib-dynload/*.so; do take "$module"; done
  cp /etc/ld.so.cache "$root/etc/"
  printf 'root:x:0:0::/:/bin/sh\ntester:x:1500:1500::/:/bin/sh\n' >"$root/etc/passwd"
  take "$1"
  cp "$1" "$root/test/conformance"
  cp tests/vm/first.sh "$root/init"
  cp tests/vm/second.sh "$root/second"
  chmod 755 "$root/init" "$root/second" "$root/test/conformance"
  (cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$cache/initrd.gz"
}

need
kernel
suite=$(test_program sandboxd-native conformance)
archive "$suite"
log=$cache/console.log
boot "$cache/initrd.gz" |
  tr -d '\r' | tee "$log" | grep -E --line-buffered '^(test |----|== |SKIP|thread|called)'
passed=$(grep -c '^== passed' "$log" || true)
[ "$passed" -eq 2 ] || { echo "the emulated machine: $passed of 2 suites passed (see $log)" >&2; exit 1; }
tests/vm/service.sh
