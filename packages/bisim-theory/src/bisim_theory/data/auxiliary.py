"""Auxiliary functions p by name, among which a user can choose before training."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.transitions import DatasetError, TransitionDataset, usable

NAMES = {
    "auxiliary": "the values stored in the file",
    "reward": "the reward of the step that led to an observation",
    "random": "a random function of the observation: different for any two different images",
    "constant": "the same value everywhere, so the dynamics alone",
}
"""Names with a fixed meaning. The name of a label is valid too, and "a+b" is a and b together."""


@dataclass(frozen=True, eq=False)
class Values:
    """p of the source of every transition.

    Attributes:
        value: (N,) or (N, k).
        known: (N,) bool; False where p is unknown, as the reward of an episode's first observation is.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]


def auxiliary_values(data: TransitionDataset, name: str) -> Values:
    """Compute the auxiliary function of a name, or of several names joined by ``+``. A label's exact name comes first.

    Raises:
        DatasetError: the dataset does not offer it; the message lists those that it offers.
    """
    names = [name] if name in data.labels else name.split("+")
    parts = [_single(data, part) for part in names]
    if len(parts) == 1:
        return parts[0]
    columns = [_exact(part.value).reshape(len(data), -1) for part in parts]
    return Values(np.concatenate(columns, 1), np.logical_and.reduce([part.known for part in parts]))


def _exact(value: NDArray[Any]) -> NDArray[Any]:
    """Return the values, or codes of them where a conversion to float64 would lose digits."""
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
        # A random linear map is injective on finitely many observations with probability one, and R_D* depends only on
        # where p is equal.
        return Values(data.content_ids()[data.source], known)
    if name == "constant":
        return Values(np.zeros(len(data)), known)
    raise DatasetError(f"auxiliary={name!r}: this dataset offers {', '.join(offered(data))}")


def offered(data: TransitionDataset) -> list[str]:
    """Return the names of the auxiliary functions that a dataset offers."""
    has = {
        "auxiliary": data.auxiliary is not None,
        "reward": data.reward is not None or data.metadata.get("auxiliary") == "reward",
        "random": data.observation is not None,
        "constant": True,
    }
    return [name for name in NAMES if has[name]] + list(data.labels)


def _reward(data: TransitionDataset) -> Values:
    """Return r of every source: the reward of a step is that of its successor."""
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
    """Check a caller's array of one row for every transition (p of its source) or for every observation.

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
    """Keep the transitions where p is known, or those chosen by `rows`; set p, and put its name into the metadata.

    Raises:
        DatasetError: no transition is left.
    """
    kept = values.known if rows is None else rows
    if not kept.any():
        raise DatasetError(
            "auxiliary: is unknown at every source, as the reward is in episodes of one step; choose another one"
        )
    columns: Mapping[str, Any] = {
        name: None if getattr(data, name) is None else getattr(data, name)[kept]
        for name in ("source", "action", "successor", "action_value", "reward", "terminated", "truncated", "episode")
    }
    metadata = {**data.metadata, "auxiliary": name}
    return replace(data, auxiliary=values.value[kept], metadata=metadata, size=data.frames, **columns)
