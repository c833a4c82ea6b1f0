"""Embeddings and predictions of a model in a file or folder, which are read in pieces."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.representation import DIMENSIONS, OPTIONAL, Representation, RepresentationError
from bisim_theory.data.transitions import LARGEST, DatasetError, usable
from bisim_theory.formats.arrow import ParquetColumn, ParquetFile
from bisim_theory.formats.frames import LazyFrames, PlainFrames
from bisim_theory.formats.limits import check_expansion, stored_bytes
from bisim_theory.formats.npz_arrays import StoredArray, StoredFrames, array_names

CONSTANTS = ("lipschitz_dynamics", "lipschitz_auxiliary")
REQUIRED = ("embedding", "predicted_embedding", "predicted_auxiliary")
OF_OBSERVATIONS = ("embedding", "predicted_observation_auxiliary")
"""Arrays with a row for each observation; the others have one for each transition."""

FOLDERS = ("observations", "transitions")
"""Folders of a representation in Parquet files."""


@dataclass(frozen=True)
class StoredRepresentation:
    """The fields of a `Representation`, of which rows are read when they are asked for.

    Attributes:
        path: the file or folder, for messages.
        arrays: name -> (F, ...) or (N, ...) floats, those that are there.
        constants: name -> Lipschitz constant, those that are there.
    """

    path: Path
    arrays: dict[str, LazyFrames]
    constants: dict[str, float]

    def __post_init__(self) -> None:
        for name in REQUIRED:
            if name not in self.arrays:
                raise RepresentationError(f"{self.path}: {name}: is missing; there must be {', '.join(REQUIRED)}")
        # The checks of types and shapes are those of arrays in memory, made of a row of each.
        self.part({name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in self.arrays.items()})

    def part(self, arrays: dict[str, NDArray[Any]]) -> Representation:
        """Return a representation of some rows.

        Raises:
            DatasetError: an array has a wrong shape or type, or is not finite; the message names it.
        """
        fields: dict[str, Any] = {**arrays, **self.constants}
        try:
            return Representation(**fields)
        except DatasetError as error:
            raise RepresentationError(f"{self.path}: {error}") from None

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read a range of an array.

        Raises:
            DatasetError: it is damaged, or a row is not finite.
        """
        piece = self.arrays[name][start:stop]
        good = usable(piece)
        if not good.all():
            row = start + int(np.argwhere(~good)[0][0])
            raise RepresentationError(f"{self.path}: {name}: row {row} is not finite, or beyond {LARGEST:g}")
        return np.asarray(piece)


def open_representation(path: Path, spill: Path) -> StoredRepresentation:
    """Open ``representation.npz``, or a folder of Parquet files with the same columns.

    The folder has part files in ``observations``, of columns with a row for each observation, and in ``transitions``.

    Args:
        path: the file or folder.
        spill: where arrays are unpacked that the file holds compressed.

    Raises:
        DatasetError: it is missing, damaged or does not follow the schema.
        ImportError: pyarrow is not installed, for a folder.
    """
    if path.is_dir():
        return StoredRepresentation(path, dict(_columns(path)), {})
    if not path.is_file():
        raise DatasetError(f"{path}: {'is no regular file' if path.exists() else 'does not exist'}")
    names = [name for name in array_names(path) if name in (*REQUIRED, *OPTIONAL)]
    stored = {name: StoredFrames(path, name) for name in names if name not in CONSTANTS}
    check_expansion(str(path), 0, sum(array.nbytes for array in stored.values()), stored_bytes(path))
    constants = {name: _constant(path, name) for name in names if name in CONSTANTS}
    return StoredRepresentation(path, {name: _plain(array, spill) for name, array in stored.items()}, constants)


def _constant(path: Path, name: str) -> float:
    array = StoredArray(path, name)
    if array.shape != () or array.dtype.kind not in "iuf":
        raise DatasetError(f"{path}: {name}: must be one number, is {array.shape} {array.dtype}")
    return float(array.read())


def _plain(array: StoredFrames, spill: Path) -> LazyFrames:
    """Return frames that are read in any order: where they lie, or from a copy that is not compressed."""
    if array.random_access:
        return PlainFrames(array.path, array.dtype, array.shape, array.position())
    copy = spill / f"{array.name}.bin"
    with open(copy, "wb") as file:
        for start in range(0, array.shape[0], rows := 1 << 14):
            file.write(np.ascontiguousarray(array[start : start + rows]).data)
    return PlainFrames(copy, array.dtype, array.shape)


def _columns(path: Path) -> Iterator[tuple[str, LazyFrames]]:
    for place in FOLDERS:
        folder = path / place
        if not folder.is_dir():
            raise DatasetError(f"{folder}: is missing; a representation has the folders {' and '.join(FOLDERS)}")
        try:
            paths = sorted(each for each in folder.iterdir() if each.suffix == ".parquet")
        except OSError as error:
            raise DatasetError(f"{folder}: cannot be read ({error.strerror})") from None
        files = [ParquetFile(each) for each in paths]
        if not files:
            raise DatasetError(f"{folder}: holds no *.parquet")
        for name in files[0].names:
            if name in DIMENSIONS and (name in OF_OBSERVATIONS) == (place == "observations"):
                yield name, ParquetColumn(str(path), files, name)


def read_folder(path: Path) -> Representation:
    """Read a folder of Parquet files with the columns of a representation into memory.

    Raises:
        DatasetError: as for `open_representation`.
    """
    stored = open_representation(path, path)
    return stored.part({name: array[:] for name, array in stored.arrays.items()})
