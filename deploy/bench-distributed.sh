#!/usr/bin/env bash
# Measures Varve on PostgreSQL and Kafka on this machine, each bench beside a bare program on the same servers, in one run
# that ends with one table; read ratios. It brings its own servers, or takes those of `make up`.
#   deploy/bench-distributed.sh
# Sizes: VARVE_BENCH_EVENTS (1000000) events preloaded, VARVE_BENCH_SECONDS (1) a third of what each way of appending is
# measured for. VARVE_BENCH_ONLY (a regular expression, as "append|relay") takes some of the parts.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${VARVE_SERVICES:-}" ]; then
  VARVE_ONLY=${VARVE_ONLY:-kafka postgres} exec deploy/services/with.sh "deploy/$(basename "$0")" "$@"
fi
export VARVE_BENCH_EVENTS=${VARVE_BENCH_EVENTS:-1000000}
only=${VARVE_BENCH_ONLY:-.}

wanted() { [[ $1 =~ $only ]]; }

bench() { # word, title, package, pattern, further flags
  local word=$1 title=$2 package=$3 pattern=$4
  shift 4
  wanted "$word" || return 0
  printf '\n== %s\n' "$title"
  # One package at a time: benches must not fight for the cores.
  go test -p 1 -run '^$' -bench "$pattern" -benchtime 1x -timeout 30m "$@" "$package" || true # the table says what failed
}

all() {
  echo "$(nproc) cores, $(go env GOVERSION), load $(cut -d' ' -f1 /proc/loadavg), $(date -u +%Y-%m-%d)"
  go run ./deploy/synctime
  bench append "PostgreSQL, $VARVE_BENCH_EVENTS events in the store: appends beside a bare program, processes on one shard, reading, the feed" \
    ./eventstore/postgres '^Benchmark(Append|Processes|Read|Feed)$'
  if wanted goes; then
    printf '\n== goes 0.9.0 on the same work\n'
    (cd deploy/bench/goes && go run .) || echo "FAIL goes"
    if wanted append; then
      echo "# ratio Append/16x1 Goes/16x1 events/s >= 1.7"
    fi
  fi
  # The relay's rate does not depend on how much there is.
  VARVE_BENCH_EVENTS=$((VARVE_BENCH_EVENTS < 100000 ? VARVE_BENCH_EVENTS : 100000)) bench relay \
    "Kafka: the relay beside sarama's bare producer; from an append to the read model" ./eventstore/bus '^Benchmark(Relay|Visible)$'
  if wanted roles; then
    printf '\n== one more process of a role, each process held to one core\n'
    "$scratch/roles" "$scratch/varve" || echo "FAIL roles"
  fi
  bench documents "documents read model on PostgreSQL: incremental, rebuilding" ./projections '^BenchmarkDocuments$/^postgres'
  if wanted documents; then
    for beside in "" -read; do # nobody reads, somebody does
      echo "# wanted Documents/postgres-incremental$beside events/s >= 25000"
      echo "# wanted Documents/postgres-rebuild$beside events/s >= 80000"
    done
  fi
}

# Compiled before anything is measured.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$scratch/varve" ./cmd/varve
go build -o "$scratch/roles" ./deploy/bench/roles
go vet ./eventstore/postgres ./eventstore/bus ./projections
go build -o /dev/null ./deploy/bench
(cd deploy/bench/goes && go build -o /dev/null .)
all 2>&1 | go run ./deploy/bench
