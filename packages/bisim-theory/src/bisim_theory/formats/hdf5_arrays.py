"""Arrays of HDF5 files, read with h5py without following links out of the file."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.console import install_extra
from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.frames import LazyFrames
from bisim_theory.formats.limits import FREE_BYTES, byte_count, damaged, first_line, plain, shown

SIGNATURE = b"\x89HDF\r\n\x1a\n"


KEPT = 1 << 12
"""Most bytes of an array that is read as it is opened, as an episode of a few steps has many; both take as long."""


_MOST_GROUPS = 100
"""Most groups that are looked into for the size of a row."""


def is_hdf5(path: Path) -> bool:
    """Return whether a path is a file with the signature of HDF5, or named like one."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE or path.suffix in (".h5", ".hdf5")


def check_own(path: Path, name: str, dataset: Any) -> None:
    """Raise `DatasetError` unless a file holds the values of an array itself."""
    if dataset.is_virtual or dataset.external:
        raise DatasetError(f"{path}: {name}: is kept in other files; copy it into this one")


class StoredDataset(LazyFrames):
    """One array of an HDF5 file, of which only the header has been read, or all where it is at most `KEPT` bytes.

    Pickled it holds no values in either case.

    Args:
        file: the file.
        name: the path of the array in it.
        keep: whether to read it at once if it is small.

    Raises:
        DatasetError: it is damaged, holds no numbers, or its values are in other files.
    """

    def __init__(self, file: "Hdf5File", name: str, keep: bool = True) -> None:
        self.path, self.name, self._file = file.path, name, file
        path, dataset = file.path, file.node(name)
        if not hasattr(dataset, "chunks"):
            raise DatasetError(f"{path}: {name}: is a group, must be an array")
        check_own(path, name, dataset)
        shape, chunks = dataset.shape, dataset.chunks
        self.dtype: np.dtype[Any] = dataset.dtype
        if shape is None or self.dtype.kind not in "biuf" or self.dtype.itemsize > 8:
            raise DatasetError(f"{path}: {name}: must hold numbers, is {shown(str(self.dtype))}")
        if chunks is not None:  # without chunks there are no filters
            file.require_filters(name, dataset)
            if byte_count(chunks, self.dtype.itemsize) > FREE_BYTES:
                raise DatasetError(f"{path}: {name}: is stored in chunks {chunks}, too large to be read in pieces")
        self.shape = tuple(int(n) for n in shape)
        self._kept: NDArray[Any] | None = None
        if keep and self.nbytes <= KEPT:
            with contextlib.suppress(Exception):  # a damaged one is refused where it is needed
                self._kept = plain(np.asarray(dataset[()]))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}  # a pickle holds no values; its copy reads them from the file

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return byte_count(self.shape, self.dtype.itemsize)

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Read the rows of a range."""
        return self._read(slice(start, stop))

    def _read(self, rows: Any) -> NDArray[Any]:
        if self._kept is not None:
            return np.array(self._kept[rows])
        # Opened for each read: HDF5 keeps a cache for every open array, and there may be thousands.
        try:
            return plain(np.asarray(self._file.node(self.name)[rows]))
        except (DatasetError, MemoryError):
            raise
        except Exception as error:  # a damaged file can raise almost anything
            raise damaged(f"{self.path}: {self.name}", error) from None

    def read(self) -> NDArray[Any]:
        """Read the whole array."""
        return self._read(())


def _unopened(path: Path, error: Exception) -> DatasetError:
    """Return the error for a file that h5py does not open; one that is being written is not called damaged."""
    text = first_line(error)
    if isinstance(error, BlockingIOError) or "already open for write" in text:
        return DatasetError(
            f"{path}: is still open for writing, or was not closed by its writer; close it and read it again (if its "
            f"writer is gone, h5clear -s {path} marks it as closed)"
        )
    return DatasetError(f"{path}: is no HDF5 file, or a damaged one ({text})")


class Hdf5File:
    """An HDF5 file, open for reading. Pickled it is a path, and opened again.

    Args:
        path: the file.

    Raises:
        DatasetError: the file is damaged.
        ImportError: h5py is not installed.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self.path, self._h5py = path, h5py
        try:
            self._root = h5py.File(path, "r")
        except (FileNotFoundError, PermissionError) as error:
            raise damaged(str(path), error) from None
        except Exception as error:
            raise _unopened(path, error) from None
        self._recent: tuple[str, Any] = ("", self._root)

    def __reduce__(self) -> tuple[type["Hdf5File"], tuple[Path]]:
        return Hdf5File, (self.path,)

    def require_filters(self, name: str, dataset: Any) -> None:
        """Register the filters that an array was compressed with.

        Raises:
            DatasetError: one is not installed.
        """
        stored = dataset.id.get_create_plist()
        for number in range(stored.get_nfilters()):
            code, _, _, text = stored.get_filter(number)
            if not self._h5py.h5z.filter_avail(code) and not self._in_plugins(code):
                known = text.decode(errors="replace") or "an unnamed filter"
                raise DatasetError(
                    f"{self.path}: {name}: is compressed by {shown(known)} (HDF5 filter {code}), which needs the "
                    f"package hdf5plugin, or another that has it: {install_extra('hdf5')}"
                )

    def _in_plugins(self, code: int) -> bool:
        """Return whether hdf5plugin, which registers its filters when it is imported, has one."""
        try:
            import hdf5plugin  # noqa: F401
        except ImportError:
            return False
        return bool(self._h5py.h5z.filter_avail(code))

    def lengths_vary(self, dataset: Any) -> bool:
        """Return whether an array holds a number of bytes of its own for each row."""
        return self._h5py.check_vlen_dtype(dataset.dtype) == np.uint8

    def names(self, group: str = "") -> dict[str, bool]:
        """Return name -> whether it is a group, of the members of a group; links to elsewhere are left out."""
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
        """Return whether a member of a group is no link to another file or place."""
        return node.id.links.get_info(name.encode()).type == self._h5py.h5l.TYPE_HARD

    def node(self, name: str) -> Any:
        """Return the group or array of a name, which the file itself must hold.

        Raises:
            DatasetError: it is missing or damaged, or a link to elsewhere.
        """
        recent, node = self._recent  # once, as another thread may replace it
        if name in ("", recent):
            return node if name else self._root
        parent, _, last = name.rpartition("/")
        group = self.node(parent)
        if group is not node:
            self._recent = (parent, group)  # arrays of one group are mostly opened in a row
        try:
            own = self._is_own(group, last)
            node = group[last] if own else None
        except KeyError as error:
            raise DatasetError(f"{self.path}: {name}: is missing, or damaged ({first_line(error)})") from None
        except Exception as error:
            if "name doesn't exist" in str(error):
                raise DatasetError(f"{self.path}: {name}: is missing") from None
            raise DatasetError(f"{self.path}: {name}: is damaged ({first_line(error)})") from None
        if node is None:
            raise DatasetError(f"{self.path}: {name}: is a link to elsewhere; copy its target into the file")
        return node

    def array(self, name: str, keep: bool = True) -> StoredDataset:
        """Open the array of a name, and read it if it is small and `keep` is true.

        Raises:
            DatasetError: it cannot be read, is a single value, or `StoredDataset` refuses it.
        """
        try:
            stored = StoredDataset(self, name, keep)
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(f"{self.path}: {name}: is damaged ({first_line(error)})") from None
        if not stored.shape:
            raise DatasetError(f"{self.path}: {name}: is a single value, must have rows")
        return stored


def column_sizes(file: Hdf5File, groups: Sequence[str], counted: str) -> tuple[int, int]:
    """Return how many rows an array of some groups has, and how many bytes a row has in all arrays of the first group.

    Arrays of more than two axes, such as images, are not counted, as they are read in pieces.

    Args:
        file: the file.
        groups: names of groups; ``""`` is the root.
        counted: name of an array in each, one row of which is counted as one.

    Raises:
        DatasetError: it is missing or damaged.
    """
    rows = sum(file.array(f"{group}/{counted}".lstrip("/"), keep=False).shape[0] for group in groups)
    row_bytes, pending = 0, [groups[0]]
    for place in pending:  # grows as groups are found
        for name, group in file.names(place).items():
            path = f"{place}/{name}".lstrip("/")
            shape = () if group else file.node(path).shape
            if group and len(pending) < _MOST_GROUPS:
                pending.append(path)
            elif shape and len(shape) < 3:
                row_bytes += byte_count(shape[1:], file.node(path).dtype.itemsize)
    return rows, row_bytes


def names_in(path: Path, group: str = "") -> dict[str, bool]:
    """Return what `Hdf5File.names` does; nothing where the file cannot be read, or h5py is not installed."""
    if not is_hdf5(path):
        return {}
    try:
        return Hdf5File(path).names(group)
    except (DatasetError, ImportError):
        return {}
