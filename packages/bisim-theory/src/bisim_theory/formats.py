"""Files in which transitions and representations are kept, read without executing anything they hold."""

import contextlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bisim_theory.files import atomic_write
from bisim_theory.representation import Representation
from bisim_theory.transitions import DatasetError, TransitionDataset

TRANSITIONS, REPRESENTATION = "transitions.npz", "representation.npz"
"""Names of the two files inside a run directory."""

_PIECE = 1 << 20
_REQUIRED = ("source", "action", "successor", "auxiliary")
_OPTIONAL = ("action_value", "reward", "terminated", "truncated", "episode")


# A damaged file can raise almost anything, from zipfile, from each compression, from NumPy's header parser: reading one
# therefore catches every Exception, and the message names the file and the array.


class StoredArray:
    """One array of an ``.npz`` file, of which only the header has been read.

    Args:
        path: the file.
        name: the array in it.

    Raises:
        DatasetError: the array cannot be read, or holds Python objects.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with self._open() as (file, size):
            version = npy.read_magic(file)
            read_header: Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]] = (
                npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            )
            self.shape, self._fortran, self.dtype = read_header(file)
            self._start = file.tell()
            expected = self.dtype.itemsize * int(np.prod([int(n) for n in self.shape], dtype=object))
            if self.dtype.hasobject:
                raise DatasetError(f"{path}: {name}: holds Python objects, which are never loaded; save numbers")
            if size - self._start != expected:
                raise DatasetError(f"{path}: {name}: says {expected} bytes and has {size - self._start}")

    @contextlib.contextmanager
    def _open(self):  # type: ignore[no-untyped-def]
        try:
            with zipfile.ZipFile(self.path) as archive:
                member = f"{self.name}.npy"
                with archive.open(member) as file:
                    yield file, archive.getinfo(member).file_size
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(f"{self.path}: {self.name}: is damaged ({_first_line(error)})") from None

    def _rows(self, file: IO[bytes], start: int, stop: int, row_bytes: int) -> NDArray[Any]:
        file.seek(self._start + start * row_bytes)
        data = _read_exactly(file, (stop - start) * row_bytes)
        return data.view(self.dtype).reshape(stop - start, *self.shape[1:])

    def read(self) -> NDArray[Any]:
        """The whole array."""
        with self._open() as (file, _):
            file.seek(self._start)
            data = _read_exactly(file, self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64)))
            if file.read(1):  # reading to the end makes zipfile compare the checksum
                raise DatasetError(f"{self.path}: {self.name}: is longer than it says")
            return data.view(self.dtype).reshape(self.shape, order="F" if self._fortran else "C")


class StoredFrames(StoredArray):
    """Images of an ``.npz`` file, read in order: consecutive slices continue where the last one ended."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        if self._fortran:
            raise DatasetError(f"{path}: {name}: is in Fortran order; save np.ascontiguousarray of it")
        self._stack = contextlib.ExitStack()
        self._file: IO[bytes] | None = None
        self._next = 0

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Frames of a slice; seeking backwards in compressed data starts again at the beginning."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise TypeError("frames in a file are read by slices of step 1, as in frames[10:20]")
        start, stop, _ = rows.indices(self.shape[0])
        stop = max(stop, start)
        if self._file is None or start != self._next:
            self._stack.close()
            archive = self._stack.enter_context(zipfile.ZipFile(self.path))
            self._file = self._stack.enter_context(archive.open(f"{self.name}.npy"))
        row_bytes = int(np.prod(self.shape[1:], dtype=np.int64))
        try:
            frames = self._rows(self._file, start, stop, row_bytes)
            if stop == self.shape[0]:
                self._file.read(1)  # the end: zipfile compares the checksum
                self._stack.close()
                self._file = None
        except Exception as error:
            self._stack.close()
            self._file = None
            raise DatasetError(f"{self.path}: {self.name}: is damaged ({_first_line(error)})") from None
        self._next = stop
        return frames


def _read_exactly(file: IO[bytes], size: int) -> NDArray[np.uint8]:
    """The next `size` bytes, read in pieces straight into their place, so that they are in memory only once."""
    data = np.empty(size, np.uint8)
    for start in range(0, size, _PIECE):
        piece = file.read(min(_PIECE, size - start))
        if len(piece) != min(_PIECE, size - start):
            raise EOFError("ends too early")
        data[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
    return data


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _array_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except FileNotFoundError:
        raise DatasetError(f"{path}: does not exist") from None
    except Exception as error:
        raise DatasetError(f"{path}: is no .npz file, or a truncated one ({_first_line(error)})") from None


def resolve(path: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """The transitions that `path` stands for, and the representation beside them where there is one.

    Raises:
        DatasetError: `path` is neither a file nor a run directory with ``transitions.npz``.
    """
    given = Path(path)
    if not given.exists():
        raise DatasetError(f"{given}: does not exist")
    transitions = given / TRANSITIONS if given.is_dir() else given
    if not transitions.is_file():
        raise DatasetError(f"{given}: holds no {TRANSITIONS}; give a run directory or a dataset file")
    representation = transitions.with_name(REPRESENTATION)
    return transitions, representation if representation.is_file() else None


def read_transitions(path: str | os.PathLike[str]) -> TransitionDataset:
    """Read ``transitions.npz`` (or the one of a run directory). Images stay in the file and are read when asked for.

    Raises:
        DatasetError: the file is missing, damaged or does not follow the schema; the message names file and field.
    """
    file, _ = resolve(path)
    names = _array_names(file)
    for name in _REQUIRED:
        if name not in names:
            raise DatasetError(f"{file}: {name}: is missing; needed are {', '.join(_REQUIRED)}")
    fields: dict[str, Any] = {
        name: StoredArray(file, name).read() for name in (*_REQUIRED, *_OPTIONAL) if name in names
    }
    if "observation" in names:
        fields["observation"] = StoredFrames(file, "observation")
    if "metadata" in names:
        fields["metadata"] = _read_metadata(file)
    known = {*_REQUIRED, *_OPTIONAL, "observation", "metadata"}
    fields["labels"] = {name: StoredArray(file, name).read() for name in names if name not in known}
    try:
        return TransitionDataset(**fields)
    except DatasetError as error:
        raise DatasetError(f"{file}: {error}") from None


def _read_metadata(file: Path) -> Mapping[str, Any]:
    array = StoredArray(file, "metadata").read()
    try:
        value = json.loads(str(array[()]))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: metadata: is no JSON ({_first_line(error)})") from None
    if not isinstance(value, dict):
        raise DatasetError(f"{file}: metadata: must be a JSON object")
    return value


def write_transitions(path: str | os.PathLike[str], data: TransitionDataset) -> None:
    """Write `data` as a compressed ``.npz`` file, whole or not at all."""
    arrays: dict[str, Any] = {name: getattr(data, name) for name in (*_REQUIRED, *_OPTIONAL)}
    arrays = {name: value for name, value in arrays.items() if value is not None}
    arrays |= data.labels
    if data.observation is not None:
        arrays["observation"] = data.observation[: data.frames]
    if data.metadata:
        arrays["metadata"] = np.array(json.dumps(data.metadata))
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)


def read_representation(path: str | os.PathLike[str]) -> Representation:
    """Read ``representation.npz``.

    Raises:
        DatasetError: the file is missing, damaged or does not follow the schema; the message names file and field.
    """
    file = Path(path)
    names = _array_names(file)
    fields = ("embedding", "predicted_embedding", "predicted_auxiliary")
    for name in fields:
        if name not in names:
            raise DatasetError(f"{file}: {name}: is missing; needed are {', '.join(fields)}")
    try:
        return Representation(**{name: StoredArray(file, name).read() for name in fields})
    except DatasetError as error:
        text = str(error)
        raise DatasetError(text if text.startswith(str(file)) else f"{file}: {text}") from None


def write_representation(
    path: str | os.PathLike[str],
    data: TransitionDataset,
    *,
    encode: Callable[[NDArray[np.uint8]], Any],
    predict: Callable[[NDArray[Any], NDArray[Any]], Any],
    auxiliary: Callable[[NDArray[Any]], Any],
) -> Representation:
    """Apply a model to a dataset and write ``representation.npz``, whole or not at all.

    Args:
        path: where to write.
        data: transitions with images.
        encode: E, images (B, H, W, C) uint8 -> embeddings (B, d).
        predict: T, embeddings (B, d) and actions (B, A), the `action_value` or else the codes as (B, 1) -> (B, d).
        auxiliary: P, embeddings (B, d) -> values (B,) or (B, k) in the units of p.

    Raises:
        DatasetError: the dataset has no images, or a callable returned something of the wrong shape or not finite.
    """
    representation = Representation.of(data, encode, predict, auxiliary)
    with atomic_write(path) as file:
        np.savez(
            file,
            embedding=representation.embedding,
            predicted_embedding=representation.predicted_embedding,
            predicted_auxiliary=representation.predicted_auxiliary,
        )
    return representation
