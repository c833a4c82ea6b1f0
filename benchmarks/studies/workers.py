"""Train in worker processes, which import PyTorch once and keep the world that they collected last."""

import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from pjepa_agent.cli.train import configure
from pjepa_agent.cli.train import make_parser as train_parser
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.interruption import quiet_libraries
from pjepa_agent.runs.metrics import MetricsFile, Rows
from pjepa_agent.training import TrainingError

from benchmarks.studies.study import report_trained, train_command


def worker_processes(lanes: int) -> ProcessPoolExecutor:
    """Return processes of one thread each that train."""
    return ProcessPoolExecutor(lanes, multiprocessing.get_context("spawn"), _begin_worker)


def _begin_worker() -> None:
    torch.set_num_threads(1)
    quiet_libraries()


def train_here(path: Path, options: Sequence[str]) -> Path | None:
    """Start or resume a run as `pjepa-train` does, or leave a finished one as it is; return its path if it diverged."""
    if (path / "report.json").is_file():
        return None
    started = time.monotonic()
    # What the run's provenance says: this trains the same.
    sys.argv = train_command(path, options)
    failed = _train(path, options, results=True) is None
    report_trained(path, "diverged" if failed else None, time.monotonic() - started)
    return path if failed else None


def last_evaluation(path: Path, options: Sequence[str]) -> Mapping[str, float] | None:
    """Train with options of `pjepa-train`, or go on, and return the last evaluation; None if the training diverged."""
    rows = _train(path, options, results=False)
    return None if rows is None else rows[-1]


def _train(path: Path, options: Sequence[str], results: bool) -> Rows | None:
    """Train with options of `pjepa-train`, or go on, and return its evaluations; None if the training diverged."""
    if (path / "config.json").is_file():
        run, config = RunDirectory.open(path)
    else:
        config = prepare(configure(train_parser().parse_args(list(options))))
        run = RunDirectory.create(path, config, make_domain(config.collection).spec)
    try:
        train_run(run, config, results=results)
    except TrainingError:
        return None
    return MetricsFile(run.metrics, until=config.optimization.updates).rows
