"""Tables of Lance, read with pylance: columns of numbers whole, and images row by row."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.arrow import is_numeric, to_numpy
from bisim_theory.formats.limits import (
    byte_count,
    check_expansion,
    first_line,
    inside,
    stored_bytes,
    usable_name,
)

_COMPANIONS = ("_episodes", "_videos")
_WIDEST = 8  # bytes of a number


def find_table(path: Path) -> Path | None:
    """Return the folder of the table that a path is, or that the folder alone holds; else None."""
    if (path / "_versions").is_dir():
        return path
    tables = [table for table in path.glob("*.lance") if not table.stem.endswith(_COMPANIONS)]
    return tables[0] if len(tables) == 1 and (tables[0] / "_versions").is_dir() else None


_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def _holding_back_messages() -> Iterator[None]:
    """Hold back what Lance itself writes to standard error, and drop it where an error is raised instead.

    A panic prints several lines past Python, whoever catches it.
    """
    with _one_at_a_time, tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # standard error may be closed
            copy = os.dup(2)
            stack.callback(os.close, copy)
            stack.callback(os.dup2, copy, 2)
            os.dup2(held.fileno(), 2)
        yield
        stack.close()
        held.seek(0)
        sys.stderr.write(held.read().decode(errors="replace"))


class LanceTable:
    """A table of Lance; only its schema has been read. Pickled it is a path, and opened again.

    Attributes:
        path: its folder.
        rows: number of rows.
        numeric: names of the columns of numbers.
        images: names of the columns of bytes, which stable-worldmodel writes for images alone.
        unread: names of the others.

    Raises:
        DatasetError: the table is damaged, or leads out of its folder.
        ImportError: pylance is not installed.
    """

    def __init__(self, path: Path) -> None:
        os.environ.setdefault("LANCE_LOG", "error")  # its own words on a damaged file, which no user can use
        import lance
        import pyarrow.types as types

        self.path = path
        files = [inside(path, *file.relative_to(path).parts) for file in path.rglob("*") if not file.is_dir()]
        self.stored = stored_bytes(*files)
        with self._naming(""):
            self._dataset = lance.dataset(str(path.resolve()))
            self.rows = int(self._dataset.count_rows())
            schema = self._dataset.schema
        fields = [field for field in schema if usable_name(field.name)]
        self.numeric = [field.name for field in fields if is_numeric(field.type)]
        self.images = [
            field.name for field in fields if types.is_binary(field.type) or types.is_large_binary(field.type)
        ]
        self.unread = [field.name for field in fields if field.name not in (*self.numeric, *self.images)]
        self._widths = {name: _width(schema.field(name).type) for name in self.numeric}

    def __reduce__(self) -> tuple[type["LanceTable"], tuple[Path]]:
        return LanceTable, (self.path,)

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Name the table and the column in errors. A panic of Lance is no subclass of `Exception`."""
        what = f"{self.path}: {name}" if name else f"{self.path}"
        try:
            with _holding_back_messages():
                yield
        except DatasetError:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise DatasetError(f"{what}: is damaged ({first_line(error)})") from None

    def read(self) -> dict[str, NDArray[Any]]:
        """Read all columns of numbers; those of one number a row are (N,).

        Raises:
            DatasetError: a column is damaged, or the table expands beyond all measure.
        """
        declared = sum(byte_count((self.rows, width), _WIDEST) for width in self._widths.values())
        check_expansion(str(self.path), declared, 0, self.stored)
        with self._naming(""):
            table = self._dataset.to_table(columns=self.numeric)
            table.validate(full=True)
        if table.num_rows != self.rows:
            raise DatasetError(f"{self.path}: declares {self.rows} rows and has {table.num_rows}")
        columns = {}
        for name in self.numeric:
            values = np.array(to_numpy(f"{self.path}: {name}", table.column(name)))
            columns[name] = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        return columns

    def read_bytes(self, name: str, start: int, stop: int) -> list[bytes]:
        """Read rows of a column of bytes.

        Raises:
            DatasetError: it is damaged, or a value is missing.
        """
        with self._naming(name):
            values: list[bytes | None] = (
                self._dataset.take(list(range(start, stop)), columns=[name]).column(name).to_pylist()
            )
        found = [value for value in values if value is not None]
        if len(found) != stop - start:
            raise DatasetError(f"{self.path}: {name}: of rows {start} to {stop}, {len(found)} are there")
        return found


class LanceBlobs:
    """A column of encoded images.

    Args:
        table: the table.
        name: the name of the column.
    """

    def __init__(self, table: LanceTable, name: str) -> None:
        self._table, self._name = table, name
        self.what = f"{table.path}: {name}"

    def __len__(self) -> int:
        return self._table.rows

    def read(self, start: int, stop: int) -> list[bytes]:
        """Return the images of a range, as they are stored."""
        return self._table.read_bytes(self._name, start, stop)


def _width(kind: Any) -> int:
    """Return the numbers in a row of a type; 1 for lists of any length."""
    import pyarrow.types as types

    if types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    return 1
