"""What a model makes of a dataset: all that Theorems 1 and 3 speak of, as plain arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.transitions import DatasetError, TransitionDataset, chunks

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Representation:
    """A model (E, T, P) on a dataset of F observations and N transitions.

    Args:
        embedding: (F, d) floats, E of every observation, in evaluation mode.
        predicted_embedding: (N, d) floats, T(E(source), action) of every transition.
        predicted_auxiliary: (N,) or (N, k) floats, P(E(source)) in the units of p.

    Raises:
        DatasetError: an array has a wrong shape or type or is not finite; the message names it.
    """

    embedding: NDArray[np.floating[Any]]
    predicted_embedding: NDArray[np.floating[Any]]
    predicted_auxiliary: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        for name, dimensions in (("embedding", (2,)), ("predicted_embedding", (2,)), ("predicted_auxiliary", (1, 2))):
            array = np.asarray(getattr(self, name))
            if array.ndim not in dimensions or array.dtype.kind != "f":
                raise DatasetError(f"{name}: must be floats with {dimensions[-1]} axes, is {array.shape} {array.dtype}")
            if not np.isfinite(array).all():
                row = int(np.argwhere(~np.isfinite(array))[0][0])
                raise DatasetError(f"{name}: row {row} is not finite")
            object.__setattr__(self, name, array)
        if self.embedding.shape[1] == 0 or self.embedding.shape[1] != self.predicted_embedding.shape[1]:
            raise DatasetError(
                f"predicted_embedding: has {self.predicted_embedding.shape[1]} dimensions, "
                f"embedding has {self.embedding.shape[1]}"
            )

    def check_against(self, data: TransitionDataset) -> None:
        """Raise `DatasetError` unless the arrays have one row an observation and transition of `data`."""
        expected = {
            "embedding": (data.frames,),
            "predicted_embedding": (len(data),),
            "predicted_auxiliary": data.auxiliary.shape,
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape[: len(shape)]
            if found != shape or (name == "predicted_auxiliary" and getattr(self, name).ndim != len(shape)):
                raise DatasetError(f"{name}: is {getattr(self, name).shape}, the transitions ask for {shape}")

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
        embedding = np.concatenate([np.asarray(encode(piece)) for piece in chunks(data.observation)])
        if embedding.ndim != 2 or len(embedding) != data.frames:
            raise DatasetError(f"encode: must return (B, d), made {embedding.shape} of {data.frames} observations")
        action = data.action[:, None] if data.action_value is None else data.action_value
        predicted, values = [], []
        for start in range(0, len(data), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            source = embedding[data.source[rows]]
            predicted.append(np.asarray(predict(source, action[rows])))
            values.append(np.asarray(auxiliary(source)))
        representation = cls(embedding, np.concatenate(predicted), np.concatenate(values))
        representation.check_against(data)
        return representation
