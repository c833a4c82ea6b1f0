"""Test, on the data, of what a reader assumed of rewards: that a row holds that of the step out of it, or into it."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import BYTES_AT_ONCE, Frames, Ids
from bisim_theory.formats.limits import byte_count

MOST_ROWS = 1 << 14
"""Most rows whose observations are compared."""


def with_evidence(
    convention: str, observation: Frames | None, action: Ids, reward: NDArray[Any] | None, source: Ids, out_of: bool
) -> str:
    """Append to a convention what the data say of its reading of the rewards.

    Two steps are equal if observation, action and successor are. A reading fits if equal steps have equal rewards.

    Args:
        convention: a sentence, without a full stop.
        observation: (F, ...) of each row, or of the first; None where the rows cannot be compared.
        action: (N,) codes of the steps.
        reward: (F,) of each row; None where the file has none.
        source: (N,) row of the source of each step; its successor is in the next row.
        out_of: True where the reward of a row is read as that of the step out of it, False of the step into it.

    Returns:
        The convention and the evidence.
    """
    if reward is None:
        return convention
    if observation is None:
        return f"{convention}; the rewards could not be tested, since there are no observations to compare"
    return f"{convention}; {_evidence(observation, action, reward, source, out_of)}"


def _evidence(observation: Frames, action: Ids, reward: NDArray[Any], source: Ids, out_of: bool) -> str:
    size = byte_count(observation.shape[1:], observation.dtype.itemsize)
    rows = min(MOST_ROWS, BYTES_AT_ONCE // max(size, 1), observation.shape[0])
    within = source + 1 < rows
    source, action = source[within], action[within]
    content = _content(np.asarray(observation[:rows]))
    step = np.unique(np.stack([content[source], action, content[source + 1]], 1), axis=0, return_inverse=True)[1]
    step = step.reshape(-1)
    repeated = (np.bincount(step, minlength=1)[step] > 1) if len(step) else np.zeros(0, bool)
    source, step = source[repeated], step[repeated]
    if len(step) == 0:
        return "no step repeats, so the rewards could not be tested"
    fits, other = (_fits(step, reward[source + shift]) for shift in ((0, 1) if out_of else (1, 0)))
    found = f"{len(step):,} repeated steps"
    if fits and other:
        return f"{found} fit this reading of the rewards, and the other one"
    if fits:
        return f"{found} fit this reading of the rewards, and not the other one"
    if other:
        right = "into" if out_of else "out of"
        return f"BUT {found} contradict it: the rewards look like those of the step {right} the row, off by one"
    return f"{found} do not decide on the rewards, which differ between equal steps in either reading"


def _fits(step: Ids, reward: NDArray[Any]) -> bool:
    """Return whether equal steps have equal rewards."""
    value = np.unique(reward, return_inverse=True)[1].reshape(-1)  # NaN, which marks a reset, equals itself here
    return len(np.unique(np.stack([step, value], 1), axis=0)) == len(np.unique(step))


def _content(frames: NDArray[Any]) -> Ids:
    """Compute (F,) ids that are equal for equal frames."""
    frames = frames + frames.dtype.type(0) if frames.dtype.kind == "f" else frames  # -0.0 equals 0.0
    first: dict[bytes, int] = {}
    rows = np.ascontiguousarray(frames).reshape(len(frames), -1)
    digests = (hashlib.blake2b(row.data, digest_size=32).digest() for row in rows)
    return np.array([first.setdefault(digest, len(first)) for digest in digests], np.int64)
