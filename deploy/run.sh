#!/usr/bin/env bash
# A running Varve with the demo in it: makes the directory where it is empty, serves it, loads the demo, prints address,
# key and commands to try, and stays in the foreground until Ctrl-C.
#   deploy/run.sh BINARY DATA HOST:PORT
set -euo pipefail
binary=$1 data=$2 listen=$3
keyfile=$data/demo.key # the first key of this directory, for the next run; readable by its owner alone

if [ ! -s "$keyfile" ]; then
  if [ -e "$data" ] && [ -n "$(ls -A "$data" 2>/dev/null)" ]; then
    echo "$data holds a store that was not made by make run: serve it with \"$binary serve --data $data\", or choose another: make run DATA=DIRECTORY" >&2
    exit 1
  fi
  made=$("$binary" init --data "$data" --organization "Varve demo" --email demo@localhost.localdomain --json)
  (umask 077 && sed -n 's/.*"api_key": *"\([^"]*\)".*/\1/p' <<<"$made" >"$keyfile")
  [ -s "$keyfile" ] || { echo "varve init printed no api_key: $made" >&2; exit 1; }
fi
VARVE_KEY=$(cat "$keyfile")
export VARVE_KEY VARVE_URL=http://$listen

"$binary" serve --data "$data" --listen "$listen" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true; wait "$server"' EXIT
trap 'exit 0' INT TERM

healthy() ( # without curl: bash opens the connection, in a shell of its own
  local answer
  exec 3<>"/dev/tcp/${listen%:*}/${listen##*:}" || return 1
  printf 'GET /v1/health HTTP/1.0\r\nHost: %s\r\n\r\n' "$listen" >&3
  IFS= read -r -t 2 answer <&3 || answer=
  [[ $answer == *" 200 "* ]]
)
for ((i = 0; ; i++)); do
  kill -0 "$server" 2>/dev/null || { echo "the server ended before it was ready: its message is above" >&2; exit 1; }
  healthy 2>/dev/null && break
  [ "$i" -lt 300 ] || { echo "the server was not ready after 30 s" >&2; exit 1; }
  sleep 0.1
done

"$binary" demo

cat <<EOT

Varve answers at $VARVE_URL until you press Ctrl-C. In another terminal:

  export VARVE_URL=$VARVE_URL VARVE_KEY=$VARVE_KEY
  $binary search "what similarity laws must be obeyed when constructing aeroelastic models"
  $binary demo --evaluate
  curl -s \$VARVE_URL/v1/me -H "Authorization: Bearer \$VARVE_KEY"
EOT
wait "$server"
