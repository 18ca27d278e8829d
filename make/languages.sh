#!/usr/bin/env bash
# Installs the Debian packages of the languages that are missing, as root; otherwise says which, and goes on: a language
# that is not there is listed as missing, and the others work. The packages are those of the executors' manifests.
set -euo pipefail
cd "$(dirname "$0")/.."

# What each language is there by, when it came from elsewhere than Debian's package.
present() {
  case $1 in
    nodejs) command -v node >/dev/null ;;
    default-jdk-headless) command -v javac >/dev/null ;;
    golang-go) command -v go >/dev/null ;;
    *) dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed' ;;
  esac
}

missing=()
for package in $(sed -n 's/^packages = \[\(.*\)\]/\1/p' executors/*/executor.toml | tr -d '",' | tr ' ' '\n' | sort -u); do
  present "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "Installing ${missing[*]}"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "Some languages are missing; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
fi
