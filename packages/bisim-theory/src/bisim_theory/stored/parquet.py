"""Folders of Parquet files as views of a DuckDB database."""

from dataclasses import replace
from typing import Any

import numpy as np

from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.parquet import ParquetFolder, Table
from bisim_theory.formats.parquet_columns import (
    LARGEST_WHOLE,
    WHOLE,
    is_list,
    missing_digest,
    too_large,
    wrong_digest,
)
from bisim_theory.formats.parquet_columns import P as OBSERVATION_P
from bisim_theory.formats.parquet_files import OBSERVATIONS
from bisim_theory.formats.streaming import CONTENT, DIGEST_BYTES
from bisim_theory.relation.backends.database import Database, UnreadableError
from bisim_theory.stored.dataset import (
    NUMBERED,
    OBSERVATION,
    TRANSITION,
    StoredDataset,
    quoted,
    text,
    validated,
)


def open_parquet(database: Database, folder: ParquetFolder) -> StoredDataset:
    """Make views of a folder's Parquet files, and check what they hold in one pass.

    Raises:
        DatasetError: a file is damaged, or a value is missing, not finite, or no id of an observation.
    """
    where = f"{folder.path / OBSERVATIONS}"
    try:
        _view(database, str(folder.path), TRANSITION, folder.transitions, numbered=NUMBERED)
        if folder.observations is not None:
            _view(database, where, OBSERVATION, folder.observations)
        data = validated(
            database,
            str(folder.path),
            list(folder.transitions.types),
            [] if folder.observations is None else [name for name in folder.observations.types if name != "id"],
            folder.metadata,
            where=where,
        )
        if data.content:
            _check_digests(database, f"{where}: {CONTENT}")
    except UnreadableError:
        _name_damaged_part(folder)
        raise
    _check_agreement(data)
    return replace(data, varying_codes=np.array(folder.varying_codes, np.int64))


def _view(database: Database, what: str, name: str, table: Table, numbered: str | None = None) -> None:
    """Make a view of part files; `numbered` is one in which rows have their number over all files."""
    _check_names(what, table)
    columns = ", ".join(_expression(table, each) for each in table.types)
    files = ", ".join(text(path) for path in table.files)
    read = f"read_parquet([{files}], hive_partitioning = false"
    _check_unsigned(database, what, table, f"{read})")
    database.execute(f"create or replace view {name} as select {columns} from {read})")
    if numbered is None:
        return
    first = np.cumsum(table.rows) - np.array(table.rows)
    pairs = ", ".join(f"({text(path)}, {start})" for path, start in zip(table.files, first.tolist(), strict=True))
    database.execute(f"create or replace table part as select * from (values {pairs}) as part(path, begin)")
    database.execute(
        f"create or replace view {numbered} as select part.begin + rows.file_row_number as row, {columns} "
        f"from {read}, file_row_number = true, filename = true) as rows join part on rows.filename = part.path"
    )


def _expression(table: Table, name: str) -> str:
    """Return what selects a column as the type as which it is read."""
    column, kind = quoted(name), None
    if name in WHOLE and name != "episode":
        kind = "bigint"
    elif name in table.stored and name != CONTENT:
        kind = _sql_type(table.types[name])
    return column if kind is None else f"{column}::{kind} as {column}"


def _sql_type(kind: Any) -> str:
    """Return the SQL type for 64-bit numbers, or for lists of them."""
    import pyarrow.types as types

    if is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return "bigint" if types.is_int64(kind) else "double"


def _check_names(what: str, table: Table) -> None:
    """Raise `DatasetError` where DuckDB would take one column for another, as it does not regard case."""
    seen: dict[str, str] = {}
    for name in table.names:
        other = seen.setdefault(name.lower(), name)
        if other != name and {name, other} & set(table.types):
            raise DatasetError(
                f"{what}: {name}: differs from the column {other} in the case of letters alone, which DuckDB does not "
                "regard; rename one, or use --backend memory"
            )


def _check_unsigned(database: Database, what: str, table: Table, read: str) -> None:
    """Raise `DatasetError` where an unsigned number is beyond the signed ones."""
    import pyarrow.types as types

    for name, kind in table.stored.items():
        depth = is_list(kind)
        inner = kind.value_type if depth else kind
        if not types.is_uint64(inner):
            continue
        (largest,) = database.row(f"select max({f'list_max({quoted(name)})' if depth else quoted(name)}) from {read}")
        if largest is not None and largest > LARGEST_WHOLE:
            raise DatasetError(too_large(f"{what}: {name}", int(largest)))


def _check_digests(database: Database, what: str) -> None:
    """Raise `DatasetError` where a digest is missing or has another length."""
    missing, wrong = database.row(
        f"select count(*) filter (where {CONTENT} is null), min(octet_length({CONTENT})) filter "
        f"(where octet_length({CONTENT}) != {DIGEST_BYTES}) from {OBSERVATION}"
    )
    if wrong is not None:
        raise DatasetError(wrong_digest(what, int(wrong)))
    if missing:
        raise DatasetError(missing_digest(what))


def _check_agreement(data: StoredDataset) -> None:
    """Raise `DatasetError` where p of a row and p of its source differ."""
    mine, other = data.columns.get("auxiliary"), data.known.get(OBSERVATION_P)
    if mine is None or other is None:
        return
    if mine.length != other.length:
        raise DatasetError(f"{data.path}: {OBSERVATION_P}: has other columns than auxiliary; give both as many columns")
    differs = " or ".join(f"n.{a} != o.{b}" for a, b in zip(mine.bare, other.bare, strict=True))
    wrong = data.database.rows(
        f"select n.row, n.source from {NUMBERED} as n join {OBSERVATION} as o on o.id = n.source "
        f"where o.{OBSERVATION_P} is not null and ({differs}) order by n.row limit 1"
    )
    if wrong:
        raise DatasetError(
            f"{data.path}: auxiliary: row {wrong[0][0]} gives its source, observation {wrong[0][1]}, another p than "
            f"{OBSERVATION_P} does; leave one of the two out"
        )


def _name_damaged_part(folder: ParquetFolder) -> None:
    """Raise `DatasetError` with the name of the part that cannot be read, if there is one."""
    for table in (folder.transitions, folder.observations):
        for _ in table.batches(str(folder.path)) if table is not None else ():
            pass
