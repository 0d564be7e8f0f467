#!/usr/bin/env bash
# Runs every native fuzz target of the module for a while, one after the other.
#   deploy/fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0 count=0
while IFS=: read -r file name; do
  package=./$(dirname "$file")
  count=$((count + 1))
  echo "fuzz $package $name for $1"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" "$package" || failed=$((failed + 1))
done < <(git ls-files -co --exclude-standard '*_test.go' | sort | xargs -r grep -oHE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
echo "$count fuzz targets, $failed failed"
[ "$failed" -eq 0 ]
