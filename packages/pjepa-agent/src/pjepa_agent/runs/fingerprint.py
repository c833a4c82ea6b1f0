"""Fingerprints of p, which tell on resuming whether a function of the user's still has the values it began with."""

import hashlib
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset
from bisim_theory.data.transitions import chunks
from numpy.typing import NDArray

NUMBERS = 16
"""Length of a fingerprint. Each of its numbers is a weighted mean of all values."""

TOLERANCE = 1e-4
"""Largest difference of two fingerprints of one function, relative to its values; sums are rounded in some order."""


def fingerprint(data: TransitionDataset, values: NDArray[Any]) -> dict[str, Any]:
    """Compute the fingerprint of p on a few observations.

    Args:
        data: the observations, and labels that p may depend on.
        values: (F,) or (F, k) p of each.

    Returns:
        A digest of the observations, and `NUMBERS` numbers that change with any value.
    """
    assert data.observation is not None
    digest = hashlib.blake2b(digest_size=16)
    for piece in (*chunks(data.observation), *(data.labels[name] for name in sorted(data.labels))):
        digest.update(np.ascontiguousarray(piece).tobytes())
    rows = values.reshape(len(values), -1).astype(np.float64)
    # Cosines of whole numbers are as good as random weights, and the same everywhere.
    of_row = rows @ np.cos(np.arange(1, rows.shape[1] + 1)) / rows.shape[1] ** 0.5
    weights = np.cos(np.outer(np.arange(1, NUMBERS + 1), np.arange(1, len(rows) + 1)))
    scale = float(np.sqrt(np.square(rows).mean()))
    return {
        "observations": digest.hexdigest(),
        "scale": scale,
        "values": (weights @ of_row / len(rows) ** 0.5).tolist(),
    }


def is_other_function(recorded: Any, now: dict[str, Any]) -> bool:
    """Return whether p differs on the very observations of a recorded fingerprint.

    False too where that was taken of other observations, as of a world that draws its own random numbers.
    """
    if not isinstance(recorded, dict) or recorded.get("observations") != now["observations"]:
        return False
    try:
        before = np.asarray([recorded["scale"], *recorded["values"]], np.float64)
    except (KeyError, TypeError, ValueError):
        return False
    after = np.asarray([now["scale"], *now["values"]])
    return before.shape != after.shape or not np.allclose(before, after, rtol=0, atol=TOLERANCE * now["scale"] + 1e-9)
