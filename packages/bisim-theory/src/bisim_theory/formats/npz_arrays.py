"""Arrays of ``.npz`` files, read without holding more of them than is asked for."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.frames import LazyFrames
from bisim_theory.formats.limits import PIECE, byte_count, damaged, first_line, plain, shown, usable_name

# NumPy writes only these two; the others may expand without bound in one call.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_MOST_CURSORS = 8

# A damaged file can raise almost anything from zipfile, zlib and NumPy's header parser. Reading therefore catches every
# Exception, and the message names the file and the array.


class StoredArray:
    """One array of an ``.npz`` file; only its header has been read.

    Args:
        path: the file.
        name: the name of the array.

    Raises:
        DatasetError: the array cannot be read, or holds Python objects.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with self._open() as (file, info):
            version = npy.read_magic(file)
            read_header: Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]] = (
                npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            )
            shape, self._fortran, self.dtype = read_header(file)
            self.shape = tuple(int(n) for n in shape)
            self._start = file.tell()
            self._check(info.file_size - self._start)
            self._stored = info.compress_type == zipfile.ZIP_STORED
            self._header = info.header_offset

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return byte_count(self.shape, self.dtype.itemsize)

    def _check(self, found: int) -> None:
        if self.dtype.hasobject:
            raise DatasetError(f"{self.path}: {self.name}: holds Python objects, which are never loaded; save numbers")
        if self.dtype.kind not in "biufU" or self.dtype.itemsize == 0:
            raise DatasetError(f"{self.path}: {self.name}: must hold numbers, is {shown(str(self.dtype))}")
        if min(self.shape, default=0) < 0:
            raise DatasetError(f"{self.path}: {self.name}: has the shape {self.shape}")
        if self.nbytes != found:
            raise DatasetError(f"{self.path}: {self.name}: declares {self.nbytes} bytes and has {found}")

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[IO[bytes], zipfile.ZipInfo]]:
        with self._naming(), zipfile.ZipFile(self.path) as archive:
            info = archive.getinfo(f"{self.name}.npy")
            if info.compress_type not in _COMPRESSIONS:
                raise DatasetError(f"{self.path}: {self.name}: is compressed in a way that NumPy does not write")
            with archive.open(info) as file:
                yield file, info

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn every error into one that names the file and the array."""
        try:
            yield
        except (DatasetError, MemoryError):
            raise
        except Exception as error:
            raise damaged(f"{self.path}: {self.name}", error) from None

    def read(self) -> NDArray[Any]:
        """Read the whole array."""
        with self._open() as (file, _):
            file.seek(self._start)
            data = _read_exactly(file, self.nbytes)
            if file.read(1):  # reading to the end makes zipfile compare the checksum
                raise DatasetError(f"{self.path}: {self.name}: is longer than it declares")
            return plain(data.view(self.dtype).reshape(self.shape, order="F" if self._fortran else "C"))

    def read_integers(self) -> NDArray[Any]:
        """Read the whole array; one of integers in 32 bits where they all fit, without holding it in 64."""
        if self.dtype not in (np.int64, np.uint64) or len(self.shape) != 1:
            return self.read()
        with self._open() as (file, _):
            file.seek(self._start)
            pieces: list[NDArray[Any]] = []
            for start in range(0, self.nbytes, PIECE):
                piece = _read_exactly(file, min(PIECE, self.nbytes - start)).view(self.dtype)
                if piece.min() < np.iinfo(np.int32).min or piece.max() > np.iinfo(np.int32).max:
                    return self.read()
                pieces.append(piece.astype(np.int32))
            file.read(1)  # reading to the end makes zipfile compare the checksum
        return np.concatenate(pieces) if pieces else np.empty(0, np.int32)


class _Cursor:
    """An array of an archive that is being read forwards; `row` is the next row."""

    def __init__(self, path: Path, name: str) -> None:
        self._stack = contextlib.ExitStack()
        archive = self._stack.enter_context(zipfile.ZipFile(path))
        self.file = self._stack.enter_context(archive.open(f"{name}.npy"))
        self.row = 0

    def close(self) -> None:
        self._stack.close()


class StoredFrames(StoredArray, LazyFrames):
    """Observations of an ``.npz`` file.

    Uncompressed ones are read where they lie. In compressed ones a read that begins behind an earlier one goes on from
    there, and any other begins at the start of the array.
    """

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        if self._fortran and len(self.shape) > 1:
            raise DatasetError(f"{path}: {name}: is in Fortran order; save np.ascontiguousarray of it")
        self._row_bytes = byte_count(self.shape[1:], self.dtype.itemsize)
        self.random_access = self._stored
        self._forget_cursors()

    def _forget_cursors(self) -> None:
        self._cursors: list[_Cursor] = []
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_cursors", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget_cursors()

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the frames of a range."""
        if start == stop:
            return np.empty((0, *self.shape[1:]), self.dtype)
        with self._naming():
            cursor = self._take_cursor(start)
            if cursor is None and start > 0 and self._stored:
                data = self._read_in_place(start, stop)
            else:
                data = self._read_on(cursor or _Cursor(self.path, self.name), start, stop)
            return plain(data.view(self.dtype).reshape(stop - start, *self.shape[1:]))

    def _take_cursor(self, start: int) -> _Cursor | None:
        """Take the nearest cursor at or before a row, which no other thread then has."""
        if self._process != os.getpid():  # after a fork, positions in the open files are shared with the other process
            self._forget_cursors()
        far = 0 if self._stored else start
        while True:
            found = [cursor for cursor in list(self._cursors) if start - far <= cursor.row <= start]
            if not found:
                return None
            cursor = max(found, key=lambda each: each.row)
            with contextlib.suppress(ValueError):  # another thread was faster
                self._cursors.remove(cursor)
                return cursor

    def _read_on(self, cursor: _Cursor, start: int, stop: int) -> NDArray[np.uint8]:
        try:
            cursor.file.seek(self._start + start * self._row_bytes)
            data = _read_exactly(cursor.file, (stop - start) * self._row_bytes)
            if stop == self.shape[0]:
                cursor.file.read(1)  # the end: zipfile compares the checksum
        except BaseException:
            cursor.close()
            raise
        cursor.row = stop
        if stop == self.shape[0] or len(self._cursors) >= _MOST_CURSORS:
            cursor.close()
        else:
            self._cursors.append(cursor)
        return data

    def position(self) -> int:
        """Return where in the file the first row of an uncompressed array begins."""
        with open(self.path, "rb") as file:
            file.seek(self._header + 26)  # the lengths of the name and of the extra field, before the data
            name, extra = np.frombuffer(file.read(4), "<u2").tolist()
        return int(self._header + 30 + name + extra + self._start)

    def _read_in_place(self, start: int, stop: int) -> NDArray[np.uint8]:
        position = self.position()
        with open(self.path, "rb") as file:
            file.seek(position + start * self._row_bytes)
            return _read_exactly(file, (stop - start) * self._row_bytes)


def _read_exactly(file: IO[bytes], size: int) -> NDArray[np.uint8]:
    """Read the next `size` bytes. Memory grows with the bytes delivered, not with those declared."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(PIECE, size - len(data)))
        if not piece:
            raise EOFError("ends too early")
        data += piece
    return np.frombuffer(data, np.uint8)


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in an ``.npz`` file.

    Raises:
        DatasetError: it is no such file, or a name cannot be used.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except FileNotFoundError:
        raise DatasetError(f"{path}: does not exist") from None
    except Exception as error:
        raise DatasetError(f"{path}: is no .npz file, or a truncated one ({first_line(error)})") from None
    names = list(dict.fromkeys(name.removesuffix(".npy") for name in members if name.endswith(".npy")))
    for name in names:
        if not usable_name(name):
            raise DatasetError(f"{path}: holds an array with the unusable name {shown(name)}")
    return names
