"""Measure what idle threads cost: forward and backward of an encoder, alone and beside a process that does the same.

Command: ``uv run python -m benchmarks.speed.side_by_side``. Threads that wait as OpenMP has it and threads that wait as
the commands have it take turns. Each process has as many threads as there are cores.
"""

import argparse
import os
import subprocess
import sys

from pjepa_agent.cli.waiting import SPINS

from benchmarks.tables import markdown, spread

WAYS = {"as OpenMP has it": {}, "as the commands have it": {"GOMP_SPINCOUNT": SPINS}}
"""Environment of a process by how its threads wait."""

WORK = """
import sys, time
import torch
from pjepa_agent.networks.encoder import ResNetEncoder
encoder = ResNetEncoder(latent_dim=64, width=8, blocks=1)
images = torch.randint(0, 255, (256, 64, 64, 3), dtype=torch.uint8)
print("ready", flush=True)
sys.stdin.readline()
repeats = int(sys.argv[1])
for turn in range(repeats + 2):
    if turn == 2:
        started = time.perf_counter()
    encoder(images).square().mean().backward()
print((time.perf_counter() - started) / repeats)
"""


def seconds(processes: int, environment: dict[str, str], repeats: int) -> list[float]:
    """Return the seconds of a forward and a backward pass in each of some processes that begin together."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(repeats)],
            env=inherited | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for each in started:
        assert each.stdout is not None
        each.stdout.readline()
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    return [float(each.communicate()[0]) for each in started]


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="passes a round (default: %(default)s)")
    return parser


def main() -> None:
    """Measure, and print the table."""
    options = make_parser().parse_args()
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(options.rounds):
        for processes in (1, 2):
            for name, environment in WAYS.items():
                found.setdefault((name, processes), []).extend(seconds(processes, environment, options.repeats))
    rows = [[name, *(spread((1e3 * each for each in found[name, n]), ".0f") for n in (1, 2))] for name in WAYS]
    print(markdown(["threads wait", "ms, alone", "ms, beside another"], rows))


if __name__ == "__main__":
    main()
