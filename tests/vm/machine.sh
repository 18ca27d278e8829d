# The emulated machine: what it needs, its kernel, and its start. Sourced by run.sh and service.sh, in the repository's
# root; what it boots is theirs.
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

# Starts it with an initrd, and more of QEMU's options; ends with the machine or its time. What it says is on stdout.
boot() {
  local initrd=$1
  shift
  timeout "${SANDBOXD_VM_TIMEOUT_S:-900}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 2048 -smp 2 \
    -display none -serial stdio -monitor none -no-reboot "$@" \
    -kernel "$cache/vmlinuz" -initrd "$initrd" -append "console=ttyS0 quiet panic=-1 ${append:-}" </dev/null
}
