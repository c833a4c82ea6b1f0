"""Read and write ``metrics.csv``: one row of numbers per evaluation."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from bisim_theory.files import atomic_write

from pjepa_agent.runs.directory import RunError

ACCURACY = "eval/nearest_centroid_accuracy"
"""The column by which the best update of the counting world is chosen."""

LEAST_EXPLAINED = "theorem/least_explained_share"
"""The column by which the best update of another world is chosen: the explained share of the level with the least."""

TOTAL_LOSS = "losses/total"
"""The column of the weighted sum of the objective's losses."""

READOUT_LOSSES = frozenset(
    f"losses/{name}"
    for name in (
        "action_conditioned_reward",
        "termination",
        "q",
        "policy",
        "decoder",
        "transition_readout",
        "auxiliary_readout",
    )
)
"""Columns of losses of readouts: control heads, decoder, and T and P beside an objective. They train no encoder."""

Rows = list[dict[str, float]]
"""Rows of metrics: one per evaluation, each with its values by column."""


class MetricsFile:
    """Read and append to ``metrics.csv``, which is complete at any moment.

    Rows may have different columns, since a run can be resumed by a version that measures more. A missing value reads
    as NaN.

    Args:
        path: the file, which need not exist yet.
        until: the last update whose row is kept, when a run is resumed from a checkpoint.

    Raises:
        RunError: the file is damaged.
    """

    def __init__(self, path: Path, until: int = -1) -> None:
        self.path = path
        self.rows: Rows = []
        if path.is_file():
            try:
                with open(path, encoding="utf-8", newline="") as file:
                    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
                self.rows = [row for row in rows if row["update"] <= until]
            except (ValueError, TypeError, KeyError, csv.Error) as error:
                raise RunError(f"{path}: is damaged ({type(error).__name__}); restore it, or begin a new run") from None

    @property
    def names(self) -> list[str]:
        """Return all column names: those of the newest row first, in its order, then those of older rows alone."""
        return list(dict.fromkeys(name for row in reversed(self.rows) for name in row))

    def append(self, row: dict[str, float]) -> None:
        """Add a row and rewrite the file atomically."""
        self.rows.append(row)
        with atomic_write(self.path, "w") as file:
            writer = csv.DictWriter(file, self.names, restval="nan", lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _text(value) for name, value in values.items()} for values in self.rows)

    def column(self, name: str) -> list[float]:
        """Return all values of one column, NaN where a row lacks it."""
        return [row.get(name, math.nan) for row in self.rows]

    def best_row(self, column: str = ACCURACY) -> dict[str, float]:
        """Return the best row after the first update, the latest of equals; a NaN is the worst.

        Args:
            column: its name, with ``-`` before it if less is better.
        """
        name = column.removeprefix("-")
        sign = -1 if name != column else 1

        def value(row: dict[str, float]) -> float:
            found = row.get(name, math.nan)
            return -math.inf if math.isnan(found) else sign * found

        return max(reversed(self.rows[1:]), key=value)


def objective_losses(names: Iterable[str]) -> list[str]:
    """Select the columns that are terms of the objective: all losses but the total and those of readouts."""
    return [name for name in names if name.startswith("losses/") and name not in {TOTAL_LOSS, *READOUT_LOSSES}]


def _text(value: float) -> str:
    """Format a number with all its digits, so that a resumed run continues from the exact values."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
