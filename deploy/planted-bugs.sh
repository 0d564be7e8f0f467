#!/usr/bin/env bash
# Plants known bugs (an unsynced commit, a position given out before the lock, a checkpoint moved before its rows, …) one at
# a time and sees that the suites fail on each.
set -euo pipefail
cd "$(dirname "$0")/.."
go test -tags plant -run PlantedBugs -count 1 -timeout 30m -v ./eventstore/storetest
