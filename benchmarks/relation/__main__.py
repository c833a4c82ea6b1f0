"""R_D*: seconds, memory and growth of the exact algorithms, and their peers on the same inputs.

Run it with ``uv run python -m benchmarks.relation``; ``--quick`` takes small sizes and a few seconds. Whatever is
compared takes turns, and no time is printed unless the answers are asserted to be equal.
"""

import argparse
import os
import platform

import numpy as np

from benchmarks.relation.distances import smallest
from benchmarks.relation.growth import general, growth
from benchmarks.relation.inputs import QUICK, Sizes
from benchmarks.relation.measuring import row, table
from benchmarks.relation.peers import peers

PARTS = {
    "growth": ("Trajectories: one observed action a source", growth),
    "general": ("Two actions a source, coverage 0.8, random successors and p", general),
    "distances": ("The smallest distance over R_D*", smallest),
    "peers": ("Peers", peers),
}


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: that everything runs")
    parser.add_argument("--rounds", type=int, help="turns that medians are of (3, quick 1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which tables (all)")
    arguments = parser.parse_args()
    sizes, rounds = (QUICK, 1) if arguments.quick else (Sizes(), 3)
    rounds = arguments.rounds or rounds
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores; medians of {rounds}.")
    asked = []
    for name, (title, part) in PARTS.items():
        if name in arguments.parts:
            print(f"\n## {title}", flush=True)
            asked += part(rounds, sizes)
    if asked:
        print("\n## Asked for and found")
        table("asked for", "found")
    for each in asked:
        row(*each)


if __name__ == "__main__":
    main()
