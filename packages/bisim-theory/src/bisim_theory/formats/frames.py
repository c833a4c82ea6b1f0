"""Lazy views of stored frames."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Frames, Ids


class Rows(Protocol):
    """An array that can be indexed by rows, such as a memory map."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return rows by a slice or by indices."""


class PickedFrames:
    """Some rows of an array, read on access.

    Args:
        array: (N, ...) with random access.
        rows: (M,) indices of the rows, in order.
    """

    def __init__(self, array: Rows, rows: Ids) -> None:
        self._array, self._rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read the frames of a slice."""
        return np.asarray(self._array[self._rows[rows]])


class JoinedFrames:
    """Several stores of frames, concatenated.

    Args:
        parts: stores of frames of one shape and type.
    """

    def __init__(self, parts: Sequence[Frames]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read the frames of a slice of step 1, from the parts that it touches."""
        start, stop, _ = rows.indices(self.shape[0])
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        part = int(np.searchsorted(self._starts, start, "right")) - 1
        while part < len(self._parts) and self._starts[part] < stop:
            first = int(self._starts[part])
            low, high = max(start, first), min(stop, int(self._starts[part + 1]))
            if low < high:
                out[low - start : high - start] = self._parts[part][low - first : high - first]
            part += 1
        return out


class ChannelsLast:
    """A view of images (F, C, H, W) as (F, H, W, C)."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        count, channels, *size = frames.shape
        self.shape = (count, *size, channels)
        self.dtype = frames.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read the frames of a slice."""
        return np.moveaxis(np.asarray(self._frames[rows]), 1, -1)


def images_last(frames: Frames) -> Frames:
    """Move the channels of uint8 images last where they are first; return other frames as they are."""
    shape = frames.shape
    if len(shape) == 4 and frames.dtype == np.uint8 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4):
        return ChannelsLast(frames)
    return frames
