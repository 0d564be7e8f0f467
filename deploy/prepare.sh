#!/usr/bin/env bash
# Installs what the tests need beside Go: a C compiler (the race detector links with it) and, in a virtual environment of
# their own, the official Python client and the Kafka client of the example consumer. Does nothing when all of it is there.
#   deploy/prepare.sh VENV_DIRECTORY
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")/.." && pwd)
wanted=("$here/http/clienttest/requirements.txt" "$here/deploy/examples/consumer/requirements.txt")
# shellcheck source=services/process.sh
. "$here/deploy/services/process.sh"

packages=()
if ! command -v gcc >/dev/null || ! echo 'int main(void){return 0;}' | gcc -x c -o /dev/null - 2>/dev/null; then
  packages+=(gcc libc6-dev)
fi
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
[ ${#packages[@]} -eq 0 ] || debian "the tests" "${packages[@]}"

# The stamp names the list and the place: a virtual environment that was moved does not work.
stamp=$venv/.installed
state="$(cat "${wanted[@]}" | sha256sum) $venv"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$state" ] || [ ! -x "$venv/bin/python" ]; then
  echo "installing the Python clients into ${venv#"$here"/}"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input "${wanted[@]/#/--requirement=}"
  echo "$state" >"$stamp"
fi
