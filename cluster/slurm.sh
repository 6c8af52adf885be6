#!/bin/bash
# A search on a Slurm cluster. Submit it in the project's folder, with the project installed in .venv:
#
#   sbatch cluster/slurm.sh /shared/runs/wesad --data /shared/datasets/wesad --space full
#
# The first argument is the run directory, on a file system that all nodes share. The other arguments are passed to
# helo.search. If the run exists, the job resumes it, after a second submission as well as after requeueing by Slurm.
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
if [ -e "$run/manifest.json" ]; then
    search=(--resume "$run")
    if [ $# -gt 0 ]; then
        echo "resuming $run with its original options; ignored: $*"
    fi
else
    search=(--out "$run" "$@")
fi

# shellcheck source=/dev/null
source "${HELO_VENV:-.venv}/bin/activate"

# Other users share the network. This job's Ray refuses connections without the token.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0 RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 10000))

# Start Ray on every node and the search on the first node. Ray stops when the search ends.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
    -- python -m helo.search --address auto "${search[@]}"
