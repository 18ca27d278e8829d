#!/usr/bin/env bash
# Installs the Debian packages that the languages need and this host lacks; without root it says what would. What a
# language needs stands in its manifest, executors/*/executor.toml, and nowhere else. With --packages it only prints.
#
# The first package of a list is the one with the program that version_command calls: where a sandbox would find that
# program, wherever it came from, the package counts as there.
set -euo pipefail
cd "$(dirname "$0")/.."

# list FILE KEY: the strings of a top-level array, one a line.
list() {
  awk -v key="$2" '
    /^\[/ { exit }
    $0 ~ "^" key "[ \t]*=" { inside = 1 }
    inside { text = text " " $0 }
    inside && /\]/ { exit }
    END { n = split(text, part, "\""); for (i = 2; i <= n; i += 2) print part[i] }
  ' "$1"
}

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
found() { PATH=/usr/local/bin:/usr/bin:/bin command -v "$1" >/dev/null; }

missing=()
for manifest in executors/*/executor.toml; do
  mapfile -t packages < <(list "$manifest" packages)
  if [ "${1:-}" = --packages ]; then
    printf '%s\n' "${packages[@]}"
    continue
  fi
  program=$(list "$manifest" version_command | head -n 1)
  for package in "${packages[@]}"; do
    [ "$package" = "${packages[0]}" ] && found "$program" && continue
    installed "$package" || missing+=("$package")
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if ! found apt-get; then
  echo "Some languages will not be there: this host lacks what Debian has in ${missing[*]}." >&2
elif [ "$(id -u)" -ne 0 ]; then
  echo "Some languages will not be there until somebody runs: sudo ${install[*]}" >&2
else
  export DEBIAN_FRONTEND=noninteractive
  echo "Installing ${missing[*]}"
  # The lists may be missing or old; fetching them first would cost every run for the sake of the first.
  "${install[@]}" || { apt-get update && "${install[@]}"; } ||
    echo "Some languages will not be there: ${install[*]} failed." >&2
fi
