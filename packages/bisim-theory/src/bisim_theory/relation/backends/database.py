"""A DuckDB database in a folder of its own, which spills to disk and is gone afterwards."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.console import install_extra
from bisim_theory.data.transitions import DatasetError

PREFIX = "bisim-check-spill-"
"""Names of folders with spilled rows begin like this."""

LEAST_MEMORY = 1 << 27
"""Least bytes that DuckDB is given."""

MOST_BITS = 10**9 - 7
"""Numbers up to which DuckDB makes a value with a bit for each."""

_LOCK = ".lock"


class UnreadableError(DatasetError):
    """DuckDB fails for another reason than space: a file is damaged, most often."""


class Database:
    """A DuckDB database that no one else uses. Its folder lies where ``TMPDIR`` says, and goes as it is closed.

    Folders that a killed process has left there go when the next database is opened.

    Args:
        memory: bytes that it may hold in memory.
        threads: number of threads; None takes the cores that this process may use.

    Attributes:
        name: ``"duckdb"``.
        folder: where it spills.

    Raises:
        DatasetError: DuckDB is not installed, or the folder cannot be made, as where ``TMPDIR`` does not exist.
    """

    name = "duckdb"

    def __init__(self, memory: int, threads: int | None = None) -> None:
        try:
            import duckdb
        except ImportError:
            raise DatasetError(f"--backend duckdb: needs the extra scale: {install_extra('scale')}") from None
        self._error = duckdb.Error
        parent = spill_parent()
        remove_left_behind(parent)
        try:
            new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
            self._lock = open(new / _LOCK, "w")  # noqa: SIM115 - held until the database is closed
            _lock(self._lock, wait=True)
            self.folder = new.rename(parent / new.name[1:])  # only now has it a name that others look for
        except OSError as error:
            raise DatasetError(
                f"{parent}: cannot be written to ({error.strerror}); set TMPDIR to another folder"
            ) from None
        try:
            with self._named():
                self._connection = duckdb.connect(
                    ":memory:",
                    config={
                        "memory_limit": f"{max(memory, LEAST_MEMORY)}B",
                        "threads": threads or _cores(),
                        "temp_directory": str(self.folder / "spill"),
                        "preserve_insertion_order": False,
                        "autoinstall_known_extensions": False,
                        "autoload_known_extensions": False,
                    },
                )
                self._connection.execute("set enable_progress_bar = false").fetchall()
            # In DuckDB 2.0.1 this optimizer takes two joins of a view for one where a query reads the view twice, so
            # ids come out wrong; tests/bisim_theory/stored/test_faults.py has the query. Versions without it refuse
            # its name.
            with contextlib.suppress(duckdb.Error):
                self._connection.execute("set disabled_optimizers = 'common_subplan'").fetchall()
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and delete its folder."""
        with contextlib.suppress(Exception):  # what cannot be written any more is not needed
            self._connection.close()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Turn errors of DuckDB into `DatasetError`, of one line."""
        try:
            yield
        except (self._error, RuntimeError, OSError, MemoryError) as error:
            if isinstance(error, DatasetError):
                raise
            raise self._explain(" ".join(str(error).split())) from None

    def _explain(self, text: str) -> DatasetError:
        lower = text.lower()
        if any(sign in lower for sign in ("no space left", "max_temp_directory_size", "disk full", "could not write")):
            return DatasetError(
                f"{self.folder.parent}: has no space left for spilled rows; set TMPDIR to a folder on a larger disk"
            )
        if "out of memory" in lower or "failed to allocate" in lower or "could not allocate" in lower:
            return DatasetError("--memory: is too little for these rows; give more")
        text = re.sub(r"^(\w+ )?\w* ?Error: ", "", text)
        return UnreadableError(f"--backend duckdb: {text[:300]}")

    def execute(self, statement: str) -> None:
        """Run a statement that returns no rows.

        Raises:
            DatasetError: it fails, as on a full disk or a damaged file.
        """
        self.rows(statement)

    def keep(self, table: str, query: str) -> int:
        """Store the rows of a query as a table, in place of one of that name that it may read, and count them."""
        return int(self.row(f"create or replace table {table} as {query}")[0])

    def drop(self, *tables: str) -> None:
        """Delete tables, where they are."""
        for table in tables:
            self.execute(f"drop table if exists {table}")

    def row(self, query: str) -> tuple[Any, ...]:
        """Return the only row of a query."""
        (found,) = self.rows(query)
        return found

    def rows(self, query: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of a query, which are few.

        Raises:
            DatasetError: it fails, as on a full disk or a damaged file.
        """
        with self._named():
            return list(self._connection.execute(query, parameters).fetchall())

    def different(self, column: str, table: str, below: int) -> int:
        """Count the different values of a column of whole numbers from 0 to `below` - 1, in a bit for each."""
        if below > MOST_BITS:
            (found,) = self.row(f"select count(*) from (select {column} from {table} group by {column})")
        else:
            (found,) = self.row(f"select coalesce(bit_count({_bits(column, below)}), 0) from {table}")
        return int(found)

    def occurring(self, column: str, table: str, below: int) -> NDArray[np.uint8]:
        """Return a bit for each whole number from 0 to `below` - 1, set where a column holds it, as `packbits` has it.

        Args:
            column: its name, or an expression.
            table: in which it is.
            below: at most `MOST_BITS`.
        """
        (found,) = self.row(f"select ({_bits(column, below)})::blob from {table}")
        return np.frombuffer(found, np.uint8)

    def arrays(self, query: str) -> dict[str, NDArray[Any]]:
        """Return the columns of a query, in which no value is missing."""
        with self._named():
            found = self._connection.execute(query).fetchnumpy()
        return {name: np.asarray(column) for name, column in found.items()}

    def batches(self, query: str, rows: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the rows of a query in pieces, in which no value is missing; other statements may run meanwhile.

        Raises:
            DatasetError: it fails, as on a full disk or a damaged file.
        """
        with self._named():
            found = self._connection.cursor().sql(query)
            reader = found.to_arrow_reader if hasattr(found, "to_arrow_reader") else found.fetch_arrow_reader
            for batch in reader(rows):
                if batch.num_rows:
                    yield {
                        name: column.to_numpy(zero_copy_only=False)
                        for name, column in zip(batch.schema.names, batch.columns, strict=True)
                    }

    def load(self, table: str, columns: Mapping[str, NDArray[Any]], append: bool = False) -> None:
        """Store arrays of one length as a table, or add them to it."""
        import pyarrow

        with self._named():
            self._connection.register("given", pyarrow.table(dict(columns)))
            how = f"insert into {table} by name" if append else f"create or replace table {table} as"
            self._connection.execute(f"{how} select * from given").fetchall()
            self._connection.unregister("given")


def _bits(column: str, below: int) -> str:
    """Return the aggregate of which bit v is set where a column holds v, of whole bytes."""
    return f"bitstring_agg(({column})::bigint, 0::bigint, {8 * max(-(-below // 8), 1) - 1}::bigint)"


def spill_parent() -> Path:
    """Return the folder for the folders of databases: ``TMPDIR``, or where the system keeps temporary files.

    Python itself takes another folder where the one that is named cannot be used, which may be on a small disk.
    """
    given = next((os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)), None)
    return Path(tempfile.gettempdir() if given is None else os.path.abspath(given))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _lock(file: IO[str], wait: bool) -> None:
    """Lock a file of this process's; where the system has no such locks, only pretend to if `wait`.

    Raises:
        OSError: another process has locked it, or it cannot be told.
    """
    try:
        import fcntl
    except ImportError:
        if wait:
            return
        raise OSError("no locks") from None
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_left_behind(parent: Path) -> None:
    """Delete the folders of databases whose process is gone."""
    for folder in parent.glob(f"{PREFIX}*"):
        # It may be of another user, or of a process that has just deleted it.
        with contextlib.suppress(OSError), open(folder / _LOCK, "r+") as lock:
            _lock(lock, wait=False)
            shutil.rmtree(folder, ignore_errors=True)
