"""List the different observations and transitions that a monitor asks a model for, and take arrays of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.arrays import to_numpy
from bisim_theory.data.numbering import pair_key
from bisim_theory.data.representation import Representation, canonical_actions
from bisim_theory.data.transitions import LARGEST, DatasetError, Ids, TransitionDataset, chunks, piece_rows, usable

PREDICTED_AT_ONCE = 4_096
"""Most embeddings that a callable is given at a time."""

Made = Any
"""An array or a tensor that a model made, or a callable that makes it."""


class NotFiniteError(DatasetError):
    """A number that a model made is not finite, as where a training has diverged."""


class Inputs:
    """List the different observations and transitions of a relation's data.

    Args:
        rows: transitions in which observations that are one have one id.
        numbers: (F,) number of each of their observations in the data that the actions are of.
        given: that data.

    Attributes:
        ids: (n,) numbers of the different observations that occur in a transition.
        sources: (m,) row of `ids` from which each different transition starts.
        actions: (m, A) its action: the mean `action_value` of its code in `given`; the codes as (m, 1) without any.
    """

    def __init__(self, rows: TransitionDataset, numbers: Ids, given: TransitionDataset) -> None:
        self._rows = rows
        self._occurring = np.unique(np.concatenate([rows.source, rows.successor]))
        self.ids: Ids = numbers[self._occurring]
        place = np.zeros(rows.frames, np.int64)  # frames in no transition have a place too, which nobody looks at
        place[self._occurring] = np.arange(len(self._occurring))
        self._place = place
        codes, code = np.unique(rows.action, return_inverse=True)
        key = pair_key(rows.source, code.reshape(-1), len(codes))
        _, first, self._transition = np.unique(key, return_index=True, return_inverse=True)
        self.sources: Ids = place[rows.source[first]]
        self.actions = _actions_of(given, rows.action[first])

    def pieces(self) -> Iterator[NDArray[Any]]:
        """Yield the different observations in pieces (B, ...).

        Raises:
            DatasetError: the data holds none.
        """
        frames: Any = self._rows.observation
        if frames is None:
            raise DatasetError("observation: is not in this data; embed those of monitor.ids, and give arrays")
        for ids in chunks(self._occurring, piece_rows(frames)):
            yield np.asarray(frames[ids])

    def embed(self, value: Made) -> NDArray[Any]:
        """Return (n, d) embeddings of the observations, given as an array or a callable of pieces."""
        if callable(value):
            z = _joined("embedding", [_floats("embedding", value(piece), len(piece)) for piece in self.pieces()])
        else:
            z = _floats("embedding", value, len(self.ids))
        if z.ndim != 2 or not z.shape[1]:
            raise DatasetError(f"embedding: must be ({len(self.ids)}, d), is {z.shape}")
        return z

    def predict(self, value: Made, z: NDArray[Any]) -> NDArray[Any]:
        """Return (m, d) embeddings predicted of the transitions, given as an array or a callable."""
        name, number = "predicted_embedding", len(self.sources)
        if callable(value):
            value = _in_pieces(name, number, lambda rows: value(z[self.sources[rows]], self.actions[rows]))
        predicted = _floats(name, value, number)
        if predicted.shape != (number, z.shape[1]):
            raise DatasetError(f"{name}: must be {(number, z.shape[1])}, is {predicted.shape}")
        return predicted

    def predict_auxiliary(self, value: Made, z: NDArray[Any]) -> NDArray[Any]:
        """Return (n, ...) values predicted of p at the observations, given as an array or a callable."""
        name, shape = "predicted_auxiliary", (len(z), *self._rows.auxiliary_shape)
        if callable(value):
            value = _in_pieces(name, len(z), lambda rows: value(z[rows]))
        predicted = _floats(name, value, len(z))
        if predicted.reshape(len(z), -1).shape != (len(z), int(np.prod(shape[1:]))):
            raise DatasetError(f"{name}: must be {shape}, in the units of p, is {predicted.shape}")
        return predicted.reshape(shape)

    def represent(self, z: NDArray[Any], predicted: NDArray[Any], p: NDArray[Any]) -> Representation:
        """Give every row of the data what was made of the observation and transition that it repeats."""
        of_row = predicted[self._transition]
        return Representation(
            embedding=z[self._place],
            predicted_embedding=of_row,
            predicted_auxiliary=p[self._place[self._rows.source]],
            predicted_embedding_canonical=of_row,
            predicted_observation_auxiliary=p[self._place],
        )


def _actions_of(data: TransitionDataset, codes: Ids) -> NDArray[Any]:
    """Return the action (m, A) of each code: the mean of its values, or the code itself."""
    if data.action_value is None:
        return codes[:, None]
    known, first = np.unique(data.action, return_index=True)
    return canonical_actions(data)[first][np.searchsorted(known, codes)]


def _in_pieces(name: str, number: int, function: Callable[[slice], Any]) -> NDArray[Any]:
    """Apply a function to slices of rows, and join what it returns."""
    slices = [slice(start, min(start + PREDICTED_AT_ONCE, number)) for start in range(0, number, PREDICTED_AT_ONCE)]
    return _joined(name, [_floats(name, function(rows), rows.stop - rows.start) for rows in slices])


def _joined(name: str, pieces: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = sorted({piece.shape[1:] for piece in pieces})
    if len(shapes) > 1:
        raise DatasetError(f"{name}: returned rows of different shapes, {shapes[0]} and {shapes[1]}")
    return np.concatenate(pieces)


def _floats(name: str, value: Any, rows: int) -> NDArray[Any]:
    """Return an array or tensor as floats (rows,) or (rows, k).

    Raises:
        NotFiniteError: a number is not finite.
        DatasetError: it has another shape or type.
    """
    try:
        array = to_numpy(value)
    except ValueError as error:
        raise DatasetError(f"{name}: {error}") from None
    if array.ndim not in (1, 2) or len(array) != rows or array.dtype.kind != "f":
        raise DatasetError(f"{name}: must be floats, one row for each of {rows}, is {array.shape} {array.dtype}")
    good = usable(array)
    if not good.all():
        raise NotFiniteError(f"{name}: row {np.argwhere(~good)[0][0]} is not finite, or beyond {LARGEST:g}")
    return array
