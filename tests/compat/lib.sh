# Sourced by every tests/compat/<client>/run: one broker for the script, checks, and a clean end.
#
# The broker is Ringlog (RINGLOG=path, default target/release/ringlog; RINGLOG_ARGS adds flags).
# BROKER=kafka starts Apache Kafka instead: a check that fails there is a wrong check.
# BOOTSTRAP=host:port uses a broker that is running already; what needs to kill it, or to read
# its files, is then skipped.
# Only processes started here are ended, by their id.
set -Eeuo pipefail
compat=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$compat/../.." && pwd)
client=$(basename "$(dirname "$(realpath "$0")")")
cache=$repo/target/compat
ringlog=${RINGLOG:-$repo/target/release/ringlog}
broker=${BROKER:-ringlog}
work=$(mktemp -d "${TMPDIR:-/tmp}/ringlog-compat-$client.XXXXXX")
data=$work/data
broker_pid=
children=()
passed=0
mkdir -p "$cache"

fail() {
  echo "FAIL $client: $*" >&2
  [ -f "$work/broker.log" ] &&
    tail -n 15 "$work/broker.log" | cut -c1-400 | sed 's/^/  broker: /' >&2
  exit 1
}

# One thing seen to be so.
ok() {
  passed=$((passed + 1))
  echo "  ok $*"
}

# same EXPECTED ACTUAL WHAT: two files with the same bytes.
same() {
  if ! cmp -s "$1" "$2"; then
    diff "$1" "$2" | head -n 8 | cut -c1-200 >&2 || true
    fail "$3: $(wc -l < "$1") lines expected, $(wc -l < "$2") came"
  fi
  ok "$3"
}

# contains FILE PATTERN WHAT
contains() {
  grep -Eq -- "$2" "$1" || { head -n 20 "$1" | cut -c1-300 >&2; fail "$3: no line like $2"; }
  ok "$3"
}

# eventually SECONDS COMMAND…: true as soon as the command is.
eventually() {
  local left=$(($1 * 10))
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 0.1
  done
}

# Two neighbouring free ports (Apache's controller takes the second one).
free_port() {
  python3 - <<'P'
import socket
while True:
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        port = a.getsockname()[1]
        try:
            b.bind(("127.0.0.1", port + 1))
        except OSError:
            continue
        print(port)
        break
P
}

is_closed() { ! is_open "$1"; }

is_open() { (exec 3<> "/dev/tcp/${1%:*}/${1#*:}") 2> /dev/null; }

# Starts the broker on $data and waits until it serves. Again after a kill: the same port.
start_broker() {
  if [ -n "${BOOTSTRAP:-}" ]; then
    bootstrap=$BOOTSTRAP
    return
  fi
  port=${port:-$(free_port)}
  bootstrap=127.0.0.1:$port
  if [ "$broker" = kafka ]; then
    KAFKA_HEAP="-Xms256m -Xmx512m" "$repo/scripts/kafka" server "$data" "$port" \
      >> "$work/broker.log" 2>&1 < /dev/null &
  else
    [ -x "$ringlog" ] || fail "no $ringlog; build it: cargo build --release"
    # shellcheck disable=SC2086
    "$ringlog" server --data "$data" --listen "$bootstrap" --admin "127.0.0.1:$((port + 1))" \
      ${RINGLOG_ARGS:-} "$@" >> "$work/broker.log" 2>&1 < /dev/null &
  fi
  broker_pid=$!
  eventually 60 broker_is_ready || fail "the broker does not serve on $bootstrap"
}

broker_is_ready() {
  kill -0 "$broker_pid" 2> /dev/null || fail "the broker ended by itself"
  is_open "$bootstrap"
}

# Whether the script runs the broker itself, and so may kill it and look at its files.
owns_broker() { [ -z "${BOOTSTRAP:-}" ]; }

# The power goes: no time to write anything. The kernel takes a killed process's io_uring apart
# after the process is gone, and until then its listening sockets accept.
kill_broker() {
  kill -9 "$broker_pid" 2> /dev/null || true
  wait "$broker_pid" 2> /dev/null || true
  broker_pid=
  eventually 10 is_closed "$bootstrap" || fail "somebody listens on $bootstrap after kill -9"
}

# A clean stop.
stop_broker() {
  kill -TERM "$broker_pid"
  eventually 30 is_gone "$broker_pid" || fail "the broker does not stop on SIGTERM"
  local status=0
  wait "$broker_pid" 2> /dev/null || status=$?
  # The JVM reports 143 after a clean stop by a signal.
  [ "$status" = 0 ] || [ "$status" = 143 ] || fail "the broker stopped with status $status"
  broker_pid=
}

is_gone() { ! kill -0 "$1" 2> /dev/null || [ "$(ps -o stat= -p "$1" | cut -c1)" = Z ]; }

# Remembers a process of the script, to be ended with it.
child() { children+=("$1"); }

finish() {
  echo "PASS $client: $passed checks"
}

end_all() {
  local status=$? pid
  trap - ERR
  set +e
  for pid in "${children[@]:-}" "$broker_pid"; do
    [ -n "$pid" ] && kill -9 "$pid" 2> /dev/null && wait "$pid" 2> /dev/null
  done
  if [ "$status" != 0 ] && [ -n "${KEEP:-}" ]; then
    echo "  kept: $work" >&2
  else
    rm -rf "$work"
  fi
  exit "$status"
}
trap end_all EXIT
trap 'echo "FAIL $client: line $LINENO: $BASH_COMMAND" | head -n 1 >&2' ERR

# need COMMAND PACKAGE…: Debian packages, unless the command is there.
need() {
  local command=$1
  shift
  command -v "$command" > /dev/null && return
  [ "$(id -u)" = 0 ] || fail "$command is missing; install: $*"
  (
    flock 9
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" > "$work/apt.log" 2>&1 ||
      { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } \
        > "$work/apt.log" 2>&1
  ) 9> "$cache/apt.lock" < /dev/null ||
    { tail -n 5 "$work/apt.log" >&2; fail "apt-get install $*"; }
}

# python_with PACKAGE==VERSION…: the interpreter of a virtual environment that has them.
python_with() {
  local venv=$cache/$client-venv
  if [ ! -f "$venv/.complete" ] || [ "$(cat "$venv/.complete")" != "$*" ]; then
    python3 -m venv "$venv" > /dev/null
    "$venv/bin/pip" install -q --disable-pip-version-check "$@" < /dev/null >&2
    echo "$*" > "$venv/.complete"
  fi
  echo "$venv/bin/python"
}

# go_program: builds the Go program beside the script, says where it is.
go_program() {
  (cd "$compat/$client" && GOFLAGS=-mod=readonly go build -o "$cache/$client" . < /dev/null >&2)
  echo "$cache/$client"
}

# dump_log WHAT FILE…: Apache's dump-log, deep, by the script's own kafka(). Each of its
# complaints goes to its output, and it ends with 0 all the same.
dump_log() {
  local what=$1
  shift
  (IFS=,; kafka dump-log --deep-iteration --files "$*" > "$work/out") ||
    fail "dump-log of $what: $(tail -n 3 "$work/tool.err")"
  # A segment that does not begin at 0 is always said to follow offset -1.
  grep -Eih 'mismatch|found timestamp|is followed by|exception|invalid|bad index|out of order' \
    "$work/out" "$work/tool.err" | grep -v ' -1 is followed by' > "$work/complaints" || true
  if [ -s "$work/complaints" ]; then
    head -n 5 "$work/complaints" | cut -c1-300 >&2
    fail "dump-log of $what complains"
  fi
}

# codec_on_disk TOPIC CODEC: most of the topic's records lie in batches of that codec. A client that
# believes that the broker does not know it sends them as they are, and does not say so; what would
# grow, as a record alone does, is sent as it is by all.
codec_on_disk() {
  owns_broker && [ -x "$ringlog" ] || return 0
  "$ringlog" storage dump "$data/$1"-[0-9]*/*.log > "$work/dump"
  awk -v codec="$2" '
    {
      for (i = 1; i < NF; i++) {
        if ($i == "count") count = $(i + 1)
        if ($i == "codec") { all += count; right += $(i + 1) == codec ? count : 0 }
      }
    }
    END { exit !(right * 2 > all) }' "$work/dump" ||
    { grep -m 3 codec "$work/dump" >&2; fail "$1 is not stored as $2"; }
  ok "$1 is stored as $2"
}

# codecs_on_disk: the same for every topic that is named after a codec.
codecs_on_disk() {
  owns_broker || return 0
  local topic codec
  for topic in "$data"/*-0; do
    topic=$(basename "${topic%-0}")
    for codec in none gzip snappy lz4 zstd; do
      [[ .$topic. != *.$codec.* ]] || codec_on_disk "$topic" "$codec"
    done
  done
}

# run_client COMMAND…: a client that prints `ok …` for each of its checks.
run_client() {
  local status=0 seen
  timeout "${CLIENT_SECONDS:-120}" "$@" > "$work/client.out" 2> "$work/client.err" || status=$?
  cat "$work/client.out"
  seen=$(grep -c '^  ok ' "$work/client.out" || true)
  passed=$((passed + seen))
  if [ "$status" != 0 ]; then
    tail -n 20 "$work/client.err" | cut -c1-400 >&2
    fail "$(basename "$1") ended with status $status"
  fi
  [ "$seen" -gt 0 ] || fail "$(basename "$1") checked nothing"
}
