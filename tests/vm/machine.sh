# The emulated machine: what it needs, its Debian and kernel, and its start. Sourced by the other scripts, in the
# repository's root; what is tried in it is theirs.
cache=$PWD/.cache/vm
mkdir -p "$cache"

need() {
  local missing=()
  command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
  command -v cpio >/dev/null || missing+=(cpio)
  [ -x /bin/busybox ] || missing+=(busybox-static)
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -eq 0 ]; then
    apt-get install -y -q --no-install-recommends "${missing[@]}"
  else
    echo "SKIP the emulated machine: run 'apt-get install ${missing[*]}' as root first"
    exit 0
  fi
}

# The newest cloud kernel of this Debian with its drivers for disks, unpacked and not installed.
kernel() {
  [ -e "$cache/vmlinuz" ] && [ -e "$cache/modules" ] && return
  local package work
  [ "$(id -u)" -eq 0 ] && apt-get update -q >/dev/null
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
  work=$(mktemp -d)
  (cd "$work" && apt-get download -q "$package" && dpkg-deb -x ./*.deb tree)
  cp "$work"/tree/boot/vmlinuz-* "$cache/vmlinuz"
  mkdir -p "$cache/modules"
  find "$work/tree" -name 'virtio*.ko' -exec cp {} "$cache/modules/" \;
  rm -rf "$work"
}

# debian NAME SUITE SIZE PACKAGES [HOOK]: a Debian with systemd on a disk of its own, NAME.ext4, made once and never
# written to, unless it is asked for another way. Ends the script where there is none and no root to make it.
debian() {
  local name=$1 suite=$2 size=$3 packages=$4 hook=${5:-true} work missing=()
  [ -e "$cache/$name.ext4" ] && [ "$*" = "$(cat "$cache/$name.asked" 2>/dev/null)" ] && return
  if [ "$(id -u)" -ne 0 ]; then
    echo "SKIP the machine with $suite: to make its disk takes root, once"
    [ -z "${CI:-}" ]
    exit
  fi
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  command -v mke2fs >/dev/null || missing+=(e2fsprogs)
  command -v xz >/dev/null || missing+=(xz-utils)
  [ ${#missing[@]} -eq 0 ] || apt-get install -y -q --no-install-recommends "${missing[@]}"
  work=$(mktemp -d)
  # A testing suite's mirror may be older than its own word on how long it is good; who signed it is asked all the same.
  mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" \
    --customize-hook="$hook" "$suite" "$work/base.tar"
  mkdir "$work/root"
  tar -xf "$work/base.tar" -C "$work/root" --exclude './dev/*'
  if [ -e "$work/root/boot/vmlinuz" ]; then own_kernel "$work/root" "$cache/$name"; fi
  disk "$work/root" "$size" "$cache/$name.ext4"
  echo "$*" >"$cache/$name.asked"
  rm -rf "$work"
}

# disk FOLDER SIZE FILE
disk() {
  rm -f "$3.new"
  truncate -s "$2" "$3.new"
  mke2fs -q -t ext4 -O ^has_journal -d "$1" "$3.new"
  mv "$3.new" "$3"
}

# own_kernel ROOT FOLDER: the kernel that is installed there, and its drivers for disks, as far as they are not in it.
own_kernel() {
  local module
  mkdir -p "$2/modules"
  cp "$1/boot/vmlinuz" "$2/vmlinuz"
  find "$1/usr/lib/modules/" -name 'virtio*.ko*' | while read -r module; do
    case $module in
    *.xz) xz -dc "$module" >"$2/modules/$(basename "$module" .xz)" ;;
    *) cp "$module" "$2/modules/" ;;
    esac
  done
}

# initrd FILE MODULES OVER: first of all busybox mounts the Debian, lays that folder over it, and hands over to systemd.
initrd() {
  local root
  root=$(mktemp -d)
  mkdir -p "$root"/{bin,dev,debian,modules}
  cp /bin/busybox "$root/bin/"
  cp "$2"/*.ko "$root/modules/"
  cp -r "$3" "$root/over"
  cat >"$root/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs none /dev
for name in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
  [ ! -e "/modules/$name.ko" ] || $b insmod "/modules/$name.ko"
done
for _ in $($b seq 100); do [ -e /dev/vda ] || $b sleep 0.1; done
$b mount -t ext4 /dev/vda /debian
$b cp -a /over/. /debian/
$b mount --move /dev /debian/dev
exec $b switch_root /debian /sbin/init
INIT
  chmod 755 "$root/init" "$root" "$root/over"
  (cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$1"
  rm -rf "$root"
}

# Our package, of a binary without what only a debugger reads; prints its path.
package() {
  cargo build --quiet --locked -p sandboxd
  command -v dpkg-shlibdeps >/dev/null || apt-get install -y -q --no-install-recommends dpkg-dev >/dev/null
  strip -o "$cache/sandboxd" "${CARGO_TARGET_DIR:-target}/debug/sandboxd"
  packaging/deb.sh "$cache/sandboxd" "$cache"
}

# test_program PACKAGE NAME: builds that test; prints its program's path.
test_program() {
  cargo test --locked -p "$1" --test "$2" --no-run --message-format json 2>/dev/null |
    sed -n "s/.*\"executable\":\"\([^\"]*$2[^\"]*\)\".*/\1/p" | tail -n 1
}

# Starts it with an initrd, and more of QEMU's options; ends with the machine or its time. What it says is on stdout.
boot() {
  local initrd=$1
  shift
  timeout "${SANDBOXD_VM_TIMEOUT_S:-900}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m "${memory_mib:-2048}" \
    -smp 2 -display none -serial stdio -monitor none -no-reboot "$@" -kernel "${kernel:-$cache/vmlinuz}" \
    -initrd "$initrd" -append "console=ttyS0 quiet panic=-1 ${append:-}" </dev/null
}

# boot_systemd NAME INITRD [OPTION...]: runs /check on the disk of that name; whether it passed.
boot_systemd() {
  local name=$1 initrd=$2 log
  shift 2
  log=$cache/$name.log
  append="systemd.unit=check.service systemd.firstboot=off systemd.show_status=no systemd.getty_auto=no" \
    boot "$initrd" -drive "file=$cache/$name.ext4,format=raw,if=virtio,snapshot=on" "$@" |
    stdbuf -oL tr -d '\r' | tee "$log" | grep -E --line-buffered '^(test |== |    )' || true
  grep -q '^== all passed' "$log" || { echo "the machine with $name: failed (see $log)" >&2; return 1; }
}
