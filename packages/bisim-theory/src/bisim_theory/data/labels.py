"""Labels of observations as a ground truth: one label, or several of which any difference counts."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, TransitionDataset

BOOKKEEPING = ("step_idx", "id", "step_count", "frame_index", "index", "episode_index", "timestep")
"""Columns that number steps, frames, episodes and environments: labels, but no ground truth unless asked for."""


def default_label(data: TransitionDataset) -> str | None:
    """Return ``"count"`` if the data has that label, else the only other one of one integer per observation."""
    if "count" in data.labels and data.labels["count"].ndim == 1:
        return "count"
    scalars = [name for name, value in data.labels.items() if value.ndim == 1 and value.dtype.kind in "iub"]
    scalars = [name for name in scalars if name not in BOOKKEEPING]
    return scalars[0] if len(scalars) == 1 else None


def label_names(data: TransitionDataset, label: str) -> list[str]:
    """Return the labels that an argument names: the one of exactly that name, else those between ``,`` or ``+``.

    Raises:
        DatasetError: the data has no such label; the message lists those that it has.
    """
    names = [label] if label in data.labels else re.split("[,+]", label)
    for name in names:
        if name not in data.labels:
            offered = ", ".join(data.labels) or "no label"
            raise DatasetError(f"--label {label}: this dataset has no label {name!r}; it has {offered}")
    return names


def label_values(data: TransitionDataset, label: str) -> NDArray[Any]:
    """Return (F,) values that are equal where all named labels are: those of a single label (F,), else codes 0, 1, ...

    Raises:
        DatasetError: the data has no such label.
    """
    values = [data.labels[name] for name in label_names(data, label)]
    if len(values) == 1 and values[0].ndim == 1:
        return values[0]
    codes = [np.unique(value, axis=0, return_inverse=True)[1].reshape(-1) for value in values]
    return np.unique(np.stack(codes, 1), axis=0, return_inverse=True)[1].reshape(-1)
