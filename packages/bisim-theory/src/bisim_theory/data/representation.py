"""A model's embeddings and predictions on a dataset, as plain arrays: the objects of Theorems 1 and 3."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.arrays import to_numpy
from bisim_theory.data.transitions import LARGEST, DatasetError, TransitionDataset, chunks, usable

ROWS_AT_ONCE = 4096

DIMENSIONS: dict[str, tuple[int, ...]] = {
    "embedding": (2,),
    "predicted_embedding": (2,),
    "predicted_auxiliary": (1, 2),
    "predicted_embedding_canonical": (2,),
    "predicted_observation_auxiliary": (1, 2),
}
"""Numbers of axes that the arrays may have."""

OPTIONAL = (
    "predicted_embedding_canonical",
    "predicted_observation_auxiliary",
    "lipschitz_dynamics",
    "lipschitz_auxiliary",
)
"""Optional fields, which may be None."""


class RepresentationError(DatasetError):
    """A representation does not fit the dataset that it is given with."""


@dataclass(frozen=True, eq=False)
class Representation:
    """A model (E, T, P) on a dataset of F observations and N transitions.

    Args:
        embedding: (F, d) floats, E of every observation, in evaluation mode.
        predicted_embedding: (N, d) floats, T(E(source), action) of every transition.
        predicted_auxiliary: (N,) or (N, k) floats, P(E(source)) in the units of p.
        predicted_embedding_canonical: (N, d) floats, T(E(source), a) at one canonical action a for each code; optional,
            for continuous actions. T in Theorem 3 depends on the code alone, so the hypothesis is checked with this
            where it is given.
        predicted_observation_auxiliary: (F,) or (F, k) floats, P(E(o)) of every observation, also of those that are
            never sources, such as the goal that ends an episode; optional.
        lipschitz_dynamics, lipschitz_auxiliary: Lipschitz constants of T(., a) and P, optional. They turn residuals
            into lower bounds on distances (`bisim_theory.theorem.bounds`).

    Raises:
        DatasetError: an array has a wrong shape or type or is not finite; the message names it.
    """

    embedding: NDArray[np.floating[Any]]
    predicted_embedding: NDArray[np.floating[Any]]
    predicted_auxiliary: NDArray[np.floating[Any]]
    predicted_embedding_canonical: NDArray[np.floating[Any]] | None = None
    lipschitz_dynamics: float | None = None
    lipschitz_auxiliary: float | None = None
    predicted_observation_auxiliary: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        for name, dimensions in DIMENSIONS.items():
            if name in OPTIONAL and getattr(self, name) is None:
                continue
            array = _array(name, getattr(self, name))
            if array.ndim not in dimensions or array.dtype.kind != "f":
                raise DatasetError(f"{name}: must be floats with {dimensions[-1]} axes, is {array.shape} {array.dtype}")
            good = usable(array)
            if not good.all():
                row = int(np.argwhere(~good)[0][0])
                raise DatasetError(f"{name}: row {row} is not finite, or beyond {LARGEST:g}")
            object.__setattr__(self, name, array)
        if self.embedding.shape[1] == 0 or self.embedding.shape[1] != self.predicted_embedding.shape[1]:
            raise DatasetError(
                f"predicted_embedding: has {self.predicted_embedding.shape[1]} dimensions, "
                f"embedding has {self.embedding.shape[1]}"
            )
        canonical = self.predicted_embedding_canonical
        if canonical is not None and canonical.shape != self.predicted_embedding.shape:
            raise DatasetError(
                f"predicted_embedding_canonical: is {canonical.shape}, predicted_embedding is "
                f"{self.predicted_embedding.shape}"
            )
        for name in ("lipschitz_dynamics", "lipschitz_auxiliary"):
            value = getattr(self, name)
            if value is None:
                continue
            number = _array(name, value)
            if number.ndim or number.dtype.kind not in "fiu" or not 0 < float(number) <= LARGEST:
                raise DatasetError(f"{name}: must be a positive number, is {value}")
            object.__setattr__(self, name, float(number))

    def check_against(self, data: TransitionDataset) -> None:
        """Raise `RepresentationError` unless the arrays have a row for each observation and transition of `data`."""
        self.check_rows(data)
        self._check_shapes(
            {
                "predicted_auxiliary": (len(data), *data.auxiliary_shape),
                "predicted_observation_auxiliary": (data.frames, *data.auxiliary_shape),
            }
        )

    def check_rows(self, data: TransitionDataset) -> None:
        """Do the same whatever p is, which need not be known."""
        self._check_shapes({"embedding": (data.frames,), "predicted_embedding": (len(data),)})

    def _check_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in expected.items():
            array = getattr(self, name)
            if array is None:
                continue
            if array.shape[: len(shape)] != shape or ("auxiliary" in name and array.ndim != len(shape)):
                raise RepresentationError(f"{name}: is {array.shape}, the transitions ask for {shape}")

    @classmethod
    def of(
        cls,
        data: TransitionDataset,
        encode: Callable[[NDArray[np.uint8]], Any],
        predict: Callable[[NDArray[Any], NDArray[Any]], Any],
        auxiliary: Callable[[NDArray[Any]], Any],
    ) -> "Representation":
        """Apply the three maps of a model to `data`; see `bisim_theory.write_representation`."""
        if data.observation is None:
            raise DatasetError("observation: is needed to encode, and this dataset has none")
        pieces = [_rows("encode", encode(piece), len(piece)) for piece in chunks(data.observation)]
        embedding = np.concatenate(pieces)
        if embedding.ndim != 2:
            raise DatasetError(f"encode: must return (B, d), returned {pieces[0].shape}")
        action = data.action[:, None] if data.action_value is None else data.action_value
        canonical = None if data.action_value is None else canonical_actions(data)
        of_observation = None
        if data.observation_auxiliary is not None:
            of_observation = _in_pieces("auxiliary", auxiliary, embedding)
        predicted, values, at_canonical = [], [], []
        for start in range(0, len(data), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            source = embedding[data.source[rows]]
            predicted.append(_rows("predict", predict(source, action[rows]), len(source)))
            values.append(_rows("auxiliary", auxiliary(source), len(source)))
            if canonical is not None:
                at_canonical.append(_rows("predict", predict(source, canonical[rows]), len(source)))
        representation = cls(
            embedding,
            np.concatenate(predicted),
            np.concatenate(values),
            np.concatenate(at_canonical) if at_canonical else None,
            predicted_observation_auxiliary=of_observation,
        )
        representation.check_against(data)
        return representation


def _in_pieces(name: str, function: Callable[[NDArray[Any]], Any], embedding: NDArray[Any]) -> NDArray[Any]:
    """Apply a callable to all embeddings (F, d), some rows at a time."""
    pieces = [embedding[start : start + ROWS_AT_ONCE] for start in range(0, len(embedding), ROWS_AT_ONCE)]
    return np.concatenate([_rows(name, function(piece), len(piece)) for piece in pieces])


def canonical_actions(data: TransitionDataset) -> NDArray[np.floating[Any]]:
    """Compute (N, A) the canonical action of every transition: the mean `action_value` of all with its code."""
    assert data.action_value is not None
    codes, of_row, counts = np.unique(data.action, return_inverse=True, return_counts=True)
    sums = np.zeros((len(codes), data.action_value.shape[1]))
    np.add.at(sums, of_row, data.action_value)
    means: NDArray[np.floating[Any]] = (sums / counts[:, None]).astype(data.action_value.dtype)
    return means[of_row]


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        return to_numpy(value)
    except ValueError as error:
        raise DatasetError(f"{name}: {error}") from None


def _rows(name: str, value: Any, rows: int) -> NDArray[Any]:
    array = _array(name, value)
    if array.ndim not in (1, 2) or len(array) != rows or array.dtype.kind != "f":
        raise DatasetError(
            f"{name}: must return floats, one row for each of {rows}, returned {array.shape} {array.dtype}"
        )
    return array
