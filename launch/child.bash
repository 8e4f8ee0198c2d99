# Sourced by scripts that run a training beside themselves.
# shellcheck shell=bash disable=SC2034,SC2064

# What the caller closed is open to nobody: mpirun would take the number for something of its own.
[ -e /proc/self/fd/1 ] || exec >/dev/null
[ -e /proc/self/fd/2 ] || exec 2>/dev/null

# Runs a command; `code` is then its exit code, and `asked` the number of signals that asked this script to end. The
# first INT, TERM, HUP or USR1 goes to the command as USR1, at which a training saves and ends, whether it is one process
# or under a launcher (mpirun ends its ranks two seconds after a TERM, whatever they save). An INT after that goes to it as
# the signal $1.
run_child() {
  local last=$1 interrupted
  shift
  asked=0 child=
  trap 'interrupted=1; ask USR1' TERM HUP USR1
  trap "interrupted=1; ask $last" INT
  # A process group of its own: what the terminal sends at Ctrl-C does not reach it.
  set -m
  "$@" </dev/null &
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
  local signal=$1
  asked=$((asked + 1))
  [ $asked -gt 1 ] || signal=USR1
  [ -z "$child" ] || kill "-$signal" "$child" 2>/dev/null || true
}
