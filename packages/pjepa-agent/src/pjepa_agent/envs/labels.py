"""Labels of observations that a Gymnasium environment gives beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bisim_theory.data.transitions import LARGEST, is_label
from numpy.typing import NDArray

MOST_LABELS = 16
"""Most numbers of ``info`` that become labels."""

STATE = "state"
"""Label of the environment's own observation, where something else is observed."""


TEXT = "text, and labels are numbers; give a number for each, such as its place in a list"
SEVERAL = "several values; give each number by a name of its own"
NOT_FINITE = f"not finite, or beyond {LARGEST:g}; give a finite number"
NOT_THERE = "not in every info; give it at every reset and every step"
TAKEN = "a name that means something else here; choose another name"
TOO_MANY = f"beyond the first {MOST_LABELS} names; leave others out of info"
OTHER = "no number; give one in its place"
"""Reasons for which a value of ``info`` becomes no label, and what to do instead."""


def numbers_of(info: Mapping[Any, Any]) -> dict[str, float | int | bool]:
    """Return the single finite numbers of an ``info``."""
    found: dict[str, float | int | bool] = {}
    for name, value in info.items():
        single = _item(value)
        if isinstance(name, str) and _is_number(single) and -LARGEST <= single <= LARGEST:
            found[name] = single
    return found


def reasons_of(info: Mapping[Any, Any], numbers: Mapping[str, Any]) -> dict[str, str]:
    """Return why the other values of an ``info`` can be no labels, by name.

    Args:
        info: as the environment returned it.
        numbers: `numbers_of` it.
    """
    return {str(name): _reason(_item(value)) for name, value in info.items() if name not in numbers}


def _item(value: Any) -> Any:
    """Return a single value of NumPy's as Python's."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _reason(value: Any) -> str:
    if isinstance(value, str | bytes):
        return TEXT
    if _is_number(value):
        return NOT_FINITE
    return SEVERAL if isinstance(value, np.ndarray | Sequence | Mapping) else OTHER


def join_labels(
    infos: Sequence[Mapping[str, float | int | bool]], states: Sequence[NDArray[Any]] | None
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Join what is known of every observation.

    Args:
        infos: (F,) numbers of each observation's ``info``.
        states: (F,) the environment's own observations, or None where nothing else is observed.

    Returns:
        Labels of all observations, the numbers that every ``info`` has. Reasons of those that were left out, by name:
        they are missing somewhere, cannot be labels, or are more than `MOST_LABELS`.
    """
    labels: dict[str, NDArray[Any]] = {}
    reasons = dict.fromkeys(set().union(*infos), NOT_THERE)
    everywhere = set(infos[0]).intersection(*infos[1:])
    for name in sorted(everywhere):
        values = np.array([info[name] for info in infos])
        if name == STATE or not is_label(name, values):
            reasons[name] = TAKEN
        elif len(labels) == MOST_LABELS:
            reasons[name] = TOO_MANY
        else:
            labels[name] = values
            del reasons[name]
    if states is not None:
        state = np.stack([np.asarray(each).reshape(-1) for each in states])
        if is_label(STATE, state):
            labels[STATE] = state
            reasons.pop(STATE, None)
        else:
            reasons[STATE] = NOT_FINITE
    return labels, reasons
