#!/usr/bin/env bash
# The runs that are too long for make test. What came out is kept, with its date, in docs/nightly.md.
#   deploy/nightly.sh PYTHON BINARY
# NIGHTLY_STEPS, a regular expression, runs only the steps that match; the report says so.
set -uo pipefail
cd "$(dirname "$0")/.."
[ -n "${VARVE_SERVICES:-}" ] || exec deploy/services/with.sh deploy/nightly.sh "$@"
export VARVE_CLIENT_PYTHON=$1 VARVE_BINARY=$2 VARVE_REQUIRE_SUITES=1 VARVE_HELM=$PWD/.cache/bin/helm
export VARVE_NIGHTLY=1 VARVE_CRASH_ROUNDS=${VARVE_CRASH_ROUNDS:-200}
mkdir -p .cache
go build -o .cache/suites ./deploy/suites || exit 1
report=docs/nightly.md
failed=0
{
  echo "# The last nightly run"
  echo
  echo "Written by \`make nightly\` on $(date -u +%Y-%m-%d), $(nproc) cores, $(go env GOVERSION), commit $(git rev-parse --short HEAD 2>/dev/null || echo none)."
  echo
  echo "| step | result | time |"
  echo "|---|---|---|"
} >"$report"

step() { # name, command...
  local name=$1 start=$SECONDS result=passed
  shift
  if [[ -n ${NIGHTLY_STEPS:-} && ! $name =~ $NIGHTLY_STEPS ]]; then
    echo "| $name | not run | |" >>"$report"
    return
  fi
  echo "== $name"
  "$@" || { result=FAILED; failed=1; }
  echo "| $name | $result | $((SECONDS - start)) s |" >>"$report"
}

briefly=(env -u VARVE_NIGHTLY -u VARVE_CRASH_ROUNDS) # with the rounds of make test
step "$VARVE_CRASH_ROUNDS rounds of killing a child that appends to SQLite" go test -run 'TestCrash$' -count 1 -timeout 60m -v ./eventstore/sqlite
step "all suites, $VARVE_CRASH_ROUNDS crash rounds" .cache/suites -list deploy/suites.txt -- go test -json -count 1 -timeout 120m ./...
rapid=$(git ls-files -co --exclude-standard '*_test.go' | xargs -r grep -l '"pgregory.net/rapid"' | xargs -r -n1 dirname | sort -u | sed 's|^|./|')
if [ -n "$rapid" ]; then
  # shellcheck disable=SC2086 # several packages are meant
  step "property tests, ${RAPID_CHECKS:-2000} checks each" "${briefly[@]}" .cache/suites -- go test -json -timeout 120m $rapid -rapid.checks "${RAPID_CHECKS:-2000}"
fi
step "race detector" "${briefly[@]}" deploy/test.sh race "$1" "$2"
step "fuzz targets, ${FUZZTIME:-3m} each" deploy/fuzz.sh "${FUZZTIME:-3m}"
step "planted bugs are caught" deploy/planted-bugs.sh
cat "$report"
exit "$failed"
