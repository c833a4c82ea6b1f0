"""The record of a run: one row of numbers an evaluation."""

import csv
import math
from pathlib import Path

from bisim_theory.files import atomic_write

from pjepa_agent.runs.directory import RunError

ACCURACY = "eval/nearest_centroid_accuracy"
"""The column that every row has: it says which state of a run was the most compact."""


class MetricsFile:
    """``metrics.csv``: one row an evaluation, readable at any moment.

    Rows need not have the same columns, since a run can go on with a version that measures more: what a row does not
    have is NaN.

    Args:
        path: the file; rows it already has are kept up to `until`.
        until: last update whose row is kept, when a run goes on from a checkpoint.
    """

    def __init__(self, path: Path, until: int = -1) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        if path.is_file():
            try:
                with open(path, encoding="utf-8", newline="") as file:
                    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
                self.rows = [row for row in rows if row["update"] <= until]
            except (ValueError, TypeError, KeyError, csv.Error) as error:
                raise RunError(f"{path}: is damaged ({type(error).__name__}); restore it, or begin a new run") from None

    def append(self, row: dict[str, float]) -> None:
        """Add a row and write the file anew, so that it is whole whenever the run ends."""
        self.rows.append(row)
        with atomic_write(self.path, "w") as file:
            # The newest row says in which order; columns that only older ones have come behind.
            names = dict.fromkeys(name for values in reversed(self.rows) for name in values)
            writer = csv.DictWriter(file, list(names), restval="nan", lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _text(value) for name, value in values.items()} for values in self.rows)

    def column(self, name: str) -> list[float]:
        """All values of one column, NaN where a row does not have it."""
        return [row.get(name, math.nan) for row in self.rows]

    @property
    def most_compact(self) -> dict[str, float]:
        """The row of the highest nearest-centroid accuracy after the first update; of equals the later."""
        return max(reversed(self.rows[1:]), key=lambda row: row[ACCURACY])


def _text(value: float) -> str:
    """All digits, so that a run that goes on has the very numbers of one that was never stopped."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
