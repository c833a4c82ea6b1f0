"""Names of auxiliary functions p: how they are read, and what they mean."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from bisim_theory.data.bins import MOST_BINS, parse_count
from bisim_theory.data.transitions import DatasetError

NAMES = {
    "auxiliary": "the values stored in the data",
    "reward": "the reward of the step that led to the observation",
    "reward:actions": "r(s, a), the rewards of all actions from the observation, where all were seen",
    "terminated": "1 where a terminated step led to the observation, else 0",
    "random": "a random function of the observation: different for any two of different content",
    "constant": "the same value everywhere, so the dynamics alone",
}
"""Names with a fixed meaning. The name of a label is valid too, and ``module:function``.

``NAME:bins:K`` and ``NAME:round:STEP`` make values coarser, and ``a+b`` is a and b together.
"""

LARGEST_MULTIPLE = 2.0**53
"""Largest multiple of a step to which values are rounded; beyond it there are no digits to round."""

REWARDS = "the rewards"
"""What a sentence about left out input begins with where it is about rewards."""

_COARSER = re.compile(r"(?P<base>.+):(?P<how>bins|round):(?P<parameter>[^:]*)", re.S)


@dataclass(frozen=True)
class Term:
    """One auxiliary function by name, and how its values are made coarser.

    Attributes:
        name: the whole name.
        base: the name of the function alone.
        bins: K, of equal bins over the range of its values, or None.
        step: the step to whose multiples values are rounded, or None.
    """

    name: str
    base: str
    bins: int | None = None
    step: float | None = None

    @property
    def imported(self) -> bool:
        """Return whether the name has the form ``module:function``; a label of that name comes first."""
        return ":" in self.base


def parse_auxiliary(name: str, exact: Container[str] = ()) -> list[Term]:
    """Read the name of an auxiliary function, or of several joined by ``+``.

    Args:
        name: as for ``--auxiliary``.
        exact: names that are taken as they are, whatever characters they have: those of labels.

    Raises:
        DatasetError: what follows ``:bins:`` or ``:round:`` cannot be used.
    """
    if name in exact or _base_of(name) in exact:
        return [_parse_term(name, exact)]
    return [_parse_term(part, exact) for part in name.split("+")]


def split_names(argument: str, exact: Container[str] = ()) -> list[str]:
    """Split a list of names at commas, unless the whole is one of the `exact` names, as it is or made coarser."""
    return [argument] if argument in exact or _base_of(argument) in exact else argument.split(",")


def _base_of(name: str) -> str:
    found = _COARSER.fullmatch(name)
    return name if found is None else found["base"]


def _parse_term(name: str, exact: Container[str]) -> Term:
    found = None if name in exact or name in NAMES else _COARSER.fullmatch(name)
    if found is None:
        return Term(name, name)
    if found["base"] == "random":
        raise DatasetError(f"auxiliary {name}: random values have no order; leave :{found['how']} out")
    if found["how"] == "round":
        return Term(name, found["base"], step=_step(name, found["parameter"]))
    bins = parse_count(found["parameter"])
    if bins is None:
        raise DatasetError(f"auxiliary {name}: K of bins:K must be a whole number from 2 to {MOST_BINS}")
    return Term(name, found["base"], bins=bins)


def _step(name: str, text: str) -> float:
    try:
        step = float(text)
    except ValueError:
        step = 0.0
    if not 1e-100 <= step <= 1e100:
        raise DatasetError(f"auxiliary {name}: STEP of round:STEP must be a positive number such as 0.01")
    return step


def unused_reward(base: str, metadata: Mapping[str, Any]) -> str:
    """Say why rewards that a file has are not offered, before what is; nothing where that is not what was asked for."""
    if base.split(":")[0] != "reward":
        return ""
    said = metadata.get("left_out")
    found = [each for each in said if str(each).startswith(REWARDS)] if isinstance(said, list) else []
    return f"left out are {found[0]}; " if found else ""
