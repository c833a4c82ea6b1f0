"""Columns of files that are read in pieces: conversion of their values, and checks of all of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import BYTES_AT_ONCE, Frames, is_label
from bisim_theory.formats.frames import LazyFrames
from bisim_theory.formats.limits import byte_count

Column = Frames
"""Values along the first axis: an array in memory, or `LazyFrames`, of which a slice is read."""

ROWS_AT_ONCE = 1 << 16
"""Most rows of columns in memory at a time, of those that are read in pieces."""


class ConvertedColumn(LazyFrames):
    """A column whose values are converted as they are read.

    Args:
        column: the column.
        convert: converts rows (B, ...), each by itself.
    """

    def __init__(self, column: Column, convert: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._column, self._convert = column, convert
        none = convert(np.empty((0, *column.shape[1:]), column.dtype))
        self.shape, self.dtype = (column.shape[0], *none.shape[1:]), none.dtype

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read and convert the rows of a range."""
        return self._convert(np.asarray(self._column[start:stop]))


class RepeatedColumn(LazyFrames):
    """A number for each episode, repeated in each of its rows.

    Args:
        values: (E,) numbers.
        lengths: (E,) rows of each episode.
    """

    def __init__(self, values: NDArray[Any], lengths: NDArray[Any]) -> None:
        self._values, self._ends = values, np.cumsum(lengths)
        self.shape, self.dtype = (int(lengths.sum()),), values.dtype

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows of a range."""
        return self._values[np.searchsorted(self._ends, np.arange(start, stop), "right")]


def converted(column: Column, convert: Callable[[NDArray[Any]], NDArray[Any]]) -> Column:
    """Convert the values of a column, at once where they are in memory."""
    return convert(column) if isinstance(column, np.ndarray) else ConvertedColumn(column, convert)


def one_column(column: Column) -> Column:
    """Return (F, 1) numbers as (F,), and others as they are."""
    return converted(column, lambda values: values[:, 0]) if column.shape[1:] == (1,) else column


def flattened(column: Column) -> Column:
    """Return numbers of more than two axes as (F, k), and others as they are."""
    return column if len(column.shape) < 3 else converted(column, lambda values: values.reshape(len(values), -1))


def pieces(column: Column) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield a column in pieces, with the row at which each begins; one that is in memory as a whole."""
    whole = isinstance(column, np.ndarray)
    row_bytes = max(byte_count(column.shape[1:], column.dtype.itemsize), 1)
    rows = column.shape[0] if whole else max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // row_bytes))
    for start in range(0, column.shape[0], max(rows, 1)):
        yield start, np.asarray(column[start : start + rows])


def binary(column: Column) -> bool:
    """Return whether a column is (F,) of 0 and 1 alone."""
    return len(column.shape) == 1 and all(bool(((piece == 0) | (piece == 1)).all()) for _, piece in pieces(column))


def held(column: LazyFrames, hold: bool) -> Column:
    """Read a column into memory if `hold`."""
    return column[:] if hold else column


def is_label_column(name: str, column: Column) -> bool:
    """Return whether a column can be a label of that name: finite numbers (F,) or (F, k)."""
    return all(is_label(name, piece) for _, piece in pieces(column))
