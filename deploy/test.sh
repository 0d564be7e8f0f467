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
  plain=()
  skip=$(sed -n 's/^! *\([^ ]*\).*/\1/p' deploy/race.txt | paste -sd '|')
  while read -r package flags; do
    [ -d "./${package#varve/}" ] || continue
    if [ -z "$flags" ]; then plain+=("$package"); continue; fi
    # shellcheck disable=SC2086 # several flags are meant
    CGO_ENABLED=1 .cache/suites -- go test -json -race -count 1 -timeout 15m -skip "$skip" $flags "$package"
  done < <(sed -E 's/[[:space:]]*#.*//; /^[[:space:]]*$/d; /^[-!]/d' deploy/race.txt)
  [ ${#plain[@]} -eq 0 ] || CGO_ENABLED=1 .cache/suites -- go test -json -race -count 1 -timeout 15m -skip "$skip" "${plain[@]}"
  ;;
*) echo "deploy/test.sh: $mode is neither all nor race" >&2; exit 2 ;;
esac
