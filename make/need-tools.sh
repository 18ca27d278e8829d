#!/usr/bin/env bash
# What the build needs beside its crates. Says in one sentence what to do when there is no Rust, or one that is too old;
# the compiler of containerd's messages comes from Debian, where root may install it.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if ! command -v cargo >/dev/null; then
  echo "sandboxd needs Rust $wanted or newer, and there is no cargo here: install it with rustup (https://rustup.rs)." >&2
  exit 1
fi
found=$(cargo --version | awk '{ print $2 }')
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
  echo "sandboxd needs Rust $wanted or newer; this is $found: 'rustup update', or install it with rustup (https://rustup.rs)." >&2
  exit 1
fi
if ! command -v protoc >/dev/null || [ ! -e /usr/include/google/protobuf/empty.proto ]; then
  install=(apt-get install -y --no-install-recommends protobuf-compiler libprotobuf-dev)
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    "${install[@]}" || { apt-get update && "${install[@]}"; }
  else
    echo "sandboxd needs protoc to be built: sudo ${install[*]}" >&2
    exit 1
  fi
fi
if ! command -v cc >/dev/null; then
  echo "sandboxd needs a C linker: apt-get install gcc libc6-dev" >&2
  exit 1
fi
