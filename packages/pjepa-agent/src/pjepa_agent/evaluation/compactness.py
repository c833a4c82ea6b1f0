"""Summarize how compact runs become and stay during training, grouped by configuration."""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pjepa_agent.config.schema import COUNTING, Config
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import ACCURACY, LEAST_EXPLAINED, MetricsFile, Rows

COMPACT = 0.98
"""Nearest-centroid accuracy from which an encoder counts as compact."""

WORLD = "world"
"""Name of the world beside the fields of a configuration."""


@dataclasses.dataclass(frozen=True)
class Compactness:
    """Summarize the accuracy of one run.

    Attributes:
        seed: the seed of the run.
        first: the update of the first compact evaluation; None if there is none.
        after: the number of evaluations from that one on.
        compact: the number of these that are compact.
        final: the accuracy at the last evaluation.
        best: the highest accuracy after the first update.
    """

    seed: int
    first: int | None
    after: int
    compact: int
    final: float
    best: float


def compactness(seed: int, metrics: Rows, compact: float = COMPACT) -> Compactness:
    """Summarize the accuracy in a run's metrics, without that of its untrained encoder."""
    rows = metrics[1:]
    accuracy = [row[ACCURACY] for row in rows]
    first = next((number for number, value in enumerate(accuracy) if value >= compact), None)
    after = accuracy[first:] if first is not None else []
    return Compactness(
        seed=seed,
        first=None if first is None else int(rows[first]["update"]),
        after=len(after),
        compact=sum(value >= compact for value in after),
        final=accuracy[-1],
        best=max(accuracy),
    )


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """Hold the runs of one configuration, which differ in the seed alone.

    Attributes:
        name: the fields in which the configuration differs from those of other groups.
        metrics: the metrics of each run, one row per evaluation.
        summaries: the compactness of each run; empty in another world than the counting one.
        world: the environment or the dataset, in short.
        counting: whether the world is the counting one.
    """

    name: str
    metrics: list[Rows]
    summaries: list[Compactness]
    world: str = COUNTING
    counting: bool = True

    @property
    def share(self) -> float:
        """Return the share of evaluations that are compact, of each run from its first compact one on.

        Runs that are never compact are left out (see `reached`). NaN if none ever is.
        """
        after = sum(each.after for each in self.summaries)
        return sum(each.compact for each in self.summaries) / after if after else math.nan

    @property
    def reached(self) -> int:
        """Return the number of runs that are ever compact."""
        return sum(each.first is not None for each in self.summaries)

    def curves(self, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the updates (n,) at which all runs were evaluated, and a column of their metrics there, (runs, n)."""
        updates = [{row["update"]: row.get(name, math.nan) for row in rows} for rows in self.metrics]
        common = sorted(set.intersection(*(set(each) for each in updates)))
        return np.array(common), np.array([[each[update] for update in common] for each in updates])


def read_groups(runs: Sequence[str | os.PathLike[str]], compact: float = COMPACT) -> list[RunGroup]:
    """Read the metrics of run directories and group runs that differ in the seed alone, in the order given.

    Args:
        runs: run directories, finished or not.
        compact: the accuracy from which an evaluation counts as compact.

    Raises:
        RunError: a path holds no run, or the run cannot be read or has no evaluation after its first update.
    """
    found: dict[str, list[tuple[Config, Rows]]] = {}
    for path in runs:
        run, config = RunDirectory.open(path)
        metrics = MetricsFile(run.metrics, until=config.optimization.updates).rows
        measure = ACCURACY if config.counting else LEAST_EXPLAINED
        if len(metrics) < 2 or any(measure not in row for row in metrics):
            raise RunError(f"{run.metrics}: has no evaluation after the first update yet; train the run further")
        key = json.dumps(dataclasses.replace(config, seed=0).to_dict(), sort_keys=True)
        found.setdefault(key, []).append((config, metrics))
    names = _names([runs_of[0][0] for runs_of in found.values()])
    return [_group(name, members, compact) for name, members in zip(names, found.values(), strict=True)]


def _group(name: str, members: list[tuple[Config, Rows]], compact: float) -> RunGroup:
    """Make a group of runs that differ in the seed alone."""
    config, metrics = members[0][0], [rows for _, rows in members]
    summaries = [compactness(each.seed, rows, compact) for each, rows in members] if config.counting else []
    return RunGroup(name, metrics, summaries, world_name(config), config.counting)


def world_name(config: Config) -> str:
    """Return the environment without its module, or the name of the dataset's file or folder."""
    collection = config.collection
    if collection.dataset:
        return Path(collection.dataset).name or collection.dataset
    return collection.environment.rpartition(":")[2]


def _names(configs: Sequence[Config]) -> list[str]:
    """Name configurations by their differences.

    A name holds world, preset and experiment if these differ, and each field in which the configuration differs from
    most others of its world, preset and experiment.
    """
    flat = [_flat(dataclasses.replace(config, seed=0).to_dict()) | {WORLD: world_name(config)} for config in configs]
    names = []
    for config, values in zip(configs, flat, strict=True):
        kinds = {WORLD: values[WORLD]} | {kind: getattr(config, kind) for kind in ("preset", "experiment")}
        alike = [other for other in flat if kinds.items() <= other.items()]
        parts = [kind for name, kind in kinds.items() if any(other[name] != kind for other in flat)]
        for name, value in values.items():
            if value != _most_frequent([other.get(name) for other in alike]):
                parts.append(f"{name.rpartition('.')[2]} {_text(value)}")
        names.append(", ".join(parts) or (config.experiment if config.counting else values[WORLD]))
    return names


def _most_frequent(values: list[Any]) -> Any:
    """Return the most frequent value, of equally frequent ones the first."""
    return max(values, key=values.count)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _text(value: Any) -> str:
    """Format a value of a configuration."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(groups: Sequence[RunGroup], compact: float = COMPACT) -> str:
    """Format a Markdown table with one row per group: mean, lowest and highest over its seeds."""
    columns = ("seeds", f"reached {compact:g}", "first at update", "compact after", "last", "best", "last below best")
    lines = ["| configuration | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for group in groups:
        summaries = group.summaries
        first = [each.first for each in summaries if each.first is not None]
        cells = [
            group.name,
            str(len(summaries)),
            str(group.reached),
            format_range([float(update) for update in first], "{:.0f}"),
            "" if math.isnan(group.share) else f"{group.share:.3f}",
            format_range([each.final for each in summaries], "{:.4f}"),
            format_range([each.best for each in summaries], "{:.4f}"),
            f"{max(each.best - each.final for each in summaries):.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def format_range(values: list[float], form: str) -> str:
    """Format the mean of values and, if they differ, their range."""
    if not values:
        return ""
    low, mean, high = (form.format(value) for value in (min(values), float(np.mean(values)), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"
