# Sourced by scripts that run a training beside themselves.
# shellcheck shell=bash disable=SC2034,SC2064

# What the caller closed is open to nobody: mpirun would take the number for something of its own.
[ -e /proc/self/fd/1 ] || exec >/dev/null
[ -e /proc/self/fd/2 ] || exec 2>/dev/null

# Asked once, here: between two commands no signal may find this script without a trap for long.
if_this_dies=()
! setpriv --pdeathsig USR1 true 2>/dev/null || if_this_dies=(setpriv --pdeathsig USR1 --)

# Runs a command; `code` is then its exit code, and `asked` the number of signals that asked this script to end. The
# first INT, TERM, HUP or USR1 goes to the command as USR1, at which a training saves and ends, whether it is one process
# or under a launcher (mpirun ends its ranks two seconds after a TERM, whatever they save). An INT a second after that or
# later goes to it as the signal $1; one that comes sooner is the same one twice, as for gta itself. Where this script is
# killed, the command gets USR1 too: nobody would know of a training that goes on.
run_child() {
  local last=$1 interrupted
  shift
  asked=0 child=
  trap 'interrupted=1; ask USR1' TERM HUP USR1
  trap "interrupted=1; ask $last" INT
  # A process group of its own: what the terminal sends at Ctrl-C does not reach it.
  set -m
  "${if_this_dies[@]}" "$@" </dev/null &
  child=$!
  set +m
  [ "$asked" = 0 ] || ask USR1  # before there was a child
  while true; do
    interrupted=
    code=0
    { wait "$child"; } 2>/dev/null || code=$?  # bash's own word about a child that was killed
    [ -n "$interrupted" ] || break
  done
  trap - INT TERM HUP USR1
}

ask() {
  local signal=$1 now=${EPOCHREALTIME/[.,]/}  # microseconds
  if [ "$signal" != USR1 ] && [ "$asked" -gt 0 ] && [ $((now - asked_at)) -lt 1000000 ]; then return 0; fi
  [ "$asked" -gt 0 ] || { signal=USR1 asked_at=$now; }
  asked=$((asked + 1))
  [ -n "$child" ] || return 0
  until_it_is_the_command
  kill "-$signal" "$child" 2>/dev/null || true
}

# A child that is still a copy of this script would take the signal for it, and lose it when it becomes the command.
until_it_is_the_command() {
  local i
  for ((i = 0; i < 500; ++i)); do
    cmp -s "/proc/$$/cmdline" "/proc/$child/cmdline" || return 0
    sleep 0.01
  done
}
