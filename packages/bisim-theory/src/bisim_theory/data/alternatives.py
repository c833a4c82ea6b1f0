"""Auxiliary functions that have one value for every observation, where the chosen one has two."""

from collections.abc import Callable, Container, Iterator
from typing import Any

import numpy as np

from bisim_theory.data.auxiliary_functions import auxiliary_values
from bisim_theory.data.auxiliary_names import Term, parse_auxiliary
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset

BINS = (100, 50, 20, 10, 5, 4, 3, 2)
"""Numbers of bins that are tried."""

_WITHOUT_ORDER = ("random", "constant", "terminated")


def find_alternatives(data: TransitionDataset, name: str, values: tuple[Any, Any], ids: Ids | None) -> list[str]:
    """Return names of functions of the observation in place of one that is none; each was tried on the data.

    Args:
        data: the transitions.
        name: the auxiliary function that has two values at one observation.
        values: these.
        ids: (F,) ids in which observations that are one have one id, or None.

    Returns:
        The same function rounded to the finest step that serves, and in the most bins that do; then ``terminated`` and
        ``reward:actions``. What would be equal everywhere is left out.
    """
    return alternatives(name, data.labels, values, lambda each: _serves(data, each, ids))


def alternatives(
    name: str, labels: Container[str], values: tuple[Any, Any], serves: Callable[[str], bool]
) -> list[str]:
    """Return the names that serve; see `find_alternatives`.

    Args:
        name: the auxiliary function that has two values at one observation.
        labels: names of labels.
        values: the two values.
        serves: whether a function of a name has one value at every observation, and not the same at all.
    """
    found = []
    terms = parse_auxiliary(name, labels)
    if len(terms) == 1 and terms[0].base not in _WITHOUT_ORDER:
        for tries in (_rounded(terms[0], values), _binned(terms[0])):
            found += [next(each for each in [*tries, ""] if not each or serves(each))]
    others = (each for each in ("terminated", "reward:actions") if each != name and serves(each))
    return [*filter(None, found), *others]


def _rounded(term: Term, values: tuple[Any, Any]) -> Iterator[str]:
    """Name powers of ten from the least above the difference of two values on."""
    if isinstance(values[0], list):
        return
    exponent = int(np.ceil(np.log10(abs(float(values[0]) - float(values[1])))))
    yield from (f"{term.base}:round:{10.0**each:g}" for each in range(exponent, exponent + 4))


def _binned(term: Term) -> Iterator[str]:
    yield from (f"{term.base}:bins:{count}" for count in BINS)


def _serves(data: TransitionDataset, name: str, ids: Ids | None) -> bool:
    """Return whether a function has one value at every observation, and not the same at all."""
    try:
        values = auxiliary_values(data, name, ids)
    except (DatasetError, NoWellTrainedModelError):
        return False
    known = values.value[values.known]
    return len(known) > 0 and bool((known != known[0]).any())
