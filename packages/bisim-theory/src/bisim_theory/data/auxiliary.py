"""Auxiliary functions p by name: what a dataset allows to choose from before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.transitions import DatasetError, TransitionDataset, usable

NAMES = {
    "auxiliary": "the values stored in the file",
    "reward": "the reward with which an observation was reached",
    "random": "a random function of the observation: different for any two that look different",
    "constant": "nothing at all, so the dynamics alone",
}
"""Candidates that every dataset may offer; every label is one too, and "a+b" is a and b together."""


@dataclass(frozen=True, eq=False)
class Values:
    """p of every transition's source.

    Attributes:
        value: (N,) or (N, k).
        known: (N,) bool; False where the dataset does not tell, as with the reward of an episode's first observation.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]


def auxiliary_values(data: TransitionDataset, name: str) -> Values:
    """The candidate of a name, or of several joined by ``+``.

    Raises:
        DatasetError: the dataset offers no such candidate; the message lists those it has.
    """
    parts = [_single(data, part) for part in name.split("+")]
    if len(parts) == 1:
        return parts[0]
    columns = [_exact(part.value).reshape(len(data), -1) for part in parts]
    return Values(np.concatenate(columns, 1), np.logical_and.reduce([part.known for part in parts]))


def _exact(value: NDArray[Any]) -> NDArray[Any]:
    """The values, or codes of them where they would lose digits beside floats."""
    if value.dtype.kind in "iu" and len(value) and max(abs(int(value.min())), abs(int(value.max()))) > 2**53:
        return np.unique(value, return_inverse=True)[1].reshape(value.shape)
    return value


def _single(data: TransitionDataset, name: str) -> Values:
    known = np.ones(len(data), bool)
    if data.auxiliary is not None and name in ("auxiliary", data.metadata.get("auxiliary")):
        return Values(data.auxiliary, known)
    if name in data.labels:
        return Values(data.labels[name][data.source], known)
    if name == "reward" and data.reward is not None:
        return _reward(data)
    if name == "random" and data.observation is not None:
        # A random linear map is injective on finitely many observations with probability one, and p matters only by
        # where it is equal.
        return Values(data.content_ids()[data.source], known)
    if name == "constant":
        return Values(np.zeros(len(data)), known)
    raise DatasetError(f"auxiliary={name!r}: this dataset offers {', '.join(offered(data))}")


def offered(data: TransitionDataset) -> list[str]:
    """Names of the candidates that a dataset has."""
    has = {
        "auxiliary": data.auxiliary is not None,
        "reward": data.reward is not None or data.metadata.get("auxiliary") == "reward",
        "random": data.observation is not None,
        "constant": True,
    }
    return [name for name in NAMES if has[name]] + list(data.labels)


def _reward(data: TransitionDataset) -> Values:
    """r(o) of the source: the reward belongs to the step, so to the observation that the step led to."""
    assert data.reward is not None
    value = np.zeros(data.frames, data.reward.dtype)
    known = np.zeros(data.frames, bool)
    value[data.successor], known[data.successor] = data.reward, True
    wrong = np.flatnonzero(value[data.successor] != data.reward)
    if len(wrong):
        row = int(wrong[0])
        raise DatasetError(
            f"reward: observation {data.successor[row]} was reached with the rewards {data.reward[row]} and "
            f"{value[data.successor[row]]}, so the reward is no function of the observation here"
        )
    return Values(value[data.source], known[data.source])


def given_values(data: TransitionDataset, name: str, value: ArrayLike) -> Values:
    """Values of the caller's: (N,) or (N, k) of every transition's source, or (F,) or (F, k) of every observation.

    Raises:
        DatasetError: the array has another shape, or is not finite.
    """
    array = np.asarray(value)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiub" or len(array) not in (len(data), data.frames):
        raise DatasetError(
            f"auxiliary {name!r}: must be numbers, one row for each of {len(data)} transitions or {data.frames} "
            f"observations, is {array.shape} {array.dtype}"
        )
    if not usable(array).all():
        raise DatasetError(f"auxiliary {name!r}: is not finite everywhere")
    return Values(array if len(array) == len(data) else array[data.source], np.ones(len(data), bool))


def with_auxiliary(
    data: TransitionDataset, values: Values, name: str, rows: NDArray[np.bool_] | None = None
) -> TransitionDataset:
    """The transitions of which p is known (or those chosen by `rows`), with it, and its name in the metadata.

    Raises:
        DatasetError: there are none.
    """
    kept = values.known if rows is None else rows
    if not kept.any():
        raise DatasetError("auxiliary: is known of no source; with episodes of one step no reward is known")
    columns: Mapping[str, Any] = {
        name: None if getattr(data, name) is None else getattr(data, name)[kept]
        for name in ("source", "action", "successor", "action_value", "reward", "terminated", "truncated", "episode")
    }
    metadata = {**data.metadata, "auxiliary": name}
    return replace(data, auxiliary=values.value[kept], metadata=metadata, size=data.frames, **columns)
