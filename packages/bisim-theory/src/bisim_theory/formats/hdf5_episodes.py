"""Arrays of many groups of an HDF5 file, one for each episode, as one column."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids
from bisim_theory.formats.frames import LazyFrames
from bisim_theory.formats.hdf5_arrays import Hdf5File
from bisim_theory.formats.limits import byte_count

Open = Callable[[str], LazyFrames]
"""Opens the array of a name."""


class EpisodeArrays(LazyFrames):
    """One array of every episode, after one another; of each but its length nothing is kept in memory.

    Numbers of different types are promoted.

    Attributes:
        groups, name: (E,) groups of the episodes, and the name of the array in each.
        lengths: (E,) rows of each.
        first_shape: shape of the first array.
        odd: name and shape of the first array that has other axes than the first one, but for the number of rows.
        mixed: name and type of the first array of bools where the first one holds numbers, or the reverse.
        nbytes: bytes in memory of all.

    Args:
        groups: (E,) groups of the episodes.
        name: name of the array in each.
        open_array: opens the array of a path.
        keep: whether to keep all of them open.
    """

    def __init__(self, groups: Sequence[str], name: str, open_array: Open, keep: bool) -> None:
        self.groups, self.name, self._open = groups, name, open_array
        self._kept: list[LazyFrames] | None = [] if keep else None
        self.odd: tuple[str, tuple[int, ...]] | None = None
        self.mixed: tuple[str, np.dtype[Any]] | None = None
        self.nbytes = 0
        self.lengths: Ids = np.empty(0, np.int64)
        self._ends: Ids = self.lengths
        self._rows: list[int] = []
        self._types: dict[np.dtype[Any], None] = {}

    def place(self, episode: int) -> str:
        """Return the path of the array of an episode."""
        return f"{self.groups[episode]}/{self.name}" if self.name else self.groups[episode]

    def add(self, episode: int) -> None:
        """Open the array of the next episode, and note its shape and type."""
        name = self.place(episode)
        array = self._open(name)
        if not self._types:
            self.first_shape, self.first_dtype = array.shape, array.dtype
        if self.odd is None and (not array.shape or array.shape[1:] != self.first_shape[1:]):
            self.odd = name, array.shape
        if self.mixed is None and (array.dtype == np.bool_) != (self.first_dtype == np.bool_):
            self.mixed = name, array.dtype
        self._types[array.dtype] = None
        self.nbytes += byte_count(array.shape, array.dtype.itemsize)
        self._rows.append(array.shape[0] if array.shape else 0)
        if self._kept is not None:
            self._kept.append(array)

    def finish(self) -> "EpisodeArrays":
        """Count the rows, after the last array."""
        self.dtype = np.result_type(*self._types)
        return self.resized(np.array(self._rows, np.int64))

    def resized(self, lengths: Ids) -> "EpisodeArrays":
        """Return the column with so many rows for each episode: zeros follow its own, or some of its own are left out.

        Args:
            lengths: (E,) rows of each.
        """
        other = copy.copy(self)
        other.lengths, other._ends = lengths, np.cumsum(lengths)
        other.shape = (int(lengths.sum()), *self.first_shape[1:])
        return other

    @property
    def path(self) -> Any:
        """Return the path of the file."""
        return getattr(self.part(0), "path", "")

    def part(self, episode: int) -> LazyFrames:
        """Return the array of an episode."""
        return self._open(self.place(episode)) if self._kept is None else self._kept[episode]

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the rows of a range, from the arrays that it touches."""
        out = np.zeros((stop - start, *self.shape[1:]), self.dtype)
        episode = int(np.searchsorted(self._ends, start, "right"))
        while episode < len(self._ends) and self._ends[episode] - self.lengths[episode] < stop:
            first = int(self._ends[episode] - self.lengths[episode])
            low, high = max(start, first), min(stop, int(self._ends[episode]))
            if low < high:
                part = self.part(episode)
                rows = part[low - first : min(high - first, len(part))]
                out[low - start : low - start + len(rows)] = rows
            episode += 1
        return out

    def require_one_shape(self) -> None:
        """Raise `DatasetError` unless all arrays have the same axes, but for the number of rows."""
        if self.odd is not None:
            name, shape = self.odd
            raise DatasetError(f"{self.path}: {name}: is {shape}, {self.place(0)} is {self.first_shape}")

    def require_one_kind(self) -> None:
        """Raise `DatasetError` where some arrays hold bools and others numbers."""
        if self.mixed is not None:
            name, dtype = self.mixed
            raise DatasetError(f"{self.path}: {name}: is {dtype}, and {self.place(0)} is {self.first_dtype}")


def open_episodes(
    file: Hdf5File, groups: Sequence[str], names: Sequence[str], keep: bool, open_array: Open | None = None
) -> dict[str, EpisodeArrays]:
    """Open arrays of all episodes, one episode after the other, which is faster.

    Args:
        file: the file.
        groups: the groups of the episodes.
        names: names of the arrays in each group.
        keep: whether to keep them open, and small ones in memory.
        open_array: opens one; None takes arrays of numbers.

    Returns:
        name -> column.

    Raises:
        DatasetError: an array is missing or damaged, or holds no numbers.
    """
    opens = functools.partial(file.array, keep=keep) if open_array is None else open_array
    columns = {name: EpisodeArrays(groups, name, opens, keep) for name in names}
    for episode in range(len(groups)):
        for column in columns.values():
            column.add(episode)
    return {name: column.finish() for name, column in columns.items()}
