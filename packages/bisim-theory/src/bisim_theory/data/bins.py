"""Equal-width bins over the range of some numbers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids

MOST_BINS = 1000

MOST_COLUMNS = 2**16
"""Most columns whose bins are read from a file."""

EDGES_SHOWN = 8
"""Largest number of bins that are listed with their edges."""


@dataclass(frozen=True)
class Bins:
    """K bins of equal width for each of A columns, from the smallest to the largest number of the column.

    Attributes:
        count: K, 2 to `MOST_BINS`.
        low, high: (A,) the range of each column; where it is a single number, that is in bin 0.
    """

    count: int
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, values: NDArray[Any], count: int) -> "Bins":
        """Divide the range of values (N, A), which must be finite."""
        return cls(count, *(tuple(each.astype(np.float64).tolist()) for each in (values.min(0), values.max(0))))

    @classmethod
    def from_entry(cls, entry: Any, most: int = MOST_COLUMNS) -> "Bins | None":
        """Read what `entry` wrote, perhaps a stranger's; None where it cannot be used, or has too many columns."""
        if not isinstance(entry, dict):
            return None
        count, low, high = (entry.get(name) for name in ("count", "low", "high"))
        if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= MOST_BINS:
            return None
        if not isinstance(low, list) or not isinstance(high, list) or not 1 <= len(low) == len(high) <= most:
            return None
        if not all(isinstance(each, float) and math.isfinite(each) for each in [*low, *high]):
            return None
        return cls(count, tuple(low), tuple(high))

    @property
    def entry(self) -> dict[str, Any]:
        """Return the bins as JSON has them."""
        return {"count": self.count, "low": list(self.low), "high": list(self.high)}

    def index(self, values: NDArray[Any]) -> Ids:
        """Return the bins (N, A), 0 to K - 1, of values (N, A); beyond the range that of its nearer end."""
        low, high = np.array(self.low), np.array(self.high)
        width = np.where(high > low, high - low, 1.0)
        share = (values.astype(np.float64) - low) / width
        return np.clip(np.floor(share * self.count), 0, self.count - 1).astype(np.int64)

    def interval(self, column: int, index: int) -> str:
        """Return a bin of a column as an interval, such as ``[-1, -0.333)``; the last bin holds its end too."""
        low, high = self.low[column], self.high[column]
        if low == high:
            return f"[{low:.4g}]"
        ends = (low + (high - low) * each / self.count for each in (index, index + 1))
        return f"[{', '.join(f'{each:.4g}' for each in ends)}{']' if index == self.count - 1 else ')'}"

    def intervals(self, column: int) -> str:
        """Return all bins of a column, or how wide they are where there are many."""
        if self.count <= EDGES_SHOWN or self.low[column] == self.high[column]:
            return ", ".join(dict.fromkeys(self.interval(column, index) for index in range(self.count)))
        low, high = self.low[column], self.high[column]
        return f"[{low:.4g}, {high:.4g}] in steps of {(high - low) / self.count:.4g}"


def parse_count(text: str) -> int | None:
    """Return the number of bins that a text names, or None unless it is 2 to `MOST_BINS`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        return None
    return int(text) if 2 <= int(text) <= MOST_BINS else None
