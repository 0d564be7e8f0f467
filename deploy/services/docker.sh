#!/usr/bin/env bash
# Does a word of a service (see up.sh) with a container of compose.yml.
#   deploy/services/docker.sh NAME WORD [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=process.sh
. "$here/process.sh"
# shellcheck source=kafka.sh
. "$here/kafka.sh"
name=$1 word=$2 folder=${3:-}

compose() {
  docker compose --project-name "varve-$(sha256sum <<<"$folder" | head -c 12)" --file "$here/compose.yml" --env-file "$folder/ports" "$@"
}

case $word in
install)
  image=$(PORT=0 docker compose --file "$here/compose.yml" config --images "$name")
  if ! docker image inspect "$image" >/dev/null 2>&1; then
    echo "pulling $image"
    docker pull --quiet "$image" >/dev/null
  fi
  ;;
start)
  read -ra ports <<<"$(free_ports 5)"
  printf '%s\n' "PORT=${ports[0]}" "SASL_PORT=${ports[1]}" "TLS_PORT=${ports[2]}" "SASL_TLS_PORT=${ports[3]}" "FOLDER=$folder" >"$folder/ports"
  if [ "$name" = kafka ]; then
    certificate
    configure 0.0.0.0 /etc/varve /var/lib/kafka/data "${ports[@]}"
    # shellcheck disable=SC2046 # one line is meant
    echo "STORAGE='$(echo $(storage))'" >>"$folder/ports"
  fi
  compose up --detach --wait --wait-timeout 90 --quiet-pull "$name" >"$folder/log" 2>&1 || {
    compose logs --tail 20 "$name" >>"$folder/log" 2>&1 || true
    echo "$name: it does not answer" >&2
    tail -n 25 "$folder/log" >&2
    exit 1
  }
  case $name in
  kafka) addresses "${ports[@]}" ;;
  postgres) echo "export VARVE_TEST_POSTGRES='postgres://varve@127.0.0.1:${ports[0]}/postgres?sslmode=disable'" >"$folder/env" ;;
  s3) echo "export VARVE_TEST_S3='s3://varve?endpoint=http://127.0.0.1:${ports[0]}&region=us-east-1&use_path_style=true'
export AWS_ACCESS_KEY_ID=varve AWS_SECRET_ACCESS_KEY=varve-secret AWS_EC2_METADATA_DISABLED=true" >"$folder/env" ;;
  esac
  ;;
restart) compose up --detach --wait --wait-timeout 90 --no-recreate "$name" >>"$folder/log" 2>&1 || { tail -n 25 "$folder/log" >&2; exit 1; } ;;
stop) [ ! -e "$folder/ports" ] || compose down --volumes --timeout 30 >>"$folder/log" 2>&1 || { tail -n 25 "$folder/log" >&2; exit 1; } ;;
kill) compose kill "$name" >>"$folder/log" 2>&1 ;;
pause) compose pause "$name" >>"$folder/log" 2>&1 ;;
resume) compose unpause "$name" >>"$folder/log" 2>&1 ;;
alive) [ -s "$folder/env" ] && [ -n "$(compose ps --quiet --status running "$name" 2>/dev/null)" ] ;;
*) unknown "$name" "$word" ;;
esac
