"""The proof that no well-trained model exists: merges that are forced, and two values of p for one embedding."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Merge:
    """Two observations to which any well-trained model gives one embedding.

    Attributes:
        first, second: their ids.
        action: code of the action that led to both.
        first_source, second_source: the observations that it led from: one observation, or two merged before.
    """

    first: int
    second: int
    action: int
    first_source: int
    second_source: int

    def __str__(self) -> str:
        origin = (
            f"both follow {self.first_source}"
            if self.first_source == self.second_source
            else f"they follow {self.first_source} and {self.second_source}, merged before,"
        )
        return f"{self.first} = {self.second}: {origin} under action {self.action}"


class NoWellTrainedModelError(Exception):
    """No (E, T, P) is well-trained on the data, as one embedding would need two values of p.

    Attributes:
        pair: two observations that must share an embedding (or one observation twice).
        values: the two values of p.
        chain: the forced merges that prove it, in order; empty where the two are one observation.
        rows: the transitions that state the two values; None where observations state them.
        equal: whether the two are one observation, since their content is equal.
    """

    def __init__(
        self,
        pair: tuple[int, int],
        values: tuple[Any, Any],
        chain: list[Merge],
        rows: tuple[int, int] | None = None,
        equal: bool = False,
    ) -> None:
        self.pair, self.values, self.chain, self.rows, self.equal = pair, values, chain, rows, equal
        x, y = pair
        both = f"{_shown(values[0])} and {_shown(values[1])}"
        if x == y:
            text = f"observation {x} has two auxiliary values, {both}"
        elif equal:
            text = f"observations {x} and {y} are equal and have p = {both}"
        else:
            text = f"observations {x} and {y} must share one embedding and have p = {both}"
        super().__init__(text if rows is None else f"{text} (transitions {rows[0]} and {rows[1]})")


def _shown(value: Any) -> str:
    """Format a value of p, shortened to its first numbers where they are many."""
    if not isinstance(value, list) or len(value) <= _NUMBERS_SHOWN:
        return str(value)
    return f"[{', '.join(f'{each:.4g}' for each in value[:_NUMBERS_SHOWN])}, ... {len(value)} numbers]"


_NUMBERS_SHOWN = 4
