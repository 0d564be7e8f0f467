#!/usr/bin/env bash
# Runs a command with the services of up.sh: those of `make up` where they run, else its own, which it stops afterwards,
# also when the command fails or is interrupted.
#   deploy/services/with.sh COMMAND...
# VARVE_ONLY="postgres s3" starts these and no others.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$here/../../.cache
mkdir -p "$cache"
state=$cache/services
if [ ! -s "$state/env" ]; then
  state=$(mktemp -d "$cache/services-XXXXXX")
  stop() {
    "$here/down.sh" "$state" || return
    rm -rf "$state"
  }
  trap stop EXIT
  trap 'exit 130' INT TERM
fi
"$here/up.sh" "$state"
# shellcheck source=/dev/null
. "$state/env"
VARVE_SERVICES=$state "$@"
