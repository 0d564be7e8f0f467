#!/usr/bin/env bash
# Measures on this machine what docs/operations.md promises, several runs side by side.
#   deploy/bench.sh BINARY
set -euo pipefail
cd "$(dirname "$0")/.."
export VARVE_BINARY=$1
packages=$(git ls-files -co --exclude-standard '*_test.go' | xargs -r grep -lE '^func Benchmark' | xargs -r -n1 dirname | sort -u | sed 's|^|./|')
[ -n "$packages" ] || { echo "no benchmarks yet"; exit 0; }
# One package at a time: benches must not fight for the two cores.
# shellcheck disable=SC2086 # several packages are meant
go test -p 1 -run '^$' -bench . -benchmem -count "${BENCH_COUNT:-3}" -timeout 60m $packages
