#!/usr/bin/env bash
# Starts the services that tests and development need, each in a folder of its own below one temporary folder, and
# writes what they are reached by into STATE/env. Does nothing for those that run already.
#   deploy/services/up.sh [STATE]      STATE: .cache/services
# A service is one file beside this one, NAME.service, an executable that knows these words:
#   install           installs what is missing, and says so (only when something is)
#   start FOLDER      starts it with everything it writes below FOLDER, its pid in FOLDER/pid, and what the tests
#                     need to know as export lines in FOLDER/env; returns when it answers, or fails with the reason
#   stop FOLDER       stops it and waits for its end
#   alive FOLDER      whether it runs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=${1:-$here/../../.cache/services}
mkdir -p "$state"
state=$(cd "$state" && pwd)

# Two that start at once would both make a folder.
exec 9>"$state/lock"
flock 9

folder=$(cat "$state/folder" 2>/dev/null || true)
if [ -z "$folder" ] || [ ! -d "$folder" ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/varve-services-XXXXXX")
  chmod 711 "$folder" # a service that runs as another user must be able to reach its own folder
  echo "$folder" >"$state/folder"
fi

started=
for service in "$here"/*.service; do
  name=$(basename "$service" .service)
  if ! "$service" alive "$folder/$name"; then
    "$service" install
    rm -rf "${folder:?}/$name"
    mkdir "$folder/$name"
    # The lock is not for the server: it would hold it as long as it lives.
    if ! "$service" start "$folder/$name" 9>&-; then
      echo "deploy/services/up.sh: $name does not start; its folder is $folder/$name" >&2
      exit 1
    fi
    started="$started $name"
  fi
done
for service in "$here"/*.service; do
  cat "$folder/$(basename "$service" .service)/env"
done >"$state/env.new"
mv "$state/env.new" "$state/env"
[ -z "$started" ] || echo "started:$started"
