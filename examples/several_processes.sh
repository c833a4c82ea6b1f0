#!/bin/sh
# One run trained by several processes, on a GPU each where there are any:
#
#     examples/several_processes.sh 2 --preset paper --run-dir runs/two
#
# On more than one machine start it on each, with torchrun's --nnodes, --rdzv-endpoint and --rdzv-backend instead of
# --standalone.
set -eu
processes=$1
shift
exec torchrun --standalone --nproc-per-node "$processes" --no-python pjepa-train "$@"
