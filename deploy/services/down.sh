#!/usr/bin/env bash
# Stops what up.sh started, waits for it, and deletes its data.
#   deploy/services/down.sh [STATE]    STATE: .cache/services
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=${1:-$here/../../.cache/services}
folder=$(cat "$state/folder" 2>/dev/null || true)
[ -n "$folder" ] || exit 0
# shellcheck source=/dev/null
[ ! -s "$state/env" ] || . "$state/env" # stopped by what started them
failed=0
for service in "$here"/*.service; do
  name=$(basename "$service" .service)
  [ ! -d "$folder/$name" ] || "$service" stop "$folder/$name" || failed=1
done
[ "$failed" -eq 0 ] || { echo "deploy/services/down.sh: not everything stopped; the data stay in $folder" >&2; exit 1; }
rm -rf "$folder"
rm -f "$state/env" "$state/folder"
