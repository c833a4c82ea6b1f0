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


def numbers_of(info: Mapping[Any, Any]) -> dict[str, float | int | bool]:
    """Return the single finite numbers of an ``info``."""
    found: dict[str, float | int | bool] = {}
    for name, value in info.items():
        if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
            value = value.item()
        if isinstance(name, str) and isinstance(value, bool | int | float) and -LARGEST <= value <= LARGEST:
            found[name] = value
    return found


def join_labels(
    infos: Sequence[Mapping[str, float | int | bool]], states: Sequence[NDArray[Any]] | None
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Join what is known of every observation.

    Args:
        infos: (F,) numbers of each observation's ``info``.
        states: (F,) the environment's own observations, or None where nothing else is observed.

    Returns:
        Labels of all observations, the numbers that every ``info`` has, and the names of those that were left out: they
        are missing somewhere, cannot be labels, or are more than `MOST_LABELS`.
    """
    labels: dict[str, NDArray[Any]] = {}
    everywhere = set(infos[0]).intersection(*infos[1:])
    for name in sorted(everywhere - {STATE}):
        values = np.array([info[name] for info in infos])
        if len(labels) < MOST_LABELS and is_label(name, values):
            labels[name] = values
    left_out = sorted(set().union(*infos) - set(labels))
    if states is not None:
        state = np.stack([np.asarray(each).reshape(-1) for each in states])
        if is_label(STATE, state):
            labels[STATE] = state
        else:
            left_out.append(STATE)
    return labels, left_out
