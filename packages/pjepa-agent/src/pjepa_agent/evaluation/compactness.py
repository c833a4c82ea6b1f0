"""How compact runs stay: held-out measures over the course of training, by configuration."""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from pjepa_agent.config.schema import Config
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import ACCURACY, MetricsFile, Rows

COMPACT = 0.98
"""Accuracy from which an encoder counts as compact."""


@dataclasses.dataclass(frozen=True)
class Compactness:
    """Summarize the accuracy of one run.

    Attributes:
        seed: of the run.
        first: update of the first evaluation that was compact; None where none was.
        after: evaluations from that one on.
        compact: how many of these were compact.
        final: accuracy at the last evaluation.
        best: highest accuracy after the first update.
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
    """Runs of one configuration but for the seed.

    Attributes:
        name: how the configuration differs from those of the other groups.
        metrics: of each run, a row an evaluation.
        summaries: of each run.
    """

    name: str
    metrics: list[Rows]
    summaries: list[Compactness]

    @property
    def share(self) -> float:
        """Share of the evaluations of all runs that are compact, each run from its first one on; NaN if none ever is.

        Runs that are never compact are not among them: `reached` says how many are.
        """
        after = sum(each.after for each in self.summaries)
        return sum(each.compact for each in self.summaries) / after if after else math.nan

    @property
    def reached(self) -> int:
        """How many runs are ever compact."""
        return sum(each.first is not None for each in self.summaries)

    def curves(self, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Updates (n,) at which every run was evaluated, and a column of the metrics there, (runs, n)."""
        updates = [{row["update"]: row.get(name, math.nan) for row in rows} for rows in self.metrics]
        common = sorted(set.intersection(*(set(each) for each in updates)))
        return np.array(common), np.array([[each[update] for update in common] for each in updates])


def read_groups(runs: Sequence[str | os.PathLike[str]], compact: float = COMPACT) -> list[RunGroup]:
    """Runs, grouped by what they have in common but for the seed, in the order of their first runs.

    Raises:
        RunError: something is no run, cannot be read, or has not been evaluated after its first update.
    """
    found: dict[str, list[tuple[Config, Rows]]] = {}
    for path in runs:
        run, config = RunDirectory.open(path)
        metrics = MetricsFile(run.metrics, until=config.optimization.updates).rows
        if len(metrics) < 2 or any(ACCURACY not in row for row in metrics):
            raise RunError(f"{run.metrics}: has no evaluation after the first update yet; train the run further")
        key = json.dumps(dataclasses.replace(config, seed=0).to_dict(), sort_keys=True)
        found.setdefault(key, []).append((config, metrics))
    names = _names([runs_of[0][0] for runs_of in found.values()])
    return [
        RunGroup(
            name, [metrics for _, metrics in members], [compactness(c.seed, metrics, compact) for c, metrics in members]
        )
        for name, members in zip(names, found.values(), strict=True)
    ]


def _names(configs: Sequence[Config]) -> list[str]:
    """What tells configurations apart: preset and experiment where there are several, and the fields that are not what
    most configurations of that preset and experiment have.
    """
    flat = [_flat(dataclasses.replace(config, seed=0).to_dict()) for config in configs]
    names = []
    for config, values in zip(configs, flat, strict=True):
        kinds = {kind: getattr(config, kind) for kind in ("preset", "experiment")}
        alike = [other for other in flat if kinds.items() <= other.items()]
        parts = [kind for name, kind in kinds.items() if any(other[name] != kind for other in flat)]
        for name, value in values.items():
            if value != _most_frequent([other[name] for other in alike]):
                parts.append(f"{name.rpartition('.')[2]} {_text(value)}")
        names.append(", ".join(parts) or config.experiment)
    return names


def _most_frequent(values: list[Any]) -> Any:
    """Of equals the first."""
    return max(values, key=values.count)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(groups: Sequence[RunGroup], compact: float = COMPACT) -> str:
    """A row a group, in Markdown: mean, lowest and highest over its seeds."""
    columns = ("seeds", f"reached {compact:g}", "first at update", "compact after", "last", "best", "last below best")
    lines = ["| configuration | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for group in groups:
        summaries = group.summaries
        first = [each.first for each in summaries if each.first is not None]
        cells = [
            group.name,
            str(len(summaries)),
            str(group.reached),
            _range([float(update) for update in first], "{:.0f}"),
            "" if math.isnan(group.share) else f"{group.share:.3f}",
            _range([each.final for each in summaries], "{:.4f}"),
            _range([each.best for each in summaries], "{:.4f}"),
            f"{max(each.best - each.final for each in summaries):.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _range(values: list[float], form: str) -> str:
    if not values:
        return ""
    low, mean, high = (form.format(value) for value in (min(values), float(np.mean(values)), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"
