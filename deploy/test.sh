#!/usr/bin/env bash
# Runs the suites so that none can be skipped.
#   deploy/test.sh all|race PYTHON BINARY
# all:  every package, and every suite of deploy/suites.txt must have run
# race: the packages of deploy/race.txt under the race detector
set -euo pipefail
cd "$(dirname "$0")/.."
# With the services of deploy/services beside it.
[ -n "${VARVE_SERVICES:-}" ] || exec deploy/services/with.sh deploy/test.sh "$@"
mode=$1
export VARVE_CLIENT_PYTHON=$2 VARVE_BINARY=$3 VARVE_REQUIRE_SUITES=1 VARVE_HELM=$PWD/.cache/bin/helm
mkdir -p .cache
go build -o .cache/suites ./deploy/suites

case $mode in
all)
  .cache/suites -list deploy/suites.txt -- go test -json -count 1 -timeout 10m ./...
  ;;
race)
  mapfile -t packages < <(sed -E 's/[[:space:]]*#.*//; /^[[:space:]]*$/d; /^[-!]/d' deploy/race.txt)
  skip=$(sed -n 's/^! *\([^ ]*\).*/\1/p' deploy/race.txt | paste -sd '|')
  CGO_ENABLED=1 .cache/suites -- go test -json -race -count 1 -timeout 15m -skip "$skip" "${packages[@]}"
  ;;
*) echo "deploy/test.sh: $mode is neither all nor race" >&2; exit 2 ;;
esac
