"""A folder of Parquet files in the schema of ``transitions.npz``, with a row for each transition.

The transitions are all ``*.parquet`` in the folder ``transitions``, or in the folder itself, in the order of their
names. What is known of observations is in the folder ``observations``: a row for each, with its ``id``, labels, and

- ``observation_auxiliary``: p of the observation, missing (null) where it is unknown;
- ``content``: 32 bytes, a 256-bit digest of what was observed. Equal digests count as equal observations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.numbering import ids
from bisim_theory.data.transitions import LARGEST, DatasetError, TransitionDataset, usable
from bisim_theory.formats.arrow import Filled, ParquetFile, to_numpy
from bisim_theory.formats.episodes import RESERVED, fit_labels
from bisim_theory.formats.limits import check_expansion, first_line, read_json, shown, stored_bytes, usable_name
from bisim_theory.formats.parquet_columns import (
    REQUIRED,
    STEP,
    P,
    converted,
    digests,
    if_missing,
    is_list,
    read_as,
    type_of,
    why_unread,
)
from bisim_theory.formats.parquet_files import (
    LOOKED_FOR,
    OBSERVATIONS,
    TRANSITIONS,
    part_files,
    refuse_unread,
    transitions_folder,
)
from bisim_theory.formats.registry import Format
from bisim_theory.formats.streaming import CONTENT

METADATA = "metadata.json"

ROWS_AT_ONCE = 1 << 18
"""Rows of part files that are in memory as they are stored; arrays of whole numbers are narrower."""


@dataclass(frozen=True)
class Table:
    """Part files of one schema.

    Attributes:
        files: in the order of their names.
        rows: number of rows of each.
        types: name -> Arrow type as which a column is read.
        left_out: sentences that say which columns are not read.
        stored: name -> Arrow type in the files, of the columns that are read as another.
        names: of all columns in the files.
    """

    files: list[Path]
    rows: list[int]
    types: dict[str, Any]
    left_out: list[str] = field(default_factory=list)
    stored: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def batches(self, what: str) -> Iterator[dict[str, Any]]:
        """Read all columns in pieces of at most `ROWS_AT_ONCE` rows, as Arrow arrays by name.

        Args:
            what: name of the table, for messages.

        Raises:
            DatasetError: a file is damaged, or a value does not fit the type as which its column is read.
        """
        import pyarrow.parquet

        names = list(self.types)
        for path, rows in zip(self.files, self.rows, strict=True):
            try:
                file = pyarrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
                for batch in file.iter_batches(ROWS_AT_ONCE, columns=names, use_threads=False):
                    rows -= len(batch)
                    yield {
                        name: converted(f"{what}: {name}", batch.column(name), kind)
                        for name, kind in self.types.items()
                    }
            except DatasetError:
                raise
            except Exception as error:  # a damaged file can raise almost anything
                raise DatasetError(f"{path}: is damaged ({first_line(error)})") from None
            if rows:
                raise DatasetError(f"{path}: is damaged (it has {-rows:+,} rows beside those that it declares)")


@dataclass(frozen=True)
class ParquetFolder:
    """The part files of a dataset, of which only the footers have been read.

    Attributes:
        path: the folder.
        transitions: part files with the columns `REQUIRED`, and any of `STEP`.
        observations: part files with the column ``id`` and labels; None where there are none.
        metadata: the content of `METADATA`.
        varying_codes: action codes that are known to stand for different actions.
    """

    path: Path
    transitions: Table
    observations: Table | None
    metadata: dict[str, Any]
    varying_codes: Sequence[int] = ()

    @property
    def labels(self) -> list[str]:
        """Return the columns of numbers that observations have, but those with a meaning of their own."""
        if self.observations is None:
            return []
        return [name for name in self.observations.types if name not in ("id", P, CONTENT)]

    @property
    def left_out(self) -> list[str]:
        """Return sentences that say which columns of both tables are not read."""
        return [*self.transitions.left_out, *(self.observations.left_out if self.observations else [])]

    @property
    def bytes_beside(self) -> int:
        """Return the bytes in memory of all columns but `REQUIRED`, without lists whose lengths are in the rows."""
        tables = [self.transitions, *([self.observations] if self.observations else [])]
        return sum(
            sum(table.rows) * sum(_width(kind) for name, kind in table.types.items() if name not in (*REQUIRED, "id"))
            for table in tables
        )

    @classmethod
    def open(cls, path: Path) -> "ParquetFolder":
        """Read the footers, and check that all part files of a table have one schema.

        Raises:
            DatasetError: a part file is damaged or has another schema, a column is missing or of a wrong type, or a
                Parquet file of the folder would not be read.
            ImportError: pyarrow is not installed.
        """
        refuse_unread(path)
        transitions = _table(transitions_folder(path), (*REQUIRED, *STEP), REQUIRED)
        observations = None
        if (path / OBSERVATIONS).is_dir():
            observations = _table(path / OBSERVATIONS, None, ("id",))
        metadata = read_json(path / METADATA) if (path / METADATA).is_file() else {}
        folder = cls(path, transitions, observations, metadata)
        return replace(folder, metadata={**metadata, "left_out": folder.left_out}) if folder.left_out else folder


def _width(kind: Any) -> int:
    """Return the bytes of a value of an Arrow type, 0 where they differ from row to row."""
    import pyarrow.types as types

    if types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return 0


def _table(folder: Path, known: tuple[str, ...] | None, required: tuple[str, ...]) -> Table:
    """Read the footers of a folder's part files.

    Args:
        folder: holds the files.
        known: columns that are read; None reads all that hold numbers.
        required: columns of whole numbers that must be there.
    """
    files = part_files(folder)
    if not files:
        raise DatasetError(f"{folder}: holds no *.parquet{'' if folder.name == OBSERVATIONS else f'; {LOOKED_FOR}'}")
    schemas, rows = [], []
    for path in files:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
        part = ParquetFile(path)
        schemas.append(_schema(part))
        rows.append(part.rows)
        if schemas[-1] != schemas[0]:
            names = sorted(name for name in schemas[0] | schemas[-1] if schemas[0].get(name) != schemas[-1].get(name))
            raise DatasetError(f"{path}: has another schema than {files[0].name}: {_differences(names, schemas)}")
    schema = schemas[0]
    for name in required:
        if name not in schema:
            raise DatasetError(f"{files[0]}: {name}: is missing; a row must have {', '.join(required)}")
    chosen, left_out = {}, []
    for name, kind in schema.items():
        if name in ((*required, P, CONTENT) if known is None else known):
            chosen[name] = type_of(files[0], name, kind)
        elif known is not None:
            left_out.append(f"{name}, as a row of transitions has {', '.join(known)}")
        elif not usable_name(name) or name in RESERVED:
            left_out.append(f"{shown(name)}, which can be no label")
        else:
            found = read_as(kind)
            if found is None or (is_list(found) and is_list(found.value_type)):
                left_out.append(f"{name}: holds no numbers or lists of numbers, but {why_unread(kind)[3:]}")
            else:
                chosen[name] = found
    stored = {name: getattr(schema[name], "storage_type", schema[name]) for name in chosen}
    stored = {name: kind for name, kind in stored.items() if kind != chosen[name]}
    return Table(files, rows, chosen, left_out, stored, list(schema))


def _schema(part: ParquetFile) -> dict[str, Any]:
    """Return name -> Arrow type of the columns of a file.

    Raises:
        DatasetError: two of them have one name.
    """
    twice = sorted({name for name in part.names if part.names.count(name) > 1})
    if twice:
        raise DatasetError(f"{part.path}: {shown(twice[0])}: is the name of two columns; rename one, or leave it out")
    return {each.name: each.type for each in part.schema}


def _differences(names: list[str], schemas: list[dict[str, Any]]) -> str:
    said = [f"{name} is {schemas[-1].get(name, 'missing')}, not {schemas[0].get(name, 'there')}" for name in names]
    return shown("; ".join(said)).strip("'\"")


def is_parquet_folder(path: Path) -> bool:
    """Return whether a path is a folder of Parquet files, or holds them in a folder ``transitions``."""
    try:
        return any(part_files(place) for place in (path / TRANSITIONS, path) if place.is_dir())
    except (DatasetError, OSError):
        return False


def read_parquet(path: Path, actions: str | None = None) -> TransitionDataset:
    """Read a folder of Parquet files into memory; see `bisim_theory.read_transitions`.

    Digests of contents become the observations, so that equal ones are equal.

    Raises:
        DatasetError: a file is damaged or has another schema, or its columns are inconsistent.
        ImportError: pyarrow is not installed.
    """
    if actions is not None:
        raise DatasetError(f"{path}: holds codes of actions, so --actions {actions} changes nothing; leave it out")
    folder = ParquetFolder.open(path)
    tables = [folder.transitions, *([folder.observations] if folder.observations else [])]
    numbers = sum(sum(table.rows) * len(table.types) for table in tables)
    stored = stored_bytes(*(each for table in tables for each in table.files))
    check_expansion(str(path), 8 * numbers, 0, stored)
    columns = {name: Filled(sum(folder.transitions.rows)) for name in folder.transitions.types}
    for batch in folder.transitions.batches(str(path)):
        for name, column in batch.items():
            columns[name].add(f"{path}: {name}", to_numpy(f"{path}: {name}", column, if_missing(name)))
    fields: dict[str, Any] = {name: filled.array for name, filled in columns.items()}
    fields |= _observed(folder)
    try:
        return TransitionDataset(**fields)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None


def _observed(folder: ParquetFolder) -> dict[str, Any]:
    """Return the fields of a `TransitionDataset` that are known of observations."""
    table, metadata = folder.observations, folder.metadata
    if table is None:
        return {"metadata": metadata}
    where, rows = f"{folder.path / OBSERVATIONS}", sum(table.rows)
    columns, known = {name: Filled(rows) for name in table.types}, Filled(rows)
    for batch in table.batches(where):
        for name, column in batch.items():
            if name == P:
                known.add(where, column.is_valid().to_numpy(zero_copy_only=False))
            columns[name].add(f"{where}: {name}", _numbers(f"{where}: {name}", name, column))
    names = columns.pop("id").array
    order: Any = slice(None)
    if (names != ids(rows)).any():
        order = np.argsort(names, kind="stable")
        if (names[order] != ids(rows)).any():
            raise DatasetError(f"{where}: id: must number the observations 0 to {rows - 1}, each once")
    values: dict[str, Any] = {"size": rows}
    if P in columns:
        if not known.array.any():
            raise DatasetError(f"{where}: {P}: is unknown (null) everywhere; leave the column out")
        values |= {P: columns.pop(P).array[order], f"{P}_known": known.array[order]}
    if CONTENT in columns:
        values["observation"] = columns.pop(CONTENT).array[order]
    labels, unfit = fit_labels({name: filled.array[order] for name, filled in columns.items()})
    if unfit:
        unusable = {name: np.flatnonzero(~usable(columns[name].array.reshape(rows, -1)).all(1)) for name in unfit}
        said = [unfit_label(name, len(each)) for name, each in unusable.items()]
        metadata = {**metadata, "left_out": [*folder.left_out, *said]}
    return {**values, "labels": labels, "metadata": metadata}


def _numbers(what: str, name: str, column: Any) -> NDArray[Any]:
    """Return the numbers of a column of observations; unknown values of p become 0, and digests 32 bytes."""
    if name == CONTENT:
        return digests(what, column)
    if name != P or not column.null_count:
        return to_numpy(what, column, if_missing(name))
    some, known = to_numpy(what, column.drop_null()), column.is_valid().to_numpy(zero_copy_only=False)
    value = np.zeros((len(known), *some.shape[1:]), some.dtype)
    value[known] = some
    return value


def unfit_label(name: str, count: int) -> str:
    """Say that a column of observations is no label, as some of its values are none."""
    values = "1 value is" if count == 1 else f"{count:,} values are"
    return f"{name}: {values} not finite, or beyond {LARGEST:g}, so it is no label"


FORMAT = Format("a folder of Parquet files", is_parquet_folder, read_parquet, extra="parquet")
