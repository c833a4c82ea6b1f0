"""Runs of several configurations and seeds, trained side by side, in pieces: what is finished is not done again.

Of every finished run a record is kept beside the studies: the small files of its run directory, and what the study
measured of it. Tables are made from records alone, so that they can be made anew, or gone on with, on any machine.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.evaluation.compactness import RunGroup, read_groups
from pjepa_agent.runs.directory import RunDirectory

from benchmarks.tables import seed_range

TRAIN = str(Path(sys.executable).with_name("pjepa-train"))


RECORDS = Path(__file__).parents[1] / "records"
"""Where records are kept: a folder a study, in it one a run."""

RECORDED = ("config.json", "metrics.csv", "report.json", "provenance.json")
"""Files of a run directory that a record has too, so that whatever reads only these reads a record."""

MEASURES = "measures.json"
"""What the study itself measured of a run, in its record."""

Measures = dict[str, Any]


class Study:
    """Every variant with every seed, in a folder of run directories ``VARIANT-SEED``.

    Args:
        folder: of the run directories.
        variants: options of `pjepa-train` by the name of the variant.
        seeds: of each variant.
        records: folder of the records, which have the names of the run directories.
        measure: what else to keep of a finished run.
    """

    def __init__(
        self,
        folder: Path,
        variants: Mapping[str, Sequence[str]],
        seeds: Sequence[int],
        records: Path,
        measure: Callable[[Path], Measures] | None = None,
    ) -> None:
        self.folder, self.variants, self.seeds = folder, variants, seeds
        self._records, self._measure = records, measure

    def records(self, variant: str) -> list[Path]:
        """The records of a variant."""
        return [self._records / f"{variant}-{seed}" for seed in self.seeds]

    def reports(self, variant: str) -> list[dict[str, Any]]:
        """What ``report.json`` says of each seed."""
        return [json.loads((path / "report.json").read_text()) for path in self.records(variant)]

    def measures(self, variant: str) -> list[Measures]:
        """What the study measured of each seed."""
        return [json.loads((path / MEASURES).read_text()) for path in self.records(variant)]

    def groups(self) -> list[RunGroup]:
        """Return the runs of each variant as a group."""
        return [dataclasses.replace(read_groups(self.records(name))[0], name=name) for name in self.variants]

    def complete(self, lanes: int) -> None:
        """Train and record what is not recorded, so many runs at a time, the cores shared among them.

        Raises:
            SystemExit: a run could not be trained, or one with its name has another configuration.
        """
        runs = [(f"{variant}-{seed}", [*options, "--seed", str(seed)])
                for seed in self.seeds for variant, options in self.variants.items()]  # fmt: skip
        for name, options in runs:
            for place in (self._records, self.folder):
                _check(place / name, options)
        self.folder.mkdir(parents=True, exist_ok=True)
        threads = max((os.cpu_count() or 1) // lanes, 1)
        with ThreadPoolExecutor(lanes) as pool:
            failed = [path for path in pool.map(lambda run: self._finish(*run, threads), runs) if path]
        if failed:
            raise SystemExit(f"not trained: {', '.join(map(str, failed))}")

    def _finish(self, name: str, options: Sequence[str], threads: int) -> Path | None:
        """Have a run trained and recorded; its path if that failed."""
        path, record = self.folder / name, self._records / name
        if record.exists():
            return None
        failed = train(path, options, threads)
        if failed is None:
            self._keep(path, record)
        return failed

    def _keep(self, path: Path, record: Path) -> None:
        """Write a run's record, whole or not at all."""
        measures = None if self._measure is None else self._measure(path)  # first, for it can take minutes
        record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=record.parent, prefix=".") as folder:
            whole = Path(folder) / record.name
            whole.mkdir()
            for name in RECORDED:
                # A record is read on other machines, which have no such folder.
                (whole / name).write_text((path / name).read_text().replace(str(path.absolute()), path.name))
            if measures is not None:
                (whole / MEASURES).write_text(json.dumps(measures, indent=2) + "\n")
            whole.rename(record)


def _check(path: Path, options: Sequence[str]) -> None:
    if (path / "config.json").is_file():
        wanted = configure(make_parser().parse_args(list(options)))
        if RunDirectory.open(path)[1] != wanted:
            raise SystemExit(f"{path}: has another configuration than this study; move it out of the way")


def train(path: Path, options: Sequence[str], threads: int | None = None) -> Path | None:
    """Begin or continue a run, or leave a finished one as it is; its path if that failed."""
    if (path / "report.json").is_file():
        return None
    command = [TRAIN, "--resume", path] if (path / "config.json").is_file() else [TRAIN, *options, "--run-dir", path]
    started = time.monotonic()
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    last = (done.stderr.splitlines() or [""])[-1] if done.returncode else "trained"
    print(f"{path}: {last} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    return path if done.returncode else None


def settings(*assignments: str) -> list[str]:
    """Options that set fields of the configuration."""
    return [part for each in assignments for part in ("--set", each)]


def arguments(description: str | None, name: str, variants: Mapping[str, Sequence[str]]) -> argparse.Namespace:
    """The command line of a study that draws curves: ``runs``, ``records``, ``seeds``, ``lanes``, ``only``, ``out``.

    Raises:
        SystemExit: the variants were to be listed, and are.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=Path, default=Path("runs") / name, help="folder of the run directories")
    parser.add_argument("--records", type=Path, default=RECORDS / name, help="folder of their records")
    parser.add_argument("--seeds", type=seed_range, default=seed_range("10-12"), help="such as 10-12 (default)")
    parser.add_argument("--lanes", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--only", nargs="+", choices=variants, metavar="NAME", default=list(variants), help="these")
    parser.add_argument("--list", action="store_true", help="name the variants and what they set, and train nothing")
    parser.add_argument("--out", type=Path, help="draw the curves too, into this picture")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{variant}: {' '.join(set_)}" for variant, set_ in variants.items()))
        parser.exit()
    return options
