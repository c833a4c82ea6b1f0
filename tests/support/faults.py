"""Runs that are killed, over and over, and must end like one that was left alone.

    PYTHONPATH=tests uv run python -m support.faults --kills 200 --every-call

One process imports everything and forks a child for every attempt, so that most of the time goes into training and not
into starting. It prints what was survived as JSON, or stops at the first difference.
"""

import argparse
import csv
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bisim_theory import files
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import Config
from pjepa_agent.run import train_run
from pjepa_agent.runs import checkpoint
from pjepa_agent.runs.checkpoint import load_checkpoint, newest_checkpoint
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import state as training_state

from support.forks import Fork
from support.small import SMALL

FEW = (*SMALL, "optimization.updates=12", "evaluation.every=4", "evaluation.transitions=60")
KINDS = {
    "laptop": make_config("laptop").override([*FEW, "evaluation.batch_norm_samples=64"]),
    "paper": make_config("paper").override([*FEW, "network.blocks=1", "collection.initial_transitions=50"]),
}
"""Both presets, small: collected before and while training; averaged weights, and everything beside the core."""

IMPORTED_LATE = ("pjepa_agent.figures.run", "sklearn.metrics")
"""What every child would spend seconds on."""

CLOCKS = {"seconds", "charts/updates_per_second"}
CALLS = ("replace", "fsync", "link", "rename", "unlink")
Child = Callable[[], None]


def main() -> None:
    """Kill as often as asked, and print what was survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="SIGKILLs at random instants (default: 12)")
    parser.add_argument("--every-call", action="store_true", help="die at every call that changes a file")
    parser.add_argument("--stride", type=int, default=1, help="of those calls, only every so many")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork has none of its parent's threads
    survived: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(KINDS):
            undisturbed = Undisturbed.train(Path(folder) / name, KINDS[name])
            kills = options.kills // 2 + (number < options.kills % 2)
            survived[f"{name}, at random instants"] = at_random(undisturbed, kills, options.seed + number)
            if options.every_call:
                survived[f"{name}, at calls"] = at_calls(undisturbed, options.stride)
    print(json.dumps(survived))


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed, the seconds it took, and the folder for those that end like it."""

    folder: Path
    config: Config
    seconds: float

    @classmethod
    def train(cls, folder: Path, config: Config) -> "Undisturbed":
        """Train it, after what takes long to import is imported for all that follow."""
        for name in IMPORTED_LATE:
            importlib.import_module(name)
        began = time.monotonic()
        assert fork(lambda: begin(folder / "whole", config)) == 0, "a run that nobody disturbs"
        return cls(folder, config, time.monotonic() - began)

    @property
    def whole(self) -> Path:
        """Its directory."""
        return self.folder / "whole"


def at_random(undisturbed: Undisturbed, kills: int, seed: int) -> int:
    """Begin and resume runs, each attempt killed at a random instant, until there were enough kills; their number."""
    done, number, instants, config = 0, 0, random.Random(seed), undisturbed.config
    while done < kills:
        run, number = undisturbed.folder / f"random-{number}", number + 1
        while True:
            # Once there were enough, the last run may end.
            limit = instants.uniform(0, undisturbed.seconds) if done < kills else None
            status = fork(lambda run=run: go_on(run, config), limit)
            nothing_is_lost(run, config)
            if status == 0:
                break
            assert status == -signal.SIGKILL, f"{run}: ended with {status}"
            done += 1
        same(undisturbed.whole, run)
    return done


def at_calls(undisturbed: Undisturbed, stride: int) -> int:
    """Go on from where a death right before and right after every call that changes a file leaves a run; their number.

    A process dies after the call, and has kept what was there before it.
    """
    done, config = 0, undisturbed.config
    for call in range(0, 10_000, stride):
        before, after = (undisturbed.folder / f"call-{call}-{side}" for side in ("before", "after"))
        status = fork(lambda before=before, after=after, call=call: die_at(call, before, after, config))
        if status == 0:  # there are no more calls
            assert done > 0
            return done
        assert status == -signal.SIGKILL, f"{after}: ended with {status}"
        for run in (before, after):
            nothing_is_lost(run, config)
            done += 1
            assert fork(lambda run=run: go_on(run, config)) == 0, f"{run}: does not go on"
            same(undisturbed.whole, run)
    raise AssertionError("a run that never ends")


def fork(child: Child, limit: float | None = None) -> int:
    """Exit status of a forked process, killed after so many seconds, or the negative signal that it died of."""
    process = Fork(child)
    if limit is not None:
        time.sleep(limit)
        process.send(signal.SIGKILL)
    ended = process.wait()
    sys.stderr.write(ended.stderr if ended.status > 0 else "")
    return ended.status


def begin(path: Path, config: Config) -> None:
    """A new run, or the same again if it died before it had a configuration."""
    if path.exists() and not (path / "config.json").exists():
        path.rename(path.with_name(f"{path.name}-before-{time.monotonic_ns()}"))
    note_saves(path)
    train_run(RunDirectory.create(path, config), config, "cpu")


def go_on(path: Path, config: Config) -> None:
    """What `pjepa-train --resume` does, or the first start where there is no run yet; a finished run stays as it is."""
    if (path / "report.json").exists():
        return
    if not (path / "config.json").exists():
        begin(path, config)
        return
    note_saves(path)
    train_run(*RunDirectory.open(path), "cpu")


def note_saves(path: Path) -> None:
    """Write down every update that is said to be saved, once it is."""
    save = checkpoint.save_checkpoint

    def noted(file: Path, state: dict[str, object], older: Sequence[Path] = ()) -> None:
        save(file, state, older)
        if file.name == "last.pt":
            with open(path.with_name(path.name + ".saved"), "a") as log:
                log.write(f"{state['update']}\n")

    training_state.save_checkpoint = noted


def nothing_is_lost(path: Path, config: Config) -> None:
    """What was said to be saved is there, whole, with the rows of metrics up to it."""
    log = path.with_name(path.name + ".saved")
    reported = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not reported:
        return
    run = RunDirectory(path)
    state = newest_checkpoint(run.checkpoints(config.evaluation.checkpoints))[1]
    assert state["update"] >= max(reported), f"{path}: has lost update {max(reported)}"
    rows = [int(row["update"]) for row in csv.DictReader(run.metrics.open())]
    every = config.evaluation.every
    assert rows[: state["update"] // every + 1] == list(range(0, state["update"] + 1, every)), f"{path}: {rows}"


def die_at(call: int, before: Path, path: Path, config: Config) -> None:
    """A run whose process dies right after its n-th call that changes a file, with a copy of it right before."""
    calls = 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def dying(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            last = calls == call + 1
            if last:
                copy(path, before)
            try:
                return function(*arguments, **named)
            finally:  # also of one that fails, such as the removal of a file that is not there
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return dying

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    assert files.os is os
    go_on(path, config)
    assert calls <= call, "a call that was to be the last was not"


def copy(path: Path, other: Path) -> None:
    """Copy what there is of a run, with what it is said to have saved."""
    if path.exists():
        shutil.copytree(path, other)
    log = path.with_name(path.name + ".saved")
    if log.exists():
        shutil.copy(log, other.with_name(other.name + ".saved"))


def same(whole: Path, parts: Path) -> None:
    """Every file of two runs is the same to the bit, but for clocks and what says how often a run was begun."""
    names = {str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()}
    found = {str(path.relative_to(parts)) for path in parts.rglob("*") if path.is_file()}
    # What a process was writing when it died stays behind, under a name that says so.
    assert names == {name for name in found if not name.endswith(".partial")}, names ^ found
    for name in sorted(names - {"provenance.json", ".lock"}):
        first, second = whole / name, parts / name
        if name.endswith(".pt"):
            same_state(load_checkpoint(first), load_checkpoint(second), name)
        elif name == "metrics.csv":
            assert without_clocks(first) == without_clocks(second), name
        elif name == "report.json":
            values = [json.loads(path.read_text()) | {"seconds": None} for path in (first, second)]
            assert values[0] == values[1], name
        elif name.endswith(".npz"):
            with np.load(first) as a, np.load(second) as b:
                assert a.files == b.files
                assert all(np.array_equal(a[key], b[key]) for key in a.files), name
        else:
            assert first.read_bytes() == second.read_bytes(), name


def same_state(first: object, second: object, name: str) -> None:
    """Two checkpoints hold the same but for the seconds that training took."""
    assert type(first) is type(second), name
    if isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key in first.keys() - {"seconds"}:
            same_state(first[key], second[key], f"{name}: {key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), name
        for a, b in zip(first, second, strict=True):
            same_state(a, b, name)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second) or bool((first.isnan() & second.isnan()).all()), name
    else:
        assert first == second, name


def without_clocks(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv`` but for what a clock says."""
    with path.open() as file:
        return [{key: value for key, value in row.items() if key not in CLOCKS} for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
