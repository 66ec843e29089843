# Sourced by the log agents' scripts, which define start_agent TOPIC FILE (it sets agent_pid) and
# agent_codec.
#
# The lines are those of /var/log/dpkg.log, a real log of this machine, where it is long enough,
# and of tests/compat/log-lines otherwise; each carries its number either way.

agent_lines=10000

make_lines() {
  local real=/var/log/dpkg.log
  if [ "$(wc -l < "$real" 2> /dev/null || echo 0)" -ge 200 ]; then
    # Repeated until it is long enough.
    while cat "$real"; do :; done 2> /dev/null | head -n "$agent_lines" |
      awk '{printf "%s seq=%06d\n", $0, NR - 1}'
  else
    "$compat/log-lines" "$agent_lines"
  fi > "$1" || true
  [ "$(wc -l < "$1")" = "$agent_lines" ] || fail "no lines to send"
}

read_back() {
  timeout 60 kcat -b "$bootstrap" -C -q -e -o beginning -t "$1" -p 0 -f '%s\n' 2> /dev/null
}

all_are_there() {
  [ "$(read_back "$1" | sort -u | wc -l)" -ge "$agent_lines" ]
}

end_agent() {
  kill -TERM "$agent_pid" 2> /dev/null || true
  eventually 10 is_gone "$agent_pid" || kill -9 "$agent_pid"
  wait "$agent_pid" 2> /dev/null || true
}

# with_ringlog TOPIC: the same through our own client, if the broker is ours.
with_ringlog() {
  [ -x "$ringlog" ] && "$ringlog" consume "$1" --bootstrap "$bootstrap" --until end
}

agent_checks() {
  local topic=$1
  make_lines "$work/in.log"
  start_broker
  start_agent "$topic" "$work/in.log"
  eventually 40 all_are_there "$topic" || {
    tail -n 5 "$work/agent.log" >&2
    fail "only $(read_back "$topic" | wc -l) of $agent_lines lines came"
  }
  end_agent
  codec_on_disk "$topic" "$agent_codec"
  read_back "$topic" > "$work/got"
  same "$work/in.log" "$work/got" "$agent_lines lines, in order, by kcat"
  if [ -x "$ringlog" ]; then
    with_ringlog "$topic" > "$work/got" || fail "ringlog consume"
    same "$work/in.log" "$work/got" "$agent_lines lines, in order, by ringlog consume"
  fi
  owns_broker || return 0
  agent_survives_kill "$topic.killed"
}

# The broker dies twice while the file grows; what it acknowledged and what it did not must both
# be there in the end.
agent_survives_kill() {
  local topic=$1 from
  : > "$work/growing.log"
  start_agent "$topic" "$work/growing.log"
  sleep 2
  for ((from = 1; from <= agent_lines; from += 500)); do
    sed -n "${from},$((from + 499))p" "$work/in.log" >> "$work/growing.log"
    sleep 0.15
    if [ "$from" = 3001 ] || [ "$from" = 6501 ]; then
      kill_broker
      sleep 0.5
      start_broker
    fi
  done
  eventually 60 all_are_there "$topic" || {
    tail -n 5 "$work/agent.log" >&2
    fail "only $(read_back "$topic" | sort -u | wc -l) of $agent_lines lines survived kill -9"
  }
  end_agent
  read_back "$topic" > "$work/all"
  sort -u "$work/all" > "$work/got"
  sort -u "$work/in.log" > "$work/expected"
  same "$work/expected" "$work/got" "two kill -9 in mid-send: each line at least once"
  ok "  $(($(wc -l < "$work/all") - agent_lines)) lines came twice"
  if [ -x "$ringlog" ]; then
    with_ringlog "$topic" > "$work/got" || fail "ringlog consume"
    same "$work/all" "$work/got" "ringlog consume reads what kcat reads"
  fi
}
