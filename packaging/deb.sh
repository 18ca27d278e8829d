#!/usr/bin/env bash
# deb.sh BINARY FOLDER: a Debian package of this binary in that folder; prints its path.
#
# Made with dpkg-deb alone: what goes into it is two dozen files, and Debian's own tools for sources would ask for more
# than that in return. What the binary needs is found by dpkg-shlibdeps, what the languages need is recommended from their
# manifests.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "$1")
out=$(realpath "$2")

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
tree=$root/tree
work=$root/work
mkdir -p "$tree/DEBIAN" "$work/debian"

put() { install -D -m "${3:-644}" "$1" "$tree/$2"; }

put "$binary" usr/bin/sandboxd 755
for unit in service socket slice; do
  put "systemd/sandboxd.$unit" "usr/lib/systemd/system/sandboxd.$unit"
done
put systemd/sysusers.d/sandboxd.conf usr/lib/sysusers.d/sandboxd.conf
mkdir -p "$tree/etc/sandboxd"

doc=usr/share/doc/sandboxd
for example in config.toml.example systemd/{docker,containerd,gvisor}.conf dashboards/sandboxd.json dashboards/rules.yml; do
  put "$example" "$doc/examples/$(basename "$example")"
done
put README.md "$doc/README.md"
put SECURITY.md "$doc/SECURITY.md"
gzip -9n <CHANGELOG.md >"$work/changelog.gz"
put "$work/changelog.gz" "$doc/changelog.gz"
put packaging/debian/copyright "$doc/copyright"

cargo run --quiet --locked --example command-line -- "$work/words"
for page in "$work"/words/*.1; do
  gzip -9n "$page"
  put "$page.gz" "usr/share/man/man1/$(basename "$page").gz"
done
put "$work/words/sandboxd.bash" usr/share/bash-completion/completions/sandboxd
put "$work/words/_sandboxd" usr/share/zsh/vendor-completions/_sandboxd
put "$work/words/sandboxd.fish" usr/share/fish/vendor_completions.d/sandboxd.fish

printf 'Source: sandboxd\nPackage: sandboxd\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O "$tree/usr/bin/sandboxd" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
languages=$(make/languages.sh --packages | sort -u | paste -s -d , | sed 's/,/, /g')
for script in postinst prerm postrm; do
  install -m 755 "packaging/debian/$script" "$tree/DEBIAN/$script"
done
cat >"$tree/DEBIAN/control" <<CONTROL
Package: sandboxd
Version: $version
Architecture: $architecture
Maintainer: The sandboxd authors <sandboxd@localhost>
Installed-Size: $(du -sk --exclude DEBIAN "$tree" | cut -f 1)
Depends: $depends, init-system-helpers (>= 1.52)
Recommends: systemd, $languages
Suggests: containerd, docker.io, runsc
Section: devel
Priority: optional
Description: runs programs that nobody trusts
 A daemon that takes programs over HTTP, runs each in a fresh sandbox of Linux namespaces, Docker or containerd, with runc or
 with gVisor, holds it to its limits and says what happened: output, exit, one verdict and what was used.
CONTROL
package=$out/sandboxd_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
echo "$package"
