"""Values of the auxiliary function p: what the data states of observations, and whether it is one function of them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory import _aliases
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.numbering import blocks, distinct, number
from bisim_theory.data.transitions import NO_AUXILIARY, DatasetError, Ids, TransitionDataset, usable


@dataclass(frozen=True, eq=False)
class Values:
    """p of every observation of which it is known.

    Attributes:
        value: (F,) or (F, k); 0 where unknown.
        known: (F,) bool; False where p is unknown, as the reward of an episode's first observation is.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Statements:
    """Hold what the data says of p: one value of one observation each.

    Several may speak of one observation. If they differ, p is no function of the observation.

    Attributes:
        observation: (M,) ids.
        value: (M,) or (M, k).
        row: (M,) the transition that says so; None where the observation itself does, as of a label.
    """

    observation: Ids
    value: NDArray[Any]
    row: Ids | range | None = None


def stored_values(data: TransitionDataset, ids: Ids | None = None) -> Values:
    """Return p as it is stored in the dataset; see `settle`.

    Raises:
        DatasetError: the dataset has no auxiliary.
        NoWellTrainedModelError: an observation has two values.
    """
    if data.auxiliary is None and data.observation_auxiliary is not None and ids is None:
        assert data.observation_auxiliary_known is not None
        return Values(data.observation_auxiliary, data.observation_auxiliary_known)
    if data.auxiliary is None and data.observation_auxiliary is None:
        raise DatasetError(NO_AUXILIARY)
    return settle(data, stored_statements(data), ids)


def exact(value: NDArray[Any]) -> NDArray[Any]:
    """Return the values, or codes of them where a conversion to float64 would lose digits."""
    if value.dtype.kind in "iu" and len(value) and max(abs(int(value.min())), abs(int(value.max()))) > 2**53:
        return np.unique(value, return_inverse=True)[1].reshape(value.shape)
    return value


def stored_statements(data: TransitionDataset) -> Statements:
    """Return the stored values: those of the sources of transitions, and those of observations."""
    rows = range(len(data))
    if data.observation_auxiliary is None:
        assert data.auxiliary is not None
        return Statements(data.source, data.auxiliary, rows)
    assert data.observation_auxiliary_known is not None
    known = np.flatnonzero(data.observation_auxiliary_known)
    if data.auxiliary is None:
        return Statements(known, data.observation_auxiliary[known])
    observation = np.concatenate([data.source, known])
    return Statements(observation, np.concatenate([data.auxiliary, data.observation_auxiliary[known]]))


def settle(data: TransitionDataset, statements: Statements, ids: Ids | None) -> Values:
    """Give every observation the value that is stated of it, and the observations of one id one value."""
    observation = statements.observation if ids is None else ids[statements.observation]
    value = np.zeros((data.frames, *statements.value.shape[1:]), statements.value.dtype)
    known = np.zeros(data.frames, bool)
    value[observation], known[observation] = statements.value, True
    for block in blocks(len(observation)):
        differs = value[observation[block]] != statements.value[block]
        if differs.any():
            one = block.start + int(differs.reshape(len(differs), -1).any(1).argmax())
            raise two_values(statements, one, int(np.flatnonzero(observation == observation[one])[-1]))
    return Values(value, known) if ids is None else Values(value[ids], known[ids])


def two_values(statements: Statements, one: int, other: int) -> NoWellTrainedModelError:
    """Return the error that two statements speak of one observation and differ."""
    first, second = sorted((one, other))
    pair = (int(statements.observation[first]), int(statements.observation[second]))
    rows = None if statements.row is None else (int(statements.row[first]), int(statements.row[second]))
    values = (statements.value[first].tolist(), statements.value[second].tolist())
    return NoWellTrainedModelError(pair, values, [], rows, equal=True)


def value_codes(values: NDArray[Any]) -> Ids:
    """Compute (M,) integer codes of values (M,) or (M, k), equal iff the values are equal in every component.

    Those of values (M,) are in the order of the values.
    """
    columns = values.reshape(len(values), math.prod(values.shape[1:]))
    found, code = distinct(columns[:, 0])
    number_of_codes = len(found)
    for column in columns.T[1:]:
        if number_of_codes == len(values):
            break
        found, more = distinct(column)
        code, first = number(code.astype(np.int64) * len(found) + more, number_of_codes * len(found))
        number_of_codes = len(first)
    return code


def auxiliary_codes(data: TransitionDataset) -> Ids:
    """Compute (F,) integer codes of p, equal iff p is equal in every component, -1 where p is unknown.

    They are of a short integer type. Only observations that occur in a transition have a code.

    Raises:
        DatasetError: the dataset has no auxiliary.
        NoWellTrainedModelError: an observation has two values.
    """
    values = stored_values(data)
    occurs = np.zeros(data.frames, bool)
    occurs[data.source] = occurs[data.successor] = True
    coded = occurs & values.known
    if coded.all():
        return value_codes(values.value)
    known = value_codes(values.value[coded])
    codes = np.full(data.frames, -1, known.dtype)
    codes[coded] = known
    return codes


def given_values(data: TransitionDataset, name: str, value: ArrayLike) -> Values:
    """Check a caller's array of one row for every transition (p of its source) or for every observation.

    Raises:
        DatasetError: the array has another shape, or is not finite.
        NoWellTrainedModelError: a source has two values.
    """
    array = np.asarray(value)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiub" or len(array) not in (len(data), data.frames):
        raise DatasetError(
            f"auxiliary {name!r}: must be numbers, one row for each of {len(data)} transitions or {data.frames} "
            f"observations, is {array.shape} {array.dtype}"
        )
    if not usable(array).all():
        raise DatasetError(f"auxiliary {name!r}: is not finite everywhere")
    if len(array) == len(data):
        return settle(data, Statements(data.source, array, np.arange(len(data))), None)
    return Values(array, np.ones(data.frames, bool))


def with_auxiliary(data: TransitionDataset, values: Values, name: str | None = None) -> TransitionDataset:
    """Set p of every observation; put its name, if given, into the metadata.

    Raises:
        DatasetError: p is known at no observation that occurs in a transition.
    """
    if not (values.known[data.source].any() or values.known[data.successor].any()):
        raise DatasetError("auxiliary: is unknown at every observation; choose another one")
    return replace(
        data,
        auxiliary=None,
        observation_auxiliary=values.value,
        observation_auxiliary_known=values.known,
        metadata=data.metadata if name is None else {**data.metadata, "auxiliary": name},
    )


def __getattr__(name: str) -> Any:
    return _aliases.moved(__name__, name)
