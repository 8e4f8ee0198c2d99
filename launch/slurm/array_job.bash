# One cell of an ablation, in a job of an array: what `gta ablate --slurm` puts behind the lines for SLURM. Expects $gta, the
# arguments of `gta ablate` and the names of the cells.
# shellcheck shell=bash disable=SC2154
cell=${cells[$SLURM_ARRAY_TASK_ID]}
echo "job $SLURM_JOB_ID, cell $cell, start $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST"
"$gta" ablate "${arguments[@]}" --cell "$cell" &
training=$!
# Before the time limit, and where the job is preempted or cancelled: the training saves and ends with 75.
trap 'kill -USR1 "$training" 2>/dev/null' USR1 TERM
while true; do
  wait "$training"
  kill -0 "$training" 2>/dev/null || break
done
wait "$training"  # a signal ends a wait before its time: this is the command's own code
code=$?
# Not a job that was cancelled, nor one that SLURM itself has queued again (preemption).
if [ "$code" = 75 ]; then
  case $(scontrol show job "$SLURM_JOB_ID") in
    *JobState=RUNNING*|*Reason=TimeLimit*)
      scontrol requeue "$SLURM_JOB_ID" || echo "the job could not be queued again: run gta ablate --slurm again, and it goes on" >&2 ;;
  esac
fi
exit "$code"
