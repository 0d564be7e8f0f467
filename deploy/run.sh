#!/usr/bin/env bash
# Starts Varve on a directory, with the demo in it, and stays in the foreground.
#   deploy/run.sh BINARY DATA HOST:PORT
set -euo pipefail
exec "$1" serve --data "$2" --listen "$3" --demo
