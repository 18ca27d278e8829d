#!/usr/bin/env bash
# Sees to it that Docker has the image that every language's image begins with. What is there is used; then a registry
# is asked, for a moment; and where none answers the image is made from Debian's packages, and kept in .cache/images.
# Prints nothing when there was nothing to do. Docker must answer: see make/services.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${1:-debian:bookworm-slim}
suite=bookworm
pull_seconds=15
tar=$PWD/.cache/images/base.tar
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# What Docker can do is asked of its socket: its command line is a package of its own in newer suites.
docker() { curl -fsS --unix-socket /var/run/docker.sock "$@"; }

# The host's own mirrors of Debian, as lines of sources.list.
mirrors() {
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 2>/dev/null |
    awk -v suite="$suite" '$2 == suite || $2 == suite "-updates" || $2 == suite "-security" {
      sub("/$", "", $1)
      print "deb " $1 " " $2 " " $3
    }' | sort -u
}

# The smallest Debian with apt, without what nobody reads in a sandbox.
make_base() {
  local sources making=${tar%.tar}.new.tar
  if [ "$(id -u)" -ne 0 ] || ! command -v mmdebstrap >/dev/null; then
    echo "The image $image can't be had: no registry answers, and making it takes root and Debian's mmdebstrap." >&2
    return 1
  fi
  mkdir -p "${tar%/*}"
  sources=$(mirrors)
  echo "Making $image from Debian's packages"
  printf '%s\n' "$sources" | mmdebstrap --quiet --variant=apt \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    "$suite" "$making" ${sources:+-}
  mv "$making" "$tar"
}

name=${image%:*} tag=${image##*:}
if docker -o /dev/null "http://docker/images/$image/json" 2>/dev/null; then exit 0; fi
if timeout "$pull_seconds" curl -fsS --unix-socket /var/run/docker.sock -o /dev/null \
  -X POST "http://docker/images/create?fromImage=$name&tag=$tag" 2>/dev/null &&
  docker -o /dev/null "http://docker/images/$image/json" 2>/dev/null; then
  exit 0
fi
[ -s "$tar" ] || make_base
docker -o /dev/null -X POST -H 'Content-Type: application/x-tar' --upload-file "$tar" \
  "http://docker/images/create?fromSrc=-&repo=$name&tag=$tag"
