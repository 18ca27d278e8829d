#!/usr/bin/env bash
# image.sh [PROFILE]: the image sandboxd:latest in the Docker that answers here. Its bases are pulled; where no registry
# answers, Debian is made of packages, and Rust's image of that Debian and this host's own toolchain and crates.
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${1:-release}
what="image of sandboxd"
. make/needs.sh
debian=debian:bookworm-slim
rust=rust:$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-slim-bookworm

curl -fs -m 5 -o /dev/null --unix-socket /var/run/docker.sock http://docker/_ping ||
  without "Docker does not answer at /var/run/docker.sock."
command -v docker >/dev/null || install_debian docker-cli

# own_rust: what Rust's image has, as far as a build needs it.
own_rust() {
  local work
  work=$(mktemp -d)
  trap 'rm -rf "$work"' RETURN
  echo "Making $rust of this host's Rust"
  cargo fetch --locked --quiet
  mkdir -p "$work/rust" "$work/crates/registry"
  cp -r "$(rustc --print sysroot)"/{bin,lib} "$work/rust/"
  cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/{cache,index} "$work/crates/registry/"
  cat >"$work/Dockerfile" <<END
FROM $debian
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates gcc libc6-dev protobuf-compiler libprotobuf-dev
COPY rust /usr/local
COPY crates /usr/local/cargo
ENV CARGO_HOME=/usr/local/cargo
END
  docker build --quiet --network host --tag "$rust" "$work" >/dev/null
}

make/base-image.sh "$debian"
docker image inspect "$rust" >/dev/null 2>&1 || timeout 15 docker pull --quiet "$rust" 2>/dev/null || own_rust
docker build --network host --file packaging/container/Dockerfile --tag sandboxd:latest \
  --build-arg "RUST=$rust" --build-arg "DEBIAN=$debian" --build-arg "PROFILE=$profile" .
echo sandboxd:latest
