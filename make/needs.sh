# What some tests need and a host may lack. Sourced by scripts here, which set `what`.

# A daemon's own programs are in folders that not every shell looks into.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# without REASON: the tests do without, unless nothing may be skipped.
without() {
  echo "No $what in the tests: $1" >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
}

# install_debian PACKAGE...: or say why not.
install_debian() {
  command -v apt-get >/dev/null || without "this host lacks what Debian has in $*."
  local install=(apt-get install -y --no-install-recommends "$@")
  [ "$(id -u)" = 0 ] || without "installing it takes root: ${install[*]}"
  export DEBIAN_FRONTEND=noninteractive
  echo "Installing $*"
  # The lists may be missing or old; fetching them first would cost every run for the sake of the first.
  "${install[@]}" || { apt-get update && "${install[@]}"; } || without "${install[*]} failed."
}
