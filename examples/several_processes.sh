#!/bin/sh
# Train one run with several processes, each on a GPU of its own where there are any:
#
#     examples/several_processes.sh 2 --preset paper --run-dir runs/two
#
# On more than one machine start it on each, with torchrun's --nnodes, --rdzv-endpoint and --rdzv-backend instead of
# --standalone.
set -eu
processes=$1
shift
exec torchrun --standalone --nproc-per-node "$processes" --no-python pjepa-train "$@"
