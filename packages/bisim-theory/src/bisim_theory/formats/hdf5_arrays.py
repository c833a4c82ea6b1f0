"""Arrays of HDF5 files, by the package h5py, without following what points out of the file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.limits import FREE_BYTES, byte_count, first_line, plain, shown

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class StoredDataset:
    """One array of an HDF5 file, of which only the header has been read.

    Args:
        file: the file.
        name: the array's place in it.

    Raises:
        DatasetError: it is damaged, holds no numbers, or its values are kept in other files.
    """

    def __init__(self, file: "Hdf5File", name: str) -> None:
        self.path, self.name, self._file = file.path, name, file
        path, dataset = file.path, file.node(name)
        if not hasattr(dataset, "chunks"):
            raise DatasetError(f"{path}: {name}: is a group, must be an array")
        if dataset.is_virtual or dataset.external:
            raise DatasetError(f"{path}: {name}: is kept in other files; copy it into this one")
        if dataset.shape is None or dataset.dtype.kind not in "biuf" or dataset.dtype.itemsize > 8:
            raise DatasetError(f"{path}: {name}: must hold numbers, is {shown(str(dataset.dtype))}")
        self.shape = tuple(int(n) for n in dataset.shape)
        self.dtype: np.dtype[Any] = dataset.dtype
        if dataset.chunks is not None and byte_count(dataset.chunks, self.dtype.itemsize) > FREE_BYTES:
            raise DatasetError(f"{path}: {name}: is stored in chunks {dataset.chunks}, too large to be read in pieces")

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return byte_count(self.shape, self.dtype.itemsize)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Rows of a slice."""
        return self._read(rows)

    def _read(self, rows: Any) -> NDArray[Any]:
        # Opened anew each time: HDF5 keeps a cache for every array that stays open, and there may be thousands.
        try:
            return plain(np.asarray(self._file.node(self.name)[rows]))
        except DatasetError:
            raise
        except Exception as error:  # a damaged file can raise almost anything
            raise DatasetError(f"{self.path}: {self.name}: is damaged ({first_line(error)})") from None

    def read(self) -> NDArray[Any]:
        """The whole array."""
        return self._read(())


class Hdf5File:
    """An HDF5 file, open for reading.

    Args:
        path: the file.
        kind: what the file is, for the message, such as ``"a Minari dataset"``.
        extra: the extra of this package that brings h5py.

    Raises:
        DatasetError: h5py is missing, or the file is damaged.
    """

    def __init__(self, path: Path, kind: str, extra: str) -> None:
        try:
            import h5py
        except ImportError:
            raise DatasetError(
                f"{path}: is {kind}, and reading it needs the extra {extra}: pip install 'bisim-theory[{extra}]'"
            ) from None
        self.path, self._h5py = path, h5py
        try:
            self._recent: tuple[str, Any] = ("", h5py.File(path, "r"))
            self._root = self._recent[1]
        except Exception as error:
            raise DatasetError(f"{path}: is no HDF5 file, or a damaged one ({first_line(error)})") from None

    def names(self, group: str = "") -> dict[str, bool]:
        """Name -> whether it is a group, of all that a group holds itself; links to elsewhere are left out."""
        node = self.node(group)
        found = {}
        try:
            for name in node:
                kind = node.get(name, getclass=True) if self._is_own(node, name) else None
                if kind is self._h5py.Group or kind is self._h5py.Dataset:
                    found[str(name)] = kind is self._h5py.Group
        except Exception as error:
            raise DatasetError(f"{self.path}: {group or 'its root'}: is damaged ({first_line(error)})") from None
        return found

    def _is_own(self, node: Any, name: str) -> bool:
        """Whether a name of a group is no link to another file or place."""
        return node.id.links.get_info(name.encode()).type == self._h5py.h5l.TYPE_HARD

    def node(self, name: str) -> Any:
        """What h5py has under a name, where the file itself holds it.

        Raises:
            DatasetError: it is missing or damaged, or a link to elsewhere.
        """
        if name in ("", self._recent[0]):
            return self._recent[1] if name else self._root
        parent, _, last = name.rpartition("/")
        group = self.node(parent)
        if group is not self._recent[1]:
            self._recent = (parent, group)  # the arrays of a group are mostly asked for one after the other
        try:
            own = self._is_own(group, last)
            node = group[last] if own else None
        except KeyError as error:
            raise DatasetError(f"{self.path}: {name}: is missing, or damaged ({first_line(error)})") from None
        except Exception as error:
            raise DatasetError(f"{self.path}: {name}: is damaged ({first_line(error)})") from None
        if node is None:
            raise DatasetError(f"{self.path}: {name}: is a link to elsewhere; copy what it stands for into the file")
        return node

    def array(self, name: str) -> StoredDataset:
        """The array of a name.

        Raises:
            DatasetError: it cannot be read, or `StoredDataset` refuses it.
        """
        try:
            return StoredDataset(self, name)
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(f"{self.path}: {name}: is damaged ({first_line(error)})") from None
