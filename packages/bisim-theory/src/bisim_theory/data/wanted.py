"""Labels whose differences an auxiliary function is wanted to protect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import value_codes
from bisim_theory.data.auxiliary_functions import auxiliary_values, together
from bisim_theory.data.auxiliary_names import Term, parse_auxiliary, split_names
from bisim_theory.data.left_out import because_left_out
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset

MOST_VALUES = 1000
"""Most different values of what is no whole number, and of a column that is a candidate without being named."""

NEARLY_ALL = 0.9
"""Share of the observations from which on their values count as nearly all different."""

FEWEST = 20
"""Fewest observations of which that is said."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """Describe the labels whose differences are wanted.

    Attributes:
        names: of the labels, with ``:bins:K`` or ``:round:STEP`` where they are made coarser.
        labels: names of the labels alone.
        code: (F,) integers, equal for observations in which all of them are.
    """

    names: Sequence[str]
    labels: frozenset[str]
    code: Ids

    def __str__(self) -> str:
        *others, last = self.names
        return f"{', '.join(others)} or {last}" if others else last


def read_wanted(data: TransitionDataset, names: str | Sequence[str]) -> Wanted:
    """Read the names of the labels that are wanted.

    Args:
        data: the transitions, before equal observations are joined.
        names: labels, as a list or separated by commas; ``:bins:K`` and ``:round:STEP`` make one coarser.

    Raises:
        DatasetError: the data has no such label, it has one value, or it is continuous.
    """
    given = split_names(names, data.labels) if isinstance(names, str) else names
    terms = {term.name: term for name in given for term in parse_auxiliary(name, data.labels)}
    what = f"--want {','.join(given)}"
    if not data.labels:
        raise DatasetError(
            f"{what}: this dataset has no labels; store one value for each observation beside the transitions, as "
            f"count (F,){because_left_out(data.metadata, given)}"
        )
    if not terms:
        raise DatasetError(f"{what}: names no label; this dataset has {', '.join(data.labels)}")
    for term in terms.values():
        if term.base not in data.labels:
            raise DatasetError(
                f"{what}: this dataset has no label {term.base!r}; it has {', '.join(data.labels)}"
                f"{because_left_out(data.metadata, [term.base])}"
            )
    values = [auxiliary_values(data, name) for name in terms]
    occurs = np.zeros(data.frames, bool)
    occurs[data.source] = occurs[data.successor] = True
    for term, each in zip(terms.values(), values, strict=True):
        _check_values(what, term, each.value[occurs])
    return Wanted(list(terms), frozenset(term.base for term in terms.values()), value_codes(together(values).value))


def _check_values(what: str, term: Term, values: NDArray[Any]) -> None:
    different = len(np.unique(values, axis=0))
    if different == 1:
        raise DatasetError(f"{what}: {term.name} has one value in this dataset, so no pair of observations differs")
    if term.bins is None and term.step is None and is_continuous(values, different):
        raise DatasetError(
            f"{what}: {term.name} is continuous ({different:,} different values at {len(values):,} observations), so "
            f"nearly any pair differs in it; take bins, as {term.name}:bins:10"
        )


def is_continuous(values: NDArray[Any], different: int) -> bool:
    """Return whether values are no whole numbers, and too many or nearly all different.

    Args:
        values: (M,) or (M, k), finite.
        different: how many different ones there are.
    """
    if values.dtype.kind != "f" or (values == np.round(values)).all():
        return False
    return different > MOST_VALUES or (len(values) >= FEWEST and different >= NEARLY_ALL * len(values))
