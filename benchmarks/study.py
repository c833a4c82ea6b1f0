"""Runs of several configurations and seeds, trained side by side, in pieces: what is finished is not done again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pjepa_agent.cli import configure, make_parser
from pjepa_agent.run_directory import RunDirectory

TRAIN = str(Path(sys.executable).with_name("pjepa-train"))


class Study:
    """Every variant with every seed, in a folder of run directories ``VARIANT-SEED``.

    Args:
        folder: of the run directories.
        variants: options of `pjepa-train` by the name of the variant.
        seeds: of each variant.
    """

    def __init__(self, folder: Path, variants: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> None:
        self.folder, self.variants, self.seeds = folder, variants, seeds

    def paths(self, variant: str) -> list[Path]:
        """The run directories of a variant."""
        return [self.folder / f"{variant}-{seed}" for seed in self.seeds]

    def complete(self, lanes: int) -> None:
        """Train what is not finished, so many runs at a time, the cores shared among them.

        Raises:
            SystemExit: a run could not be trained, or one with its name has another configuration.
        """
        runs = [(path, [*options, "--seed", str(seed)])
                for seed in self.seeds for variant, options in self.variants.items()
                for path in [self.folder / f"{variant}-{seed}"]]  # fmt: skip
        for path, options in runs:
            _check(path, options)
        self.folder.mkdir(parents=True, exist_ok=True)
        threads = max((os.cpu_count() or 1) // lanes, 1)
        with ThreadPoolExecutor(lanes) as pool:
            failed = [path for path in pool.map(lambda run: _train(*run, threads), runs) if path]
        if failed:
            raise SystemExit(f"not trained: {', '.join(map(str, failed))}")

    def reports(self, variant: str) -> list[dict[str, Any]]:
        """What ``report.json`` says of each seed."""
        return [json.loads((path / "report.json").read_text()) for path in self.paths(variant)]


def _check(path: Path, options: Sequence[str]) -> None:
    if (path / "config.json").is_file():
        wanted = configure(make_parser().parse_args(list(options)))
        if RunDirectory.open(path)[1] != wanted:
            raise SystemExit(f"{path}: has another configuration than this study; move it out of the way")


def _train(path: Path, options: Sequence[str], threads: int) -> Path | None:
    """Begin or continue a run; its path if that failed."""
    if (path / "report.json").is_file():
        return None
    command = [TRAIN, "--resume", path] if (path / "config.json").is_file() else [TRAIN, *options, "--run-dir", path]
    started = time.monotonic()
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False
    )
    last = (done.stderr.splitlines() or [""])[-1] if done.returncode else "trained"
    print(f"{path}: {last} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    return path if done.returncode else None


def seed_range(text: str) -> list[int]:
    """``0-4`` or ``3`` as seeds, for argparse."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def spread(values: Iterable[float | None], form: str = ".3f") -> str:
    """Mean (lowest to highest) of some numbers, for a table."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, mean, high = (format(value, form) for value in (min(known), sum(known) / len(known), max(known)))
    return mean if low == high else f"{mean} ({low} to {high})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])
