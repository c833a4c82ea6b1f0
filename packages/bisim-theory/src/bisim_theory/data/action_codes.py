"""Meanings of the integer codes of actions, as readers keep them in the metadata of transitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bisim_theory.data.bins import Bins

ENTRY = "action_codes"
"""Name of the entry in the metadata."""

MOST_COMBINATIONS = 1_000
"""Most different rows of integers that are kept."""

MOST_DIMENSIONS = 64

Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ActionCodes:
    """Describe how codes were made of actions of several numbers, or of continuous ones. One of the fields is given.

    Attributes:
        signs: number of dimensions, each a digit that is 1 where the value is >= 0; the first is the most significant.
        bins: bins of each dimension, each a digit; the first dimension is the most significant.
        rows: the row of integers of every code.
        one_hot: whether a code is the index of the one in a row of zeros.
        of_space: whether bins lie between the bounds of the action space, not over the range in the data.
    """

    signs: int = 0
    bins: Bins | None = None
    rows: Rows = ()
    one_hot: bool = False
    of_space: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "ActionCodes | None":
        """Read what metadata, perhaps a stranger's, say of the codes; None where they say nothing that can be used."""
        entry = metadata.get(ENTRY)
        if not isinstance(entry, dict) or len(entry) != 1:
            return None
        ((kind, value),) = entry.items()
        if kind == "sign" and _is_whole(value) and 1 <= value <= MOST_DIMENSIONS:
            return cls(signs=value)
        if kind == "bins":
            bins = Bins.from_entry(value, MOST_DIMENSIONS)
            return None if bins is None else cls(bins=bins, of_space=value.get("of") == "space")
        if kind == "rows" and _is_list_of_rows(value):
            return cls(rows=tuple(map(tuple, value)))
        return cls(one_hot=True) if kind == "one_hot" and value is True else None

    @property
    def entry(self) -> dict[str, Any]:
        """Return the value of `ENTRY`."""
        if self.signs:
            return {"sign": self.signs}
        if self.bins is not None:
            return {"bins": self.bins.entry | ({"of": "space"} if self.of_space else {})}
        return {"one_hot": True} if self.one_hot else {"rows": [list(row) for row in self.rows]}

    def __str__(self) -> str:
        if self.signs:
            return "sign, a digit for each dimension: 1 where its value is >= 0, else 0"
        if self.bins is not None and self.of_space:
            return (
                f"bins:{self.bins.count}, a digit for each dimension: equal bins between the bounds of the action space"
            )
        if self.bins is not None:
            return (
                f"bins:{self.bins.count}, a digit for each dimension: equal bins of the range in this data, so another "
                "file's codes may mean others"
            )
        if self.one_hot:
            return "the index of the one in a row of zeros"
        return "rows of integers, numbered in lexicographic order as they occur in this data"

    def meaning(self, code: int) -> str | None:
        """Return what a code means; None where it is as it was, or beyond what is known."""
        if self.bins is not None:
            digits = _digits(code, self.bins.count, len(self.bins.low))
            said = [f"in {self.bins.interval(dimension, digit)}" for dimension, digit in enumerate(digits or ())]
        elif self.signs:
            digits = _digits(code, 2, self.signs)
            said = [">= 0" if digit else "< 0" for digit in digits or ()]
        elif 0 <= code < len(self.rows):
            return f"({', '.join(map(str, self.rows[code]))})"
        else:
            return None
        if len(said) == 1:
            return f"value {said[0]}"
        return ", ".join(f"dimension {dimension} {each}" for dimension, each in enumerate(said)) or None


def _digits(code: int, base: int, number: int) -> list[int] | None:
    """Return the digits of a code, the most significant first, or None where it has more."""
    if not 0 <= code < base**number:
        return None
    return [code // base ** (number - 1 - place) % base for place in range(number)]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of_rows(value: Any) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_COMBINATIONS:
        return False
    return all(isinstance(row, list) and len(row) <= MOST_DIMENSIONS and all(map(_is_whole, row)) for row in value)
