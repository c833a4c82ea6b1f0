"""Keep runs that differ in the seed alone in one folder: ``seed-0`` and so on, and what became of each."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bisim_theory.files import write_json

from pjepa_agent.config.schema import COUNTING, Config
from pjepa_agent.runs.directory import RunDirectory, RunError

SCHEMA = 1
"""Number of the format of ``seeds.json``."""

FINISHED, INTERRUPTED, FAILED, WAITING = "finished", "interrupted", "failed", "not begun"
"""What became of a seed. One that is interrupted or has failed can be resumed; an interrupted one may be training."""

COUNTING_MEASURES = ("nearest_centroid_accuracy", "best_nearest_centroid_accuracy", "within_across_ratio")
WORLD_MEASURES = ("theorem_least_explained_share", "theorem_unexplained_levels", "theorem_collapsed_pairs")
"""Measures whose mean and range over the seeds are kept: those of the counting world, and those of any other."""

FOUND_OUT = "objective.auxiliary_dim"
"""The field that a run finds out when it begins."""

BEGINNING = {"spec.json", "checkpoints", "figures"}
"""What is there of a run that was killed before it had its configuration."""


@dataclasses.dataclass(frozen=True)
class SeedPlan:
    """Say which seeds a folder is for, and of which configuration.

    Attributes:
        seeds: in ascending order.
        options: of `pjepa-train`, that make the configuration; without seed, folder and device.
        config: what they make; its seed is of no account.
    """

    seeds: tuple[int, ...]
    options: tuple[str, ...]
    config: Config


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Say what became of a seed.

    Attributes:
        seed: the seed.
        status: `FINISHED`, `INTERRUPTED`, `FAILED` or `WAITING`.
        detail: why it is not finished, as far as that is known.
        report: its ``report.json``, once it is finished.
        damaged: whether its run directory cannot be used, so that it is not trained.
    """

    seed: int
    status: str
    detail: str = ""
    report: Mapping[str, Any] | None = None
    damaged: bool = False

    @property
    def measures(self) -> dict[str, float | None]:
        """Return the main measures of the trained state by name; none of a seed that is not finished."""
        if self.report is None:
            return {}
        counting = self.report.get("world", COUNTING) == COUNTING
        of, names = (
            (self.report, COUNTING_MEASURES) if counting else (self.report["held_out"]["trained"], WORLD_MEASURES)
        )
        return {name: of.get(name) for name in names}  # an older version measured fewer


class SeedFolder:
    """Name the runs of a folder, and read and write its ``seeds.json``.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.file = self.path / "seeds.json"

    def run(self, seed: int) -> RunDirectory:
        """Return the run directory of a seed."""
        return RunDirectory(self.path / f"seed-{seed}")

    def check(self, plan: SeedPlan, instead: str = "give another --run-dir") -> None:
        """Raise `RunError` if the folder holds something else than runs of this plan. Writes nothing.

        Args:
            plan: what is to be trained.
            instead: what the error says to do.
        """
        if RunDirectory(self.path).config.exists():
            raise RunError(f"{self.path}: is a run itself; {instead}")
        for place in [self.path, *self.path.parents]:
            if place.exists() and not place.is_dir():
                raise RunError(f"{place}: is no folder; {instead}")
        known: tuple[int, ...] = ()
        if self.file.exists():
            there = self.read()
            known = there.seeds
            _check_same(self.file, there.config, plan.config, instead)
        for seed in plan.seeds:
            run = self.run(seed)
            if seed in known and self.outcome(seed).damaged:
                continue  # which stops no other seed
            if run.config.exists():
                _check_same(run.path, RunDirectory.open(run.path)[1], plan.config, instead)
            elif run.path.exists() and not _is_beginning(run.path):
                raise RunError(f"{run.path}: is already used, and holds no run; {instead}")

    def begun(self, seed: int) -> bool:
        """Return whether the run of a seed is there, to be resumed or finished."""
        return self.run(seed).config.exists()

    def clear_beginning(self, seed: int) -> None:
        """Remove what a run has left that was killed before it had its configuration."""
        run = self.run(seed)
        if run.path.is_dir() and not run.config.exists() and _is_beginning(run.path):
            for file in [*run.path.glob(".*.partial"), run.spec]:
                file.unlink(missing_ok=True)
            run.discard()

    def outcome(self, seed: int) -> Outcome:
        """Return what became of a seed, as far as its run directory tells."""
        try:
            return self._outcome(seed)
        except RunError as error:
            return Outcome(seed, FAILED, str(error), damaged=True)

    def _outcome(self, seed: int) -> Outcome:
        run = self.run(seed)
        if run.config.exists():
            RunDirectory.open(run.path)
        elif run.path.exists() and not _is_beginning(run.path):
            raise RunError(f"{run.path}: has no {run.config.name}, but other files; restore it, or remove {run.path}")
        if not run.report.exists():
            return Outcome(seed, INTERRUPTED if self.begun(seed) else WAITING)
        try:
            report = json.loads(run.report.read_text(encoding="utf-8"))
            finished = Outcome(seed, FINISHED, report=report)
            measured = [each for each in finished.measures.values() if each is not None]
            whole = all(isinstance(each, int | float) for each in [*measured, report["updates"], report["seconds"]])
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise RunError(f"{run.report}: cannot be read; restore it, or remove {run.path}")
        return finished

    def write(self, plan: SeedPlan, outcomes: Iterable[Outcome]) -> None:
        """Write ``seeds.json``: the plan, what became of each seed, and the main measures over the finished ones.

        Raises:
            OSError: it cannot be written.
        """
        outcomes = list(outcomes)
        config = {name: value for name, value in plan.config.to_dict().items() if name != "seed"}
        seeds = [
            {
                "seed": each.seed,
                "path": self.run(each.seed).path.name,
                "status": each.status,
                **({"detail": each.detail} if each.detail else {}),
                **each.measures,
            }
            for each in outcomes
        ]
        write_json(
            self.file,
            {"schema": SCHEMA, "seeds": seeds, "summary": summary(outcomes), "options": plan.options, "config": config},
        )

    def read(self) -> SeedPlan:
        """Read the plan from ``seeds.json``.

        Raises:
            RunError: it cannot be used.
        """
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            seeds = tuple(sorted({int(each["seed"]) for each in content["seeds"]}))
            options = tuple(str(each) for each in content["options"])
            return SeedPlan(seeds, options, Config.from_dict({**content["config"], "seed": seeds[0]}))
        except (OSError, ValueError, TypeError, LookupError, RecursionError):
            raise RunError(f"{self.file}: cannot be read; restore it, or resume each seed by itself") from None

    def discard(self) -> None:
        """Remove ``seeds.json``, and the folder if nothing else is in it."""
        self.file.unlink(missing_ok=True)
        RunDirectory(self.path).lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something else
            self.path.rmdir()


def summary(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Return mean, lowest and highest of each main measure over the finished seeds, and how many have it."""
    found: dict[str, list[float]] = {}
    for each in outcomes:
        for name, value in each.measures.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return {
        name: {"mean": sum(values) / len(values), "lowest": min(values), "highest": max(values), "seeds": len(values)}
        for name, values in found.items()
    }


def _is_beginning(path: Path) -> bool:
    """Return whether a folder holds no more than the beginning of a run."""
    if not path.is_dir():
        return False
    names = {each.name for each in path.iterdir() if not each.name.endswith(".partial")}
    folders = (path / name for name in ("checkpoints", "figures"))
    return names <= BEGINNING and not any(any(each.iterdir()) for each in folders if each.is_dir())


def _check_same(place: Path, found: Config, wanted: Config, instead: str) -> None:
    """Raise `RunError` if two configurations differ in more than the seed."""
    ours, theirs = _flat(wanted), _flat(found)
    for name in (name for name in ours if ours[name] != theirs[name]):
        raise RunError(f"{place}: has another configuration ({name} is {theirs[name]}, not {ours[name]}); {instead}")


def _flat(config: Config) -> dict[str, Any]:
    """Return the fields of a configuration that runs of several seeds share, by ``section.field``."""
    fields: dict[str, Any] = {}
    for section, values in config.to_dict().items():
        if isinstance(values, dict):
            fields |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            fields[section] = values
    return {name: value for name, value in fields.items() if name not in ("seed", FOUND_OUT)}
