#!/usr/bin/env bash
# Starts the daemon and, once it can run code, prints a request that works.
set -euo pipefail
binary=$1
export SANDBOXD_STATE_DIR=${SANDBOXD_STATE_DIR:-$PWD/.cache/state}
mkdir -p "$SANDBOXD_STATE_DIR"
"$binary" serve &
daemon=$!
trap 'kill -TERM "$daemon" 2>/dev/null; wait "$daemon"' INT TERM
url=http://127.0.0.1:8080
for _ in $(seq 300); do
  kill -0 "$daemon" 2>/dev/null || { wait "$daemon"; exit $?; }
  if curl -fsS -o /dev/null "$url/readyz" 2>/dev/null; then
    cat <<END

sandboxd is ready. In another terminal:

  curl -s $url/api/execute -H 'content-type: application/json' \\
    -d '{"language": "python", "code": "print(6 * 7)"}'

END
    break
  fi
  sleep 0.1
done
wait "$daemon"
