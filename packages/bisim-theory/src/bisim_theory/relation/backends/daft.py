"""Daft as an engine, by the runner that its own settings name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bisim_theory.console import install_extra
from bisim_theory.data.transitions import DatasetError
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.backends.database import Database
from bisim_theory.relation.backends.rounds import CLASSES, refine

ROWS = 1 << 18
"""Rows of a table that are worth a task of their own on a cluster, where a task takes a tenth of a second or more."""


class Daft:
    """Daft, with the tables of a refinement as data frames.

    Raises:
        DatasetError: Daft is not installed.
    """

    name = "daft"

    def __init__(self) -> None:
        try:
            import daft
        except ImportError:
            raise DatasetError(f"--backend daft: needs the extra cluster: {install_extra('cluster')}") from None
        self._daft: Any = daft
        os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
        if os.environ.get("DAFT_RUNNER", "").lower() == "ray":
            _connect()
        self._tables: dict[str, Any] = {}
        self._parts = 1

    def read(self, table: str, path: Path) -> None:
        """Take the rows of a Parquet file as a table."""
        with _named():
            read = self._daft.read_parquet(str(path))
            self._parts = max(self._parts, -(-int(read.count_rows()) // ROWS))
            self._tables[table] = read

    def keep(self, table: str, query: str) -> int:
        """Store the rows of a query as a table, in place of one of that name that it may read, and count them."""
        with _named():
            found = self._daft.sql(query, **self._tables)
            if found.num_partitions() is not None:  # on a cluster, where a union has the parts of both, round by round
                found = found.into_partitions(self._parts)
            found = found.collect()
            self._tables[table] = found
            return len(found)

    def drop(self, *tables: str) -> None:
        """Forget tables, where they are."""
        for table in tables:
            self._tables.pop(table, None)

    def write(self, table: str, folder: Path) -> None:
        """Write a table as Parquet files into a folder."""
        with _named():
            self._tables[table].write_parquet(str(folder))


def _connect() -> None:
    """Connect to Ray before Daft does, without the bars of progress that its workers print at each query."""
    with _named():
        import ray

        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="ERROR")


@contextmanager
def _named() -> Iterator[None]:
    """Turn errors of the engine, of a worker or of a cluster that is not there into `DatasetError`, of one line."""
    try:
        yield
    except Exception as error:  # can be anything
        said = " ".join(str(error).split())
        if "No space left" in said or "os error 28" in said:
            said = "has no space left for its tables; set TMPDIR to a folder on a larger disk"
        raise DatasetError(f"--backend daft: {said[-300:] or type(error).__name__}") from None


def refine_with_daft(database: Database, actions: int, single: bool, progress: ProgressCallback = silent) -> None:
    """Compute the table of classes of a database with Daft, from the tables ``vertex`` and ``edge``.

    Tables go to Daft and come back as Parquet files in the folder of the database, which all workers have to see.
    """
    engine, folder = Daft(), database.folder / "exchange"
    folder.mkdir(exist_ok=True)
    for table in ("vertex", "edge"):
        file = folder / f"{table}.parquet"
        database.execute(f"copy {table} to '{file}' (format parquet)")
        engine.read(table, file)
    refine(engine, actions, single, progress)
    engine.write(CLASSES, folder / CLASSES)
    database.keep(CLASSES, f"select v, name from read_parquet('{folder / CLASSES}/*.parquet')")
