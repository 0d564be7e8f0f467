# Sourced by the scripts of services and by prepare.sh: processes, ports and packages.
# shellcheck shell=bash

# native NAME WORD FOLDER: goes on where services are programs of this machine; where they are containers, docker.sh
# does the word.
native() {
  [ "$(engine)" = native ] || exec "$here/docker.sh" "$@"
}

# engine: docker where a Docker engine with Compose answers, else native; VARVE_ENGINE decides where it is set.
engine() {
  if [ -n "${VARVE_ENGINE:-}" ]; then
    echo "$VARVE_ENGINE"
  elif docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    echo docker
  else
    echo native
  fi
}

# running PID: whether it runs. A process that ended stays a zombie where nobody waits for it.
running() {
  [ -r "/proc/$1/stat" ] && [ "$(sed -E 's/.*\) (.).*/\1/' "/proc/$1/stat" 2>/dev/null)" != Z ]
}

# busy PORT: whether somebody answers there.
busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_ports N: different ports of 127.0.0.1 where nobody answers, below those that the system gives to connections.
free_ports() {
  local -A ports=()
  local port
  while [ ${#ports[@]} -lt "$1" ]; do
    port=$((20000 + RANDOM % 12000))
    busy "$port" || ports[$port]=1
  done
  echo "${!ports[@]}"
}

# answers PID PORT: waits until it answers there; fails when it ends first, or after a minute.
answers() {
  local deadline=$((SECONDS + 60))
  while running "$1" && [ "$SECONDS" -lt "$deadline" ]; do
    ! busy "$2" || return 0
    sleep 0.05
  done
  return 1
}

# pid FOLDER: of the service that was started there; nothing where there was none.
pid() { cat "$1/pid" 2>/dev/null || true; }

# alive FOLDER: whether what was started there runs, and answered once.
alive() {
  local pid
  pid=$(pid "$1")
  [ -n "$pid" ] && running "$pid" && [ -s "$1/env" ]
}

# end SIGNAL FOLDER: sends it and waits for the end.
end() {
  local pid deadline=$((SECONDS + 30))
  pid=$(pid "$2")
  [ -n "$pid" ] && running "$pid" || return 0
  kill "-$1" "$pid"
  kill -CONT "$pid" 2>/dev/null || true # it may have been paused
  while running "$pid"; do
    [ "$SECONDS" -lt "$deadline" ] || { echo "process $pid of $2 does not end" >&2; return 1; }
    sleep 0.02
  done
}

# debian NAME PACKAGE...: installs packages, and says so.
debian() {
  local name=$1 root=()
  shift
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  command -v apt-get >/dev/null || { echo "$name: install what Debian calls $* and run again" >&2; exit 1; }
  echo "installing $*"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# unknown NAME WORD: for a word that a service does not know.
unknown() {
  echo "$1.service: $2 is none of install, start, stop, kill, restart, pause, resume, alive" >&2
  exit 2
}
