"""Spilling of rows of other formats into Parquet files, in the folder of a database, a piece at a time."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.parquet import ParquetFolder, Table
from bisim_theory.formats.rows import Rows
from bisim_theory.formats.streaming import CONTENT, RowStream
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.backends.database import Database
from bisim_theory.stored.staging import arrow_column, digest_column

FOLDER = "rows"
"""Name of the folder with the files, in the folder of the database."""


def spill(database: Database, rows: Rows, actions: str | None, progress: ProgressCallback = silent) -> ParquetFolder:
    """Write the transitions of rows as Parquet files, of observations their digests; no more than a piece is held.

    Args:
        database: in whose folder the files go, and with which they go.
        rows: the rows.
        actions: the abstraction of continuous actions, or None.
        progress: called with the number of rows done.

    Raises:
        DatasetError: the file is damaged or inconsistent, or there is no space.
    """
    stream = RowStream(rows, actions)
    folder = database.folder / FOLDER
    try:
        folder.mkdir()
        with ExitStack() as stack:
            writers = [stack.enter_context(_Writer(folder / f"{name}.parquet")) for name in ("step", "frame")]
            for done, piece in enumerate(stream.pieces(), 1):
                writers[0].write(piece.transitions)
                writers[1].write(piece.observations)
                writers[1].write(piece.own)
                progress(min(done * len(piece.observations["id"]), rows.count), rows.count)
    except OSError as error:
        raise DatasetError(
            f"{database.folder.parent}: cannot hold the spilled rows ({error.strerror or error}); set TMPDIR to a "
            "folder on a larger disk"
        ) from None
    steps, frames = (writer.table() for writer in writers)
    labels = stream.labels()
    if not stream.has_reward:
        steps.types.pop("reward", None)
    known = {name: kind for name, kind in frames.types.items() if name in ("id", CONTENT, *labels)}
    observations = Table(frames.files, frames.rows, known)
    return ParquetFolder(Path(rows.what), steps, observations, stream.metadata(), sorted(stream.varying))


class _Writer:
    """Writes pieces of columns of one schema to a Parquet file."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._writer: Any = None
        self._schema: Any = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, columns: dict[str, NDArray[Any]]) -> None:
        """Write a piece; a column that it lacks is missing (null) there."""
        import pyarrow
        import pyarrow.parquet

        length = len(next(iter(columns.values()))) if columns else 0
        if length == 0:
            return
        arrays = {
            name: digest_column(value) if name == CONTENT else arrow_column(value) for name, value in columns.items()
        }
        if self._writer is None:
            self._schema = pyarrow.schema([(name, array.type) for name, array in arrays.items()])
            self._writer = pyarrow.parquet.ParquetWriter(self.path, self._schema, use_dictionary=False)
        whole = [
            arrays[name].cast(kind) if name in arrays else pyarrow.nulls(length, kind)
            for name, kind in zip(self._schema.names, self._schema.types, strict=True)
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(whole, schema=self._schema))
        self.rows += length

    def table(self) -> Table:
        """Return what was written."""
        types = dict(zip(self._schema.names, self._schema.types, strict=True))
        return Table([self.path], [self.rows], types)
