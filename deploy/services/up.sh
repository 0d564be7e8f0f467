#!/usr/bin/env bash
# Starts the services that tests and development need, each in a folder of its own below one temporary folder, and
# writes what they are reached by into STATE/env. Does nothing for those that run already.
#   deploy/services/up.sh [STATE]      STATE: .cache/services
# VARVE_ONLY="postgres s3" starts these and no others. They are containers where a Docker engine with Compose answers, else
# programs of this machine; VARVE_ENGINE=native or docker decides it.
# A service is one file beside this one, NAME.service, an executable that knows these words:
#   install           installs what is missing, and says so (only when something is)
#   start FOLDER      starts it with everything it writes below FOLDER, and what the tests need to know as
#                     export lines in FOLDER/env; returns when it answers, or fails with the reason
#   stop FOLDER       stops it and waits for its end
#   kill FOLDER       kills it and waits for its end
#   restart FOLDER    starts it again after that, with the same data on the same ports
#   pause FOLDER      lets it do nothing, as where the network hangs, until resume FOLDER
#   alive FOLDER      whether it runs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=process.sh
. "$here/process.sh"
state=${1:-$here/../../.cache/services}
mkdir -p "$state"
state=$(cd "$state" && pwd)
VARVE_ENGINE=$(engine)
export VARVE_ENGINE

all=()
for service in "$here"/*.service; do all+=("$(basename "$service" .service)"); done
read -ra wanted <<<"${VARVE_ONLY:-${all[*]}}"
for name in "${wanted[@]}"; do
  [ -x "$here/$name.service" ] || { echo "deploy/services/up.sh: VARVE_ONLY names $name; there are ${all[*]}" >&2; exit 2; }
done

# Two that start at once would both make a folder.
exec 9>"$state/lock"
flock 9

folder=$(cat "$state/folder" 2>/dev/null || true)
if [ -z "$folder" ] || [ ! -d "$folder" ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/varve-services-XXXXXX")
  chmod 711 "$folder" # a service that runs as another user must be able to reach its own folder
  echo "$folder" >"$state/folder"
fi

declare -A starting=()
trap 'kill "${starting[@]}" 2>/dev/null; wait; exit 130' INT TERM
for name in "${wanted[@]}"; do
  ! "$here/$name.service" alive "$folder/$name" || continue
  "$here/$name.service" install
  rm -rf "${folder:?}/$name"
  mkdir "$folder/$name"
  # The lock is not for the servers: they would hold it as long as they live.
  "$here/$name.service" start "$folder/$name" 9>&- &
  starting[$name]=$!
done
failed=0
for name in "${!starting[@]}"; do
  wait "${starting[$name]}" || { echo "deploy/services/up.sh: $name does not start; its folder is $folder/$name" >&2; failed=1; }
done
[ "$failed" -eq 0 ] || exit 1
{
  echo "export VARVE_ENGINE=$VARVE_ENGINE"
  for name in "${all[@]}"; do
    ! "$here/$name.service" alive "$folder/$name" || cat "$folder/$name/env"
  done
} >"$state/env.new"
mv "$state/env.new" "$state/env"
[ ${#starting[@]} -eq 0 ] || echo "started: ${!starting[*]} ($VARVE_ENGINE)"
