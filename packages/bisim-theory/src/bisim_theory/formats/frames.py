"""Frames that stay in files and are indexed as an array is."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bisim_theory.data.transitions import BYTES_AT_ONCE, DatasetError, Frames, Ids, chunks, piece_rows
from bisim_theory.formats.limits import byte_count, plain

_GAP = 8
"""Most rows between two wanted ones that are read along, since a read costs more than some rows."""


class LazyFrames(ABC):
    """Frames that are read on access, indexed along their first axis as an array is.

    An index is a whole number, a slice of any step, or an array or list of whole numbers or of bools; the result is an
    array in memory. Any other index raises the same `TypeError` in every store. `numpy.asarray` reads all frames.
    Threads may read at a time, and so may processes that were forked or got the frames pickled.

    A subclass sets `shape` and `dtype`, and reads ranges. It sets `random_access` to False where a frame cannot be read
    without those before it.
    """

    random_access: bool = True

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the frames of a range, 0 <= start <= stop <= F."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for piece in chunks(self):
            yield from piece

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("frames in a file have no memory to share; an array of them is a copy")
        frames = self[:]
        return frames if dtype is None else frames.astype(dtype, copy=False)

    def __getitem__(self, rows: Any) -> Any:
        """Read the frames of an index.

        Raises:
            IndexError: the index is out of bounds.
            TypeError: the index is no whole number, slice, or array or list of whole numbers or bools.
            DatasetError: the file is damaged.
        """
        if isinstance(rows, slice):
            wanted = range(*rows.indices(len(self)))
            if wanted.step == 1:
                return self.read_range(wanted.start, max(wanted.start, wanted.stop))
            return self.read_rows(np.arange(wanted.start, wanted.stop, wanted.step))
        if isinstance(rows, SupportsIndex) and not isinstance(rows, bool | np.bool_ | np.ndarray):
            row = int(self._in_bounds(np.array(operator.index(rows))))
            return self.read_range(row, row + 1)[0]
        ids = self._ids(rows)
        return self.read_rows(ids.reshape(-1)).reshape(*ids.shape, *self.shape[1:])

    def _ids(self, rows: Any) -> Ids:
        """Return the non-negative ids of an array or list of whole numbers or bools."""
        listed = isinstance(rows, Sequence) and not isinstance(rows, tuple | str | bytes)
        ids = np.asarray(rows) if listed or isinstance(rows, np.ndarray) else None
        if ids is not None and ids.dtype == np.bool_ and ids.ndim == 1:
            if len(ids) != len(self):
                raise IndexError(f"a boolean index has {len(ids)} entries, and there are {len(self)} frames")
            return np.flatnonzero(ids)
        if ids is not None and listed and ids.size == 0:
            return ids.astype(np.int64)
        if ids is None or ids.dtype.kind not in "iu":
            raise TypeError(
                "frames are indexed along their first axis, by whole numbers, slices, or arrays of whole numbers or "
                "bools; numpy.asarray(frames) is an array"
            )
        return self._in_bounds(ids)

    def _in_bounds(self, ids: NDArray[Any]) -> Ids:
        wrong = (ids < -len(self)) | (ids >= len(self))
        if wrong.any():
            raise IndexError(f"index {ids[wrong].flat[0]} is out of bounds for {len(self)} frames")
        return np.where(ids < 0, ids + len(self), ids).astype(np.int64)

    def read_rows(self, ids: Ids) -> NDArray[Any]:
        """Read frames in any order, (B, ...), each file position once and forwards."""
        out = np.empty((len(ids), *self.shape[1:]), self.dtype)
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        for begin, end in _spans(ordered, piece_rows(self)):
            first = int(ordered[begin])
            piece = self.read_range(first, int(ordered[end - 1]) + 1)
            out[order[begin:end]] = piece[ordered[begin:end] - first]
        return out


def random_access(frames: Frames) -> bool:
    """Return whether frames can be read in any order, each without those before it."""
    return bool(getattr(frames, "random_access", True))


def _spans(ids: Ids, most: int) -> Iterator[tuple[int, int]]:
    """Yield bounds of runs of increasing ids without large gaps, each of which reaches over at most `most` rows."""
    begin = 0
    for end in [*(np.flatnonzero(np.diff(ids) > _GAP) + 1).tolist(), len(ids)]:
        while begin < end:
            stop = min(end, int(np.searchsorted(ids, ids[begin] + most)))
            yield begin, stop
            begin = stop


class PlainFrames(LazyFrames):
    """The first rows of a file of plain numbers.

    They are read and not mapped: pages of a map count as memory of the process, in the end all of them, and rows at
    random take many times as long, since the system reads ahead around each.

    Args:
        path: the file.
        dtype: type of the numbers.
        shape: (F, ...), of which the file holds at least F rows.
        offset: bytes before the first row.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int = 0) -> None:
        self.path, self.dtype, self.shape, self.offset = path, dtype, shape, offset

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the frames of a range."""
        row_bytes = byte_count(self.shape[1:], self.dtype.itemsize)
        data = np.empty((stop - start) * row_bytes, np.uint8)
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset + start * row_bytes)
            rest = data.data
            while len(rest):
                count = file.readinto(rest)
                if not count:
                    raise DatasetError(f"{self.path}: is damaged (it ends before row {stop})")
                rest = rest[count:]
        return plain(data.view(self.dtype).reshape(stop - start, *self.shape[1:]))


class PickedFrames(LazyFrames):
    """Some rows of other frames.

    Args:
        frames: the frames.
        rows: (M,) indices of the rows, in order.
    """

    def __init__(self, frames: LazyFrames, rows: Ids) -> None:
        self._frames, self._rows, self.random_access = frames, rows, random_access(frames)
        self.shape = (len(rows), *frames.shape[1:])
        self.dtype = frames.dtype

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the frames of a range."""
        return self._frames.read_rows(self._rows[start:stop])


class JoinedFrames(LazyFrames):
    """Several stores of frames, concatenated.

    Args:
        parts: stores of frames of one shape; numbers of different types are promoted.
    """

    def __init__(self, parts: Sequence[Frames]) -> None:
        self._parts, self.random_access = parts, all(map(random_access, parts))
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])
        self.dtype = np.result_type(*{part.dtype for part in parts})

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the frames of a range, from the parts that it touches."""
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        part = int(np.searchsorted(self._starts, start, "right")) - 1
        while part < len(self._parts) and self._starts[part] < stop:
            first = int(self._starts[part])
            low, high = max(start, first), min(stop, int(self._starts[part + 1]))
            if low < high:
                out[low - start : high - start] = self._parts[part][low - first : high - first]
            part += 1
        return out


class ChannelsLast(LazyFrames):
    """A view of images (F, C, H, W) as (F, H, W, C)."""

    def __init__(self, frames: Frames) -> None:
        self._frames, self.random_access = frames, random_access(frames)
        count, channels, *size = frames.shape
        self.shape = (count, *size, channels)
        self.dtype = frames.dtype

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the frames of a range."""
        return np.moveaxis(np.asarray(self._frames[start:stop]), 1, -1)


class FlatFrames(LazyFrames):
    """Several stores of frames side by side, each flattened, as one vector for each observation.

    Args:
        parts: stores with one row for each observation; numbers of different types are promoted.
    """

    def __init__(self, parts: Sequence[Frames]) -> None:
        self._parts, self.random_access = parts, all(map(random_access, parts))
        rows = parts[0].shape[0]
        self.shape = (rows, sum(int(np.prod(part.shape[1:], dtype=object)) for part in parts))
        self.dtype = np.result_type(*{part.dtype for part in parts})

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the frames of a range."""
        pieces = [np.asarray(part[start:stop]).reshape(stop - start, -1) for part in self._parts]
        return np.concatenate(pieces, axis=1, dtype=self.dtype)


def load_vectors(frames: LazyFrames) -> LazyFrames | NDArray[Any]:
    """Read vectors or numbers into memory where they are few, as many small reads of a file take long."""
    small = len(frames.shape) <= 2 and byte_count(frames.shape, frames.dtype.itemsize) <= BYTES_AT_ONCE
    return frames[:] if small else frames


def images_last(frames: Frames) -> Frames:
    """Move the channels of uint8 images last where they are first; return other frames as they are."""
    shape = frames.shape
    if len(shape) == 4 and frames.dtype == np.uint8 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4):
        return ChannelsLast(frames)
    return frames
