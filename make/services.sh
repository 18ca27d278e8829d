#!/usr/bin/env bash
# services.sh up|down|status: containerd and dockerd for the tests, on a host where nothing else runs them.
#
# What answers at the usual sockets is used as it is. Where nothing does, root gets what Debian has installed and both
# daemons started, with logs and pid files in .cache/services; `down` stops only those. Where that is not possible one
# sentence says why, and the tests that need them skip; under CI it is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
what=containers
. make/needs.sh
here=$PWD/.cache/services
containerd_socket=/run/containerd/containerd.sock
docker_socket=/var/run/docker.sock
packages=(docker.io containerd runc runsc mmdebstrap iptables curl)
start_seconds=60
stop_seconds=30

containerd_answers() { timeout 5 ctr --address "$containerd_socket" version >/dev/null 2>&1; }
docker_answers() { curl -fs -m 5 -o /dev/null --unix-socket "$docker_socket" http://docker/_ping 2>/dev/null; }

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

install_missing() {
  local missing=() package
  for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] || install_debian "${missing[@]}"
}

# The runsc of bookworm is old. The one that Debian ported back is unpacked beside it, so that both are tested and the
# host's own stays as it is.
fetch_runsc_backports() {
  local folder=$here/runsc-backports
  [ ! -x "$folder/usr/bin/runsc" ] || return 0
  [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = bookworm ] || return 0
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' |
    awk '$2 == "bookworm" && !found++ { print $1 }')
  [ -n "$mirror" ] || return 0
  local apt=$here/apt
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$folder"
  echo "deb $mirror bookworm-backports main" >"$apt/sources.list"
  local options=(
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
    -o Acquire::Retries=5
  )
  echo "Fetching the runsc of bookworm-backports"
  if apt-get -qq "${options[@]}" update &&
    (cd "$apt" && rm -f runsc_*.deb && apt-get -qq "${options[@]}" download runsc) &&
    dpkg-deb --extract "$apt"/runsc_*.deb "$folder.new"; then
    rm -rf "$folder" && mv "$folder.new" "$folder"
  else
    rm -rf "$folder" "$folder.new"
    echo "The newer runsc can't be had; the tests do without." >&2
    [ -z "${CI:-}" ]
  fi
  rm -rf "$apt"
}

# runtime NAME PROGRAM: an entry of the Docker daemon's runtimes. No sandbox has a network, and one that runsc makes
# starts only if it is told so.
runtime() { printf '    "%s": { "path": "%s", "runtimeArgs": ["--network=none"] }' "$1" "$2"; }

docker_configuration() {
  local runtimes=() program
  program=$(command -v runsc) && runtimes+=("$(runtime runsc "$program")")
  program=$here/runsc-backports/usr/bin/runsc
  [ ! -x "$program" ] || runtimes+=("$(runtime runsc-backports "$program")")
  cat <<END
{
  "containerd": "$containerd_socket",
  "bridge": "none",
  "iptables": false,
  "ip6tables": false,
  "storage-driver": "overlay2",
  "runtimes": {
$(IFS=,; echo "${runtimes[*]}" | sed 's/},/},\n/g')
  }
}
END
}

# start NAME PROGRAM [ARG...]: detached from this terminal, and waited for until it answers.
start() {
  local name=$1 waited=0
  shift
  echo "Starting $name"
  setsid "$@" </dev/null >"$here/$name.log" 2>&1 9>&- &
  echo $! >"$here/$name.pid"
  until "${name/dockerd/docker}_answers"; do
    if ! ours "$name"; then
      rm -f "$here/$name.pid"
      without "$name does not start: $(tail -n 1 "$here/$name.log")"
    fi
    [ "$((waited += 1))" -le $((start_seconds * 5)) ] || without "$name does not answer; see $here/$name.log."
    sleep 0.2
  done
}

# ours NAME: whether the process that the pid file names is there and is that daemon.
ours() {
  local pid
  pid=$(cat "$here/$1.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]
}

up() {
  if [ "$(id -u)" -ne 0 ]; then
    if containerd_answers && docker_answers; then return 0; fi
    local silent=()
    containerd_answers || silent+=("$containerd_socket")
    docker_answers || silent+=("$docker_socket")
    without "nothing answers this user at ${silent[*]}, and only root can install and start what should."
  fi
  { containerd_answers && docker_answers; } || install_missing
  mkdir -p "$here"
  # One at a time: the second finds what the first started.
  exec 9>"$here/lock"
  flock 9
  fetch_runsc_backports
  containerd_answers || start containerd containerd --address "$containerd_socket"
  if ! docker_answers; then
    docker_configuration >"$here/daemon.json"
    start dockerd dockerd --config-file "$here/daemon.json" --host "unix://$docker_socket"
  fi
}

# stop NAME: asks first, and insists after a while.
stop() {
  local pid waited=0
  if ours "$1"; then
    pid=$(cat "$here/$1.pid")
    echo "Stopping $1"
    kill -TERM "$pid"
    while [ -e "/proc/$pid" ]; do
      # Where asking did not help: it is given the same time again to be gone.
      [ "$((waited += 1))" -ne $((stop_seconds * 5)) ] || kill -KILL "$pid" 2>/dev/null || true
      [ "$waited" -lt $((stop_seconds * 10)) ] || { echo "$1 does not go." >&2; return 1; }
      sleep 0.2
    done
  fi
  rm -f "$here/$1.pid"
}

status() {
  local name whose
  for name in containerd dockerd; do
    whose="somebody else's"
    ! ours "$name" || whose="started here, pid $(cat "$here/$name.pid"), log $here/$name.log"
    if "${name/dockerd/docker}_answers"; then
      echo "$name: answers ($whose)"
    else
      echo "$name: does not answer"
    fi
  done
}

case ${1:-} in
up) up ;;
down) stop dockerd && stop containerd ;;
status) status ;;
*)
  echo "usage: make/services.sh up|down|status" >&2
  exit 2
  ;;
esac
