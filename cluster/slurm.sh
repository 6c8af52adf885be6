#!/bin/bash
# A search on a Slurm cluster. Submit it in the project's folder, with the project installed in .venv:
#
#   sbatch cluster/slurm.sh /shared/runs/wesad --data /shared/datasets/wesad --space full
#
# The first argument is the run directory, on a file system that all nodes share. The other arguments are passed to
# helo.search. If the run exists, the job resumes it, after a second submission as well as after requeueing by Slurm.
# With --time-budget, a job whose time is up requeues itself. Choose a budget that is used up before the --time below.
# Add the #SBATCH lines that your site needs, such as account and partition, and for GPUs --gpus-per-node=1.
#SBATCH --job-name=helo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

run=${1:-}
case $run in
"" | -* | *://*)
    echo "usage: sbatch cluster/slurm.sh RUN [options of helo.search]; RUN must be a folder, got '$run'" >&2
    exit 2
    ;;
esac
shift
options=()
budget=()
while [ $# -gt 0 ]; do
    case $1 in
    --time-budget)
        budget=("${@:1:2}")
        [ $# -lt 2 ] || shift
        ;;
    --time-budget=*) budget=("$1") ;;
    *) options+=("$1") ;;
    esac
    shift
done
if [ -e "$run/manifest.json" ]; then
    search=(--resume "$run")
    if [ ${#options[@]} -gt 0 ]; then
        echo "resuming $run with its original options; ignored: ${options[*]}"
    fi
else
    search=(--out "$run" ${options[@]+"${options[@]}"})
fi
search+=(${budget[@]+"${budget[@]}"}) # bash 4.2 rejects empty arrays with set -u

# shellcheck source=/dev/null
source "${HELO_VENV:-.venv}/bin/activate"

# Other users share the network. This job's Ray refuses connections without the token.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 10000))
search_exit=$(mktemp) # this script and the search run on the same node, the first of the job

# Run a command that ignores the signal by which a job ends its tasks.
without_signal() {
    trap '' USR1
    exec "$@"
}

# Start Ray on this node. On the first node, also run the search, and write its exit code to a file.
on_node() {
    local search_exit=$1 address=$2 attempt code=0 log ray
    shift 2
    log=$(mktemp)
    local start=(without_signal ray start --block --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
    trap 'kill "$ray" 2> /dev/null; rm -f "$log"; exit 0' USR1 # the search has ended
    if [ "$SLURM_PROCID" -eq 0 ]; then
        "${start[@]}" --head --port="${address##*:}" --include-dashboard=false > "$log" 2>&1 &
        ray=$!
        until ray status --address "$address" > /dev/null 2>&1; do
            if ! kill -0 "$ray" 2> /dev/null; then
                tail -n 5 "$log" >&2
                echo "helo: Ray did not start on $(uname -n)" >&2
                return 1
            fi
        done
        "$@" || code=$?
        echo "$code" > "$search_exit"
        # All tasks of the job, this one too, end by this signal. If it is lost, srun ends them after this task.
        (without_signal scancel --signal=USR1 "$SLURM_JOB_ID.$SLURM_STEP_ID")
        without_signal sleep 60 &
        wait $!
        return
    fi
    for attempt in {1..6}; do # the first ones may come before the head is ready
        "${start[@]}" --address="$address" > "$log" 2>&1 &
        ray=$!
        wait "$ray"
        without_signal sleep 5 &
        wait $!
    done
    tail -n 5 "$log" >&2
    echo "helo: Ray did not start or ended $attempt times on $(uname -n)" >&2
    echo "helo: the search goes on without $(uname -n)" >&2
    without_signal sleep infinity & # the job lasts as long as the search
    ray=$!
    wait "$ray"
}

code=0
srun --quiet --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --wait=5 --kill-on-bad-exit=1 \
    bash -c "$(declare -f without_signal on_node); on_node \"\$@\"" on_node "$search_exit" "$head:$port" \
    python -m helo.search --address "$head:$port" "${search[@]}" || code=$?
[ ! -s "$search_exit" ] || code=$(cat "$search_exit")
rm -f "$search_exit"

if [ "$code" -eq 3 ]; then
    echo "time is up; requeueing the job, which resumes $run"
    if scontrol requeue "$SLURM_JOB_ID"; then code=0; fi
fi
exit "$code"
