"""Columns of Arrow tables, as Parquet and Lance hold them, converted to NumPy arrays."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.frames import LazyFrames
from bisim_theory.formats.limits import PIECE, first_line, plain, shown

_DEEPEST = 8
_WIDEST = 8  # bytes of a number


class ParquetFile:
    """One Parquet file; only its footer has been read.

    Args:
        path: the file.

    Raises:
        DatasetError: the file is damaged.
        ImportError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self.path = path
        try:
            self._file = pyarrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
            self.rows = int(self._file.metadata.num_rows)
            self.schema: Any = self._file.schema_arrow
            self.names: list[str] = list(self.schema.names)
        except Exception as error:  # a damaged file can raise almost anything
            raise DatasetError(f"{path}: is no Parquet file, or a damaged one ({first_line(error)})") from None

    @functools.cached_property
    def group_rows(self) -> list[int]:
        """Return the number of rows of each group of rows."""
        try:
            return [int(self._file.metadata.row_group(number).num_rows) for number in range(self._file.num_row_groups)]
        except Exception as error:
            raise DatasetError(f"{self.path}: is damaged ({first_line(error)})") from None

    def number_type(self, name: str) -> np.dtype[Any]:
        """Return the type of the numbers of a column, or of those in its lists.

        Raises:
            DatasetError: it is missing, or holds no numbers.
        """
        if name not in self.names:
            raise DatasetError(f"{self.path}: {shown(name)}: is missing")
        import pyarrow
        import pyarrow.types as types

        kind = self.schema.field(name).type
        if not is_numeric(kind):
            raise DatasetError(f"{self.path}: {shown(name)}: must hold numbers, is {shown(str(kind))}")
        while hasattr(kind, "storage_type") or hasattr(kind, "value_type"):
            kind = kind.storage_type if hasattr(kind, "storage_type") else kind.value_type
        dtype: np.dtype[Any] = pyarrow.array([], kind).to_numpy(zero_copy_only=False).dtype
        return np.dtype(bool) if types.is_boolean(kind) else dtype

    def read_group(self, group: int, name: str) -> NDArray[Any]:
        """Read a column of a group of rows, (B, ...).

        Raises:
            DatasetError: it is missing, damaged, or holds no numbers of one shape.
        """
        if name not in self.names:
            raise DatasetError(f"{self.path}: {shown(name)}: is missing")
        try:
            table = self._file.read_row_group(group, columns=[name], use_threads=False)
            table.validate(full=True)
        except Exception as error:
            raise DatasetError(f"{self.path}: is damaged ({first_line(error)})") from None
        if table.num_rows != self.group_rows[group]:
            raise DatasetError(f"{self.path}: declares {self.group_rows[group]} rows and has {table.num_rows}")
        return to_numpy(f"{self.path}: {name}", table.column(name))

    def nbytes(self, names: list[str]) -> int:
        """Return the bytes that the footer declares for some columns, decompressed and decoded."""
        declared, prefixes = 0, tuple(f"{name}." for name in names)
        try:
            for number in range(self._file.num_row_groups):
                group = self._file.metadata.row_group(number)
                for place in range(group.num_columns):
                    column = group.column(place)
                    if f"{column.path_in_schema}.".startswith(prefixes):
                        declared += max(int(column.total_uncompressed_size), _WIDEST * int(column.num_values))
        except Exception as error:
            raise DatasetError(f"{self.path}: is damaged ({first_line(error)})") from None
        return declared

    def read(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """Read columns, each (N, ...).

        Raises:
            DatasetError: a column is missing, damaged, or holds no numbers of one shape.
        """
        for name in names:
            if name not in self.names:
                raise DatasetError(f"{self.path}: {shown(name)}: is missing")
        try:
            table = self._file.read(columns=names, use_threads=False)
            table.validate(full=True)
        except Exception as error:
            raise DatasetError(f"{self.path}: is damaged ({first_line(error)})") from None
        if table.num_rows != self.rows or self.rows < 0:
            raise DatasetError(f"{self.path}: declares {self.rows} rows and has {table.num_rows}")
        return {name: to_numpy(f"{self.path}: {name}", table.column(name)) for name in names}


class ParquetColumn(LazyFrames):
    """A column of several Parquet files, which is read by their groups of rows.

    Args:
        what: name of the dataset, for messages.
        files: the files, in order.
        name: name of the column.

    Raises:
        DatasetError: it is missing, damaged, or holds no numbers.
    """

    def __init__(self, what: str, files: Sequence[ParquetFile], name: str) -> None:
        self._what, self._name, self._files = what, name, files
        self._groups = [(file, group) for file in files for group in range(len(file.group_rows))]
        self._ends = np.cumsum([rows for file in files for rows in file.group_rows], dtype=np.int64)
        self._recent: tuple[int, NDArray[Any]] | None = None
        self.shape = (int(self._ends[-1]) if len(self._ends) else 0,)
        first = self._group(0) if len(self._ends) else np.empty(0)
        self.shape = (*self.shape, *first.shape[1:])
        self.dtype = np.result_type(first.dtype, *(file.number_type(name) for file in files))

    def _group(self, place: int) -> NDArray[Any]:
        recent = self._recent
        if recent is None or recent[0] != place:
            file, group = self._groups[place]
            recent = self._recent = place, file.read_group(group, self._name)
        return recent[1]

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the rows of a range, from the groups that it touches."""
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        place = int(np.searchsorted(self._ends, start, "right"))
        while place < len(self._ends) and (self._ends[place - 1] if place else 0) < stop:
            values = self._group(place)
            if values.shape[1:] != self.shape[1:]:
                raise DatasetError(f"{self._what}: {self._name}: has other shapes in other files")
            first = int(self._ends[place]) - len(values)
            low, high = max(start, first), min(stop, int(self._ends[place]))
            out[low - start : high - start] = values[low - first : high - first]
            place += 1
        return out


def is_numeric(kind: Any) -> bool:
    """Return whether an Arrow type is that of numbers, or of lists of them at any depth."""
    import pyarrow.types as types

    for _ in range(_DEEPEST):
        if hasattr(kind, "storage_type"):
            kind = kind.storage_type
        elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            kind = kind.value_type
        else:
            return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))
    return False


def to_numpy(what: str, column: Any, if_missing: str = "fill it in, or leave the column out") -> NDArray[Any]:
    """Convert a column of numbers, or of lists of one shape, to an array (N, ...).

    Args:
        what: the name of the column, for messages.
        column: an Arrow array, in one piece or several.
        if_missing: what to do about a missing value, for messages.

    Raises:
        DatasetError: it holds other things than numbers, a missing value, or lists of different lengths.
    """
    import pyarrow
    import pyarrow.types as types

    if not is_numeric(column.type):
        raise DatasetError(f"{what}: must hold numbers, is {shown(str(column.type))}")
    pieces = column.chunks if isinstance(column, pyarrow.ChunkedArray) else [column]
    pieces = [piece for piece in pieces if len(piece)] or [pyarrow.array([], column.type)]
    arrays = []
    for piece in pieces:
        shape = [len(piece)]
        while True:
            if hasattr(piece.type, "storage_type"):
                piece = piece.storage
            elif piece.null_count:
                raise DatasetError(f"{what}: a value is missing (null); {if_missing}")
            elif types.is_list(piece.type) or types.is_large_list(piece.type) or types.is_fixed_size_list(piece.type):
                width = _width(what, piece)
                shape.append(width)
                piece = piece.flatten()
            else:
                break
        if min(shape[1:], default=1) == 0 and shape[0] > PIECE:
            raise DatasetError(f"{what}: has the shape {tuple(shape)}")
        arrays.append(plain(piece.to_numpy(zero_copy_only=False).reshape(shape)))
    if len({array.shape[1:] for array in arrays}) > 1:
        raise DatasetError(f"{what}: has rows of different lengths")
    return np.concatenate(arrays)


class Filled:
    """An array (rows, ...) that is filled in pieces. Whole numbers take 32 bits as long as they fit.

    Args:
        rows: number of rows of all pieces together.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._end = rows, 0
        self._array: NDArray[Any] | None = None

    @property
    def array(self) -> NDArray[Any]:
        """Return the array, after the last piece."""
        return np.empty(0, np.int32) if self._array is None else self._array

    def add(self, what: str, piece: NDArray[Any]) -> None:
        """Append a piece.

        Raises:
            DatasetError: its rows have another shape than those before; `what` names the column.
        """
        kind = _narrowed(piece)
        if self._array is None:
            self._array = np.empty((self._rows, *piece.shape[1:]), kind)
        if piece.shape[1:] != self._array.shape[1:]:
            raise DatasetError(f"{what}: has rows of different lengths")
        if kind != self._array.dtype:
            self._array = self._array.astype(np.promote_types(kind, self._array.dtype), copy=False)
        self._array[self._end : self._end + len(piece)] = piece
        self._end += len(piece)


def _narrowed(piece: NDArray[Any]) -> np.dtype[Any]:
    """Return the type of a piece, or int32 in place of wider whole numbers that fit it."""
    if piece.dtype.kind not in "iu" or piece.dtype.itemsize < 4 or not piece.size:
        return piece.dtype
    narrow = np.iinfo(np.int32)
    fits = narrow.min <= int(piece.min()) and int(piece.max()) <= narrow.max
    return np.dtype(np.int32) if fits else piece.dtype


def _width(what: str, piece: Any) -> int:
    """Return the length of the lists of a piece, all the same."""
    import pyarrow.types as types

    if types.is_fixed_size_list(piece.type):
        return int(piece.type.list_size)
    lengths = piece.value_lengths().to_numpy(zero_copy_only=False)
    if len(lengths) and (lengths != lengths[0]).any():
        raise DatasetError(f"{what}: has rows of different lengths")
    return int(lengths[0]) if len(lengths) else 0
