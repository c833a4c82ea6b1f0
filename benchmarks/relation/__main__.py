"""Measure time, memory and growth of the exact algorithms for R_D*, and of their peers on the same inputs.

Command: ``uv run python -m benchmarks.relation``; ``--quick`` takes small sizes and a few seconds. What is compared
takes turns, and no time is printed unless the answers are asserted to be equal.
"""

import argparse
import os
import platform

import numpy as np

from benchmarks.relation.distances import smallest
from benchmarks.relation.engines import INPUTS, engines
from benchmarks.relation.growth import covered, general, growth
from benchmarks.relation.inputs import QUICK, Sizes
from benchmarks.relation.measuring import row, table
from benchmarks.relation.peers import peers

PARTS = {
    "growth": ("Trajectories: one observed action a source", growth),
    "covered": ("Full coverage: two actions a source, as many behaviours or a tenth", covered),
    "general": ("Two actions a source, coverage 0.8, random successors and p", general),
    "engines": ("Backends of bisim-check, on a folder of Parquet files", engines),
    "distances": ("The smallest distance over R_D*", smallest),
    "peers": ("Peers", peers),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all parts run")
    parser.add_argument("--rounds", type=int, help="rounds that the medians are of (default: 3, with --quick 1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="tables to make (default: all)")
    parser.add_argument(
        "--growth", type=int, nargs="+", metavar="N", help="transitions of the part growth, such as 100000000"
    )
    parser.add_argument("--engines", type=int, nargs="+", metavar="N", help="transitions of the part engines")
    parser.add_argument("--inputs", nargs="+", choices=INPUTS, help="what those are of (default: walk)")
    parser.add_argument("--backends", nargs="+", metavar="NAME", help="backends of that part (default: memory duckdb)")
    parser.add_argument("--memory", metavar="SIZE", help="memory that its backends may take (default: 600MB)")
    return parser


def main() -> None:
    """Measure and print the tables."""
    arguments = make_parser().parse_args()
    sizes, rounds = (QUICK, 1) if arguments.quick else (Sizes(), 3)
    rounds = arguments.rounds or rounds
    given = {name: getattr(arguments, name) for name in ("growth", "engines", "inputs", "backends", "memory")}
    sizes = sizes._replace(**{name: value for name, value in given.items() if value})
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
