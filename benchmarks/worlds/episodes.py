"""What a library reads back of a file, for the brute force."""

import hashlib
from typing import Any, NamedTuple

import numpy as np


class Episode(NamedTuple):
    """One episode, as a library of the file's writer reads it.

    Attributes:
        contents: T + 1 digests of the observations, equal for equal content.
        actions: (T, ...).
        rewards: (T,) of the steps.
        terminated: (T,) whether the step ended the episode's world, not only the recording.
        labels: (T + 1, ...) numbers beside the observations, by name.
    """

    contents: list[bytes]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    labels: dict[str, np.ndarray]


def digest(*parts: Any) -> bytes:
    """Return a digest of arrays: equal for equal bytes."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
    return found.digest()


def digests(observations: Any) -> list[bytes]:
    """Return a digest for each of T + 1 observations: an array, or a tuple or dictionary of arrays."""
    if isinstance(observations, dict):
        return digests(tuple(observations.values()))
    if isinstance(observations, tuple):
        return [digest(*parts) for parts in zip(*observations, strict=True)]
    return [digest(each) for each in observations]
