"""Train several configurations with several seeds, record each finished run, and read the records.

A recorded run is not trained again. Tables are made from records alone, on any machine.
"""

import argparse
import dataclasses
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pjepa_agent.cli.train import configure
from pjepa_agent.cli.train import make_parser as train_parser
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.compactness import RunGroup, compactness
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import Rows

from benchmarks.studies.records import RECORDS, Key, Records
from benchmarks.tables import seed_range

TRAIN = str(Path(sys.executable).with_name("pjepa-train"))

T = TypeVar("T")
Measures = dict[str, Any]
Train = Callable[[Path, Sequence[str]], Path | None]


class Study:
    """Train and record every variant with every seed, in run directories ``VARIANT-SEED``.

    Args:
        folder: of the run directories.
        variants: options of `pjepa-train` by the name of the variant.
        seeds: of each variant.
        records: of the finished runs.
        measure: returns, from a finished run's directory, measures that its report does not have.
    """

    def __init__(
        self,
        folder: Path,
        variants: Mapping[str, Sequence[str]],
        seeds: Sequence[int],
        records: Records,
        measure: Callable[[Path], Measures] | None = None,
    ) -> None:
        self.folder, self.variants, self.seeds = folder, variants, seeds
        self._records, self._measure = records, measure

    def reports(self, variant: str) -> list[dict[str, Any]]:
        """Read ``report.json`` of each seed."""
        return [each["report"] for each in self._of(variant, self._records.runs())]

    def measures(self, variant: str) -> list[Measures]:
        """Read what the study measured of each seed."""
        return [each["measures"] for each in self._of(variant, self._records.runs())]

    def metrics(self, variant: str) -> list[Rows]:
        """Read the curves of each seed, a row an evaluation."""
        return self._of(variant, self._records.metrics())

    def groups(self) -> list[RunGroup]:
        """Group the runs by variant, with the curves of all seeds."""
        recorded = self._records.metrics()
        groups = []
        for name in self.variants:
            metrics = self._of(name, recorded)
            summaries = [compactness(seed, rows) for seed, rows in zip(self.seeds, metrics, strict=True)]
            groups.append(RunGroup(name, metrics, summaries))
        return groups

    def _of(self, variant: str, runs: Mapping[Key, T]) -> list[T]:
        return [runs[variant, seed] for seed in self.seeds]

    def complete(self, lanes: int) -> None:
        """Train and record the runs that are not recorded, a command each, `lanes` at a time; they share the cores.

        Raises:
            SystemExit: a run failed, or is there already with another configuration.
        """
        threads = max((os.cpu_count() or 1) // lanes, 1)
        with ThreadPoolExecutor(lanes) as pool:
            self.complete_in(pool, functools.partial(train, threads=threads))

    def complete_in(self, pool: Executor, trained: Train) -> None:
        """Train and record the runs that are not recorded, seed by seed, as many at a time as the pool has workers.

        Args:
            pool: of threads or processes.
            trained: trains a run in a directory with options of `pjepa-train`, and returns the path if that failed.

        Raises:
            SystemExit: a run failed, or is there already with another configuration.
        """
        runs = [(variant, seed) for seed in self.seeds for variant in self.variants]
        for run in runs:
            self._check(*run)
        self.folder.mkdir(parents=True, exist_ok=True)
        recorded = self._records.runs()
        missing = [run for run in runs if run not in recorded]
        failed = [path for path in pool.map(functools.partial(self._finish, trained), missing) if path]
        if failed:
            raise SystemExit(f"not trained: {', '.join(map(str, failed))}")

    def _finish(self, trained: Train, run: Key) -> Path | None:
        """Train and record a run; return its path if that failed."""
        variant, seed = run
        path = self._path(variant, seed)
        failed = trained(path, self._options(variant, seed))
        if failed is None:
            self._records.add(variant, path, self._measure(path) if self._measure else None)
        return failed

    def _check(self, variant: str, seed: int) -> None:
        """Raise `SystemExit` if records or a run directory have another configuration than the variant's."""
        wanted = configure(train_parser().parse_args(self._options(variant, seed)))
        path = self._path(variant, seed)
        known = {f"{self._records.path}: {variant}": self._records.configuration(variant, seed)}
        if (path / "config.json").is_file():
            known[str(path)] = RunDirectory.open(path)[1]
        for place, configuration in known.items():
            if configuration is not None and not _same(configuration, wanted):
                raise SystemExit(f"{place}: has another configuration than this study; move it out of the way")

    def _path(self, variant: str, seed: int) -> Path:
        return self.folder / f"{variant}-{seed}"

    def _options(self, variant: str, seed: int) -> list[str]:
        return [*self.variants[variant], "--seed", str(seed)]


def _same(found: Config, wanted: Config) -> bool:
    """Compare configurations, but for the number of values of p, which a run finds out when it begins."""
    objective = dataclasses.replace(wanted.objective, auxiliary_dim=found.objective.auxiliary_dim)
    return found == dataclasses.replace(wanted, objective=objective)


def train_command(path: Path, options: Sequence[str]) -> list[str]:
    """Return the command that trains a run, or resumes it."""
    resumed = (path / "config.json").is_file()
    return [TRAIN, "--resume", str(path)] if resumed else [TRAIN, *options, "--run-dir", str(path)]


def train(path: Path, options: Sequence[str], threads: int | None = None) -> Path | None:
    """Start or resume a run, or leave a finished one as it is; return its path if that failed."""
    if (path / "report.json").is_file():
        return None
    started = time.monotonic()
    status, errors = execute(train_command(path, options), threads)
    report_trained(path, (errors.splitlines() or [""])[-1] if status else None, time.monotonic() - started)
    return path if status else None


def report_trained(path: Path, failure: str | None, seconds: float) -> None:
    """Tell that a run is trained, or why it failed."""
    told = "trained" if failure is None else failure
    print(f"{path}: {told} ({seconds:.0f} s)", file=sys.stderr, flush=True)


def execute(command: Sequence[str], threads: int | None) -> tuple[int, str]:
    """Run a command on so many threads, or on as many as the environment says where it does.

    Return its exit status and what it wrote to standard error.
    """
    environment = ({} if threads is None else {"OMP_NUM_THREADS": str(threads)}) | dict(os.environ)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def settings(*assignments: str) -> list[str]:
    """Return the options that set fields of the configuration."""
    return [part for each in assignments for part in ("--set", each)]


A_THOUSAND_UPDATES = [
    *("--updates", "1000"),
    *settings(
        "optimization.batch_size=256", "optimization.learning_rate=8e-3", "optimization.warmup=100",
        "optimization.frozen_encoder=0.125", "objective.transition_weight=0.5",
        "objective.auxiliary_of_successors=false",
    ),
]  # fmt: skip
"""Options of runs that were recorded when the laptop preset took a thousand updates, with L_p of sources alone."""

ONE_FROZEN_STEP = settings(
    "optimization.frozen_steps=1", "optimization.frozen_batch_size=0", "objective.frozen_noise=0"
)
"""Options of runs that were recorded when T took one step on each batch while the encoder was frozen."""

T_GIVEN_VALUES = [
    *A_THOUSAND_UPDATES,
    *settings("network.action=value", "optimization.frozen_encoder=0", "objective.latent_noise=0"),
    *ONE_FROZEN_STEP,
]
"""Options of runs that were recorded when T was given values of actions, without noise, and no encoder was frozen."""


def study_parser(description: str | None, name: str, seeds: str = "10-12") -> argparse.ArgumentParser:
    """Return a parser with the options that all studies have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs") / name, help="folder of the run directories")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    parser.add_argument("--seeds", type=seed_range, default=seed_range(seeds), help=f"first-last (default: {seeds})")
    return parser


def add_lanes(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many runs are trained at a time."""
    parser.add_argument("--lanes", type=int, default=2, help="runs trained at a time (default: 2)")


def add_curve_options(parser: argparse.ArgumentParser, variants: Mapping[str, Sequence[str]]) -> None:
    """Add the options of a study that trains any of its variants and draws their curves."""
    add_lanes(parser)
    add_only(parser, variants)
    parser.add_argument("--list", action="store_true", help="print each variant with the options it sets, and exit")
    parser.add_argument("--out", type=Path, help="also draw the curves, into this picture")


def add_only(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add the option that takes some of the names."""
    names = list(names)
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", default=names, help="only these (default: all)"
    )


def list_variants(variants: Mapping[str, Sequence[str]]) -> str:
    """Format a line a variant: its name and the options that it sets."""
    return "\n".join(f"{variant}: {' '.join(options)}" for variant, options in variants.items())
