#!/usr/bin/env bash
# Whether systemd understands the units, and how far open they are at most: exposure by `systemd-analyze security`, in
# tenths, as README.md has it. The drop-ins are looked at with the unit that they belong to.
set -euo pipefail
cd "$(dirname "$0")/../systemd"
if ! command -v systemd-analyze >/dev/null; then
  echo "SKIP the units: there is no systemd-analyze (apt-get install systemd)"
  [ -z "${CI:-}" ]
  exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# The binary need not be installed here.
check() {
  local name=$1 most=$2 said
  shift 2
  rm -rf "$work"/*
  cp sandboxd.{socket,slice} "$work/"
  sed 's#/usr/bin/sandboxd#/bin/true#' sandboxd.service >"$work/sandboxd.service"
  mkdir "$work/sandboxd.service.d"
  [ $# -eq 0 ] || cp "$@" "$work/sandboxd.service.d/"
  said=$(systemd-analyze verify --man=no "$work"/sandboxd.{service,socket,slice} 2>&1) || status=1
  if [ -n "$said" ]; then
    echo "$name: $said" >&2
    status=1
  fi
  if said=$(systemd-analyze security --offline=yes --threshold="$most" "$work/sandboxd.service" 2>&1); then
    echo "$name: exposure $(sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p' <<<"$said")"
  else
    tail -n 2 <<<"$said" >&2
    echo "$name: more open than $most tenths" >&2
    status=1
  fi
}

check sandboxd.service 28
check "sandboxd.service with docker.conf" 12 docker.conf
check "sandboxd.service with containerd.conf" 12 containerd.conf
check "sandboxd.service with docker.conf and gvisor.conf" 12 docker.conf gvisor.conf
check "sandboxd.service with containerd.conf and gvisor.conf" 12 containerd.conf gvisor.conf
exit "$status"
