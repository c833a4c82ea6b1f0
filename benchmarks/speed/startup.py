"""Measure the start-up time of each command: ``--help``, the bare interpreter, and the first update of a training.

Command: ``uv run python -m benchmarks.speed.startup``. The commands take turns.
"""

import argparse
import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROUNDS, FIRST_UPDATES = 9, 3
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "pjepa-train --help": [str(Path(sys.executable).with_name("pjepa-train")), "--help"],
    "pjepa-figure --help": [str(Path(sys.executable).with_name("pjepa-figure")), "--help"],
    "pjepa-curves --help": [str(Path(sys.executable).with_name("pjepa-curves")), "--help"],
    "bisim-check --help": [str(Path(sys.executable).with_name("bisim-check")), "--help"],
}


def first_update(folder: Path) -> float:
    """Measure the seconds from the start of `pjepa-train` until its progress bar shows an update, in a pseudo-terminal.

    Raises:
        SystemExit: it ended before that.
    """
    started = time.perf_counter()
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    command = [str(Path(sys.executable).with_name("pjepa-train")), "--run-dir", str(folder)]
    with subprocess.Popen(command, stderr=its, stdout=subprocess.DEVNULL) as process:
        os.close(its)
        shown = ""
        while not re.search(r"[ |][1-9]\d*/\d+ \[", shown):
            try:
                shown += os.read(ours, 4096).decode(errors="replace")
            except OSError as error:
                raise SystemExit(f"{command}: ended before its first update: {shown}") from error
        taken = time.perf_counter() - started
        process.kill()
    os.close(ours)
    return taken


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command: none but ``--help``."""
    return argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


def main() -> None:
    """Run the commands in turn for several rounds and print the medians."""
    make_parser().parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        name = "pjepa-train, to its first update"
        seconds[name] = [first_update(Path(folder) / str(number)) for number in range(FIRST_UPDATES)]
    for name, values in seconds.items():
        print(f"{name:34} {statistics.median(values):.3f} s (largest {max(values):.3f} s)")


if __name__ == "__main__":
    main()
