#!/bin/bash
# A search on a Slurm cluster. From the project's folder, with the project in .venv:
#
#   sbatch cluster/slurm.sh /shared/runs/wesad --data /shared/datasets/wesad --space full
#
# The first word is the run directory, on a file system that all nodes see; the others go to helo.search. The same line
# again, or Slurm's requeueing, goes on with a run that is there. Node types and account: add your site's own lines.
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
        echo "resuming $run as it was begun; left out: $*"
    fi
else
    search=(--out "$run" "$@")
fi

# shellcheck source=/dev/null
source "${HELO_VENV:-.venv}/bin/activate"

# Others share the network: who does not know this job's token is refused by its Ray.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0 RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 10000))

# Ray on every node, the search on the first; when it ends, so does Ray.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
    -- python -m helo.search --address auto "${search[@]}"
