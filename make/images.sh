#!/usr/bin/env bash
# images.sh BINARY [LANG...]: the images of these languages, or of all, in the Docker that answers here, and the same in
# the containerd that does. Built within a minute or two the first time on a day, and found again after that.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
shift
if ! curl -fs -m 5 -o /dev/null --unix-socket /var/run/docker.sock http://docker/_ping 2>/dev/null; then
  echo "No images: Docker does not answer at /var/run/docker.sock." >&2
  [ -z "${CI:-}" ]
  exit
fi
make/base-image.sh
docker=SANDBOXD_RUNTIMES__DOCKER__KIND=docker containerd=SANDBOXD_RUNTIMES__CONTAINERD__KIND=containerd
env "$docker" "$binary" images build --quiet "$@"

[ -w /run/containerd/containerd.sock ] || exit 0
# Language, name and id of every image that a runtime has. The same image has the same id in both.
images() { env "$1" "$binary" images list | awk 'NR > 1 && $2 != "none:" { print $1, $2, $NF }'; }
have=$(images "$containerd")
mkdir -p .cache/images
tar=$(mktemp .cache/images/moving.XXXXXX)
trap 'rm -f "$tar" "$tar.log"' EXIT
images "$docker" | while read -r language name id; do
  if grep -qxF "$language $name $id" <<<"$have"; then continue; fi
  echo "Bringing $name to containerd"
  curl -fsS --unix-socket /var/run/docker.sock -o "$tar" "http://docker/images/get?names=$name"
  env "$containerd" "$binary" images import "$tar" >/dev/null 2>"$tar.log" || { cat "$tar.log" >&2; exit 1; }
done
