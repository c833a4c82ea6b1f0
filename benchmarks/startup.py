"""How long the commands take before they do anything: `--help`, and the bare interpreter beside it.

Run it with ``uv run python benchmarks/startup.py``.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 9
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "pjepa-train --help": [str(Path(sys.executable).with_name("pjepa-train")), "--help"],
    "pjepa-figure --help": [str(Path(sys.executable).with_name("pjepa-figure")), "--help"],
    "pjepa-curves --help": [str(Path(sys.executable).with_name("pjepa-curves")), "--help"],
    "bisim-check --help": [str(Path(sys.executable).with_name("bisim-check")), "--help"],
}


def main() -> None:
    """Run the commands in turn, several rounds, and print the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(f"{name:20} {statistics.median(values):.3f} s (largest {max(values):.3f} s)")


if __name__ == "__main__":
    main()
