"""Conversion of episodes of frames into transitions, and of columns of numbers into labels."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import BYTES_AT_ONCE, DatasetError, Frames, Ids, TransitionDataset, is_label
from bisim_theory.formats.limits import byte_count, usable_name

RESERVED = frozenset(each.name for each in fields(TransitionDataset))
"""Names that no label can have."""


def steps_within(offsets: Ids, lengths: Ids) -> tuple[Ids, Ids]:
    """List the transitions from each frame of an episode to the next one; none leads into another episode.

    Args:
        offsets: (E,) id of the first frame of each episode.
        lengths: (E,) number of frames of each.

    Returns:
        (N,) ids of the sources, each followed by its successor; (N,) episode of each transition.
    """
    steps = np.maximum(lengths - 1, 0)
    episode = np.repeat(np.arange(len(steps)), steps)
    within = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    return offsets[episode] + within, episode


def steps_between(offsets: Ids, lengths: Ids, start: int, stop: int) -> tuple[Ids, Ids]:
    """List those transitions of `steps_within` whose source is a row of a range.

    Args:
        offsets, lengths: as there; offsets ascend.
        start, stop: the range of rows.

    Returns:
        (M,) ids of the sources; (M,) their episodes.
    """
    begin = int(np.searchsorted(offsets, start, "right")) - 1
    begin = int(np.searchsorted(offsets, offsets[begin])) if begin >= 0 else 0  # empty episodes begin there too
    end = int(np.searchsorted(offsets, stop))
    first = np.maximum(offsets[begin:end], start)
    last = np.minimum(offsets[begin:end] + lengths[begin:end] - 1, stop)
    source, episode = steps_within(first, np.maximum(last - first, 0) + 1)
    return source, episode + begin


def find_successors(frames: Frames, following: Frames, next_row: Ids) -> tuple[Ids, Ids]:
    """Find the successors of N steps among their sources, by the frames that were stored as successors.

    Args:
        frames: (N, ...) the frame of each source.
        following: (N, ...) the frame that each step led to.
        next_row: (N,) the row that continues the trajectory after each, -1 where none does.

    Returns:
        (N,) ids of the successors: a row where the two frames are bytewise equal, else N and more; (M,) the rows whose
        successor has an id of its own, in order of these ids.
    """
    same = next_row >= 0
    size = max(1, BYTES_AT_ONCE // max(1, byte_count(frames.shape[1:], frames.dtype.itemsize)))
    for start in range(0, len(same), size):
        rows = start + np.flatnonzero(same[start : start + size])
        after = _bytes(_take(frames, next_row[rows]), len(rows))
        same[rows] = (after == _bytes(_take(following, rows), len(rows))).all(1)
    own = np.flatnonzero(~same)
    successor = next_row.copy()
    successor[own] = len(same) + np.arange(len(own))
    return successor, own


def _take(frames: Any, rows: Ids) -> NDArray[Any]:
    """Read rows, as one range where that holds few others."""
    if len(rows) == 0 or rows.max() - rows.min() >= 2 * len(rows):
        return frames[rows]
    return frames[int(rows.min()) : int(rows.max()) + 1][rows - rows.min()]


def _bytes(frames: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return frames as bytes, (B, bytes of a frame)."""
    return np.ascontiguousarray(frames).reshape(rows, math.prod(frames.shape[1:])).view(np.uint8)


def describe(format: str, convention: str, actions: str | None, **more: Any) -> dict[str, Any]:
    """Return the metadata that say how a dataset was read.

    Args:
        format: name of the format.
        convention: one sentence that says how rows became transitions, and to which step a reward belongs.
        actions: the abstraction of continuous actions, or None.
        more: entries that are left out where they are empty or 0, such as `left_out`, sentences that say what was not
            read, `steps_without_successor`, a number, and `action_codes`, what codes mean (`EncodedActions.meaning`).
    """
    said = {"format": format, "convention": convention, "action_abstraction": actions, **more}
    return {name: value for name, value in said.items() if value}


def label_of(name: str) -> str:
    """Return the name under which a column becomes a label; names of fields are taken."""
    return f"{name}_label" if name in RESERVED else name


def describe_choice(chosen: str, others: Mapping[str, str | None]) -> list[str]:
    """Return a sentence for each observation that was not chosen.

    Args:
        chosen: key of the observation.
        others: keys of the others, and the labels that they became, or None.
    """
    return [
        f"{name}, as the observation is {chosen}"
        + ("" if label is None else f"; it is the label {label}")
        + f" (--observation {name} takes it)"
        for name, label in others.items()
    ]


def fit_labels(columns: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Select the columns of a file that can be labels, and name the others.

    Files of other libraries may hold NaN in the row of a reset, which is no reason to refuse them.
    """
    labels = {name: value for name, value in columns.items() if usable_name(name) and is_label(name, value)}
    return labels, sorted(name for name in columns if name not in labels and usable_name(name))


def assemble(what: str, columns: Mapping[str, NDArray[Any]], metadata: dict[str, Any], **values: Any) -> Any:
    """Build a `TransitionDataset` from its fields' values, and from columns that can be labels.

    Raises:
        DatasetError: the fields are inconsistent; `what` names the file in the message.
    """
    labels, left_out = fit_labels(columns)
    if left_out:
        metadata = {**metadata, "labels_left_out": left_out}
    try:
        return TransitionDataset(labels=labels, metadata=metadata, **values)
    except DatasetError as error:
        text = str(error)
        raise DatasetError(text if text.startswith(what) else f"{what}: {text}") from None
