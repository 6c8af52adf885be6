#!/bin/bash
# A search on a Slurm cluster. Submit it in the project's folder, with the project installed in .venv:
#
#   sbatch cluster/slurm.sh /shared/runs/wesad --data /shared/datasets/wesad --space full
#
# The first argument is the run directory, on a file system that all nodes share. The other arguments are passed to
# helo.search. If the run exists, the job resumes it, after a second submission as well as after requeueing by Slurm.
# With --time-budget, a job whose time is up requeues itself. Choose a budget that is used up before the --time below.
# Add the #SBATCH lines that your site needs, such as account and partition.
#SBATCH --job-name=helo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --exclusive
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
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0 RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 10000))

# The head writes to this file if the time budget ends the search (exit code 3). That is no failure: srun must not kill
# the tasks of the other nodes.
HELO_OUT_OF_TIME=$(mktemp)
export HELO_OUT_OF_TIME
# shellcheck disable=SC2016
on_head='"$@" || { code=$?; [ "$code" -eq 3 ] || exit "$code"; echo "$code" > "$HELO_OUT_OF_TIME"; }'

# Start Ray on every node and the search on the first node. Ray stops when the search ends.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
    -- bash -c "$on_head" search python -m helo.search --address auto "${search[@]}"

if [ -s "$HELO_OUT_OF_TIME" ]; then
    rm "$HELO_OUT_OF_TIME"
    echo "time is up; requeueing the job, which resumes $run"
    scontrol requeue "$SLURM_JOB_ID" || exit 3
fi
rm -f "$HELO_OUT_OF_TIME"
