#!/usr/bin/env bash
# Measures on this machine what docs/benchmarks.md says: each bench beside a bare program or scan, in one run; read ratios.
#   deploy/bench.sh BINARY
# Sizes: VARVE_BENCH_EVENTS (1000000) events preloaded, VARVE_BENCH_DOCUMENTS (100000), BENCH_COUNT (3) runs of each.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
export VARVE_BENCH_EVENTS=${VARVE_BENCH_EVENTS:-1000000} VARVE_BENCH_DOCUMENTS=${VARVE_BENCH_DOCUMENTS:-100000}
count=${BENCH_COUNT:-3}

bench() { # title, package, pattern, further flags
  local title=$1 package=$2 pattern=$3
  shift 3
  printf '\n== %s\n' "$title"
  # One package at a time: benches must not fight for the cores.
  go test -p 1 -run '^$' -bench "$pattern" -benchtime 1x -count "$count" -timeout 60m "$@" "$package" | grep -E '^Benchmark|^ok|FAIL|panic|report' || return 1
}

echo "$(nproc) cores, $(go env GOVERSION), load $(cut -d' ' -f1 /proc/loadavg), $(date -u +%Y-%m-%d)"
go run ./deploy/synctime
bench "durable appends of 200-byte events into $VARVE_BENCH_EVENTS, beside a bare program" ./eventstore/sqlite 'Append'
bench "reading and verifying a log" ./eventstore/sqlite 'Read'
count=1 bench "a log with 32 ancestors beside a plain one" ./eventstore/sqlite 'Branch'
bench "documents read model: incremental, rebuilding" ./projections 'Documents'
bench "exact dense search, 100,000 x 768, beside a scan of the bytes" ./projections/vector/embedded 'Dense'
bench "the record's own cost" ./projections/retrieve 'Execute|EncodeTrace|EncodeHeader'
bench "queries at the HTTP interface over $VARVE_BENCH_DOCUMENTS documents" ./cmd/varve/serve 'Query'

printf '\n== an idle server, on an existing directory\n'
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
"$binary" init --data "$data/d" --organization Bench --email bench@example.com --json >/dev/null
go run ./deploy/idle "$binary" "$data/d"
