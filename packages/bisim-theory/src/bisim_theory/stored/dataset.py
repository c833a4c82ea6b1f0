"""Transitions on disk as tables of a DuckDB database, and their validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import LARGEST, MOST_UNUSED_IDS, DatasetError, Ids
from bisim_theory.formats.parquet import unfit_label
from bisim_theory.formats.parquet_columns import P as OBSERVATION_P
from bisim_theory.formats.parquet_columns import if_missing
from bisim_theory.formats.streaming import CONTENT
from bisim_theory.relation.backends.database import Database

TRANSITION, NUMBERED, OBSERVATION = "transition", "numbered_transition", "observation"
"""Tables: (source, action, successor, ...), the same with the number of the row, and (id, ...) of observations."""


WITHOUT_MEANING = ("source", "action", "successor", "episode")
"""Columns of transitions that are no property of them."""

INT32 = 2**31


@dataclass(frozen=True)
class Column:
    """A column of numbers, or of lists of numbers of one length.

    Attributes:
        name: its name in the table.
        length: of the lists; 0 where it holds numbers.
        real: whether the numbers are floats, of which 0.0 and -0.0 are equal.
    """

    name: str
    length: int = 0
    real: bool = False

    @property
    def bare(self) -> list[str]:
        """Return the name of each number, as it follows that of its table."""
        name = quoted(self.name)
        return [name] if not self.length else [f"{name}[{place}]" for place in range(1, self.length + 1)]

    @property
    def parts(self) -> list[str]:
        """Return an expression for each number."""
        return [f"{cell} + 0.0" if self.real else cell for cell in self.bare]


@dataclass(frozen=True, eq=False)
class StoredDataset:
    """F observations and N transitions between them, in tables of a database.

    Attributes:
        database: holds the tables `TRANSITION`, `NUMBERED` and, where anything is known of observations, `OBSERVATION`.
        path: where the data comes from, for messages.
        transitions: N.
        frames: F.
        columns: name -> column of `TRANSITION`.
        known: name -> column of `OBSERVATION`, labels and p of observations; empty without that table.
        content: whether `OBSERVATION` has digests of contents.
        lossy: whether equal observations may have different contents.
        metadata: as of a `TransitionDataset`.
        absorbed: whether rows of absorbing terminals were added, of which nothing else is known.
        varying_codes: action codes that stand for different actions.
    """

    database: Database
    path: str
    transitions: int
    frames: int
    columns: Mapping[str, Column]
    known: Mapping[str, Column] = field(default_factory=dict)
    content: bool = False
    lossy: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    absorbed: bool = False
    varying_codes: Ids = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return self.transitions

    @property
    def number(self) -> str:
        """Return the SQL type of ids: of 32 bits where they fit."""
        return "integer" if self.frames < INT32 else "bigint"

    @property
    def labels(self) -> dict[str, Column]:
        """Return name -> column of the labels of observations."""
        return {name: column for name, column in self.known.items() if name != OBSERVATION_P}

    @property
    def has_auxiliary(self) -> bool:
        """Return whether p is stored, of sources or of observations."""
        return "auxiliary" in self.columns or OBSERVATION_P in self.known

    @property
    def images(self) -> bool:
        """Return False: contents are known by their digests alone."""
        return False

    @property
    def observation(self) -> None:
        """None: observations themselves are not kept."""
        return

    @property
    def action_value(self) -> None:
        """None: continuous actions behind the codes are not kept."""
        return

    def whole_labels(self) -> list[str]:
        """Return the labels of one whole number per observation."""
        return [name for name, column in self.labels.items() if not column.length and not column.real]


def quoted(name: str) -> str:
    """Return a name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str | Path) -> str:
    """Return a text as SQL quotes it."""
    return "'" + str(value).replace("'", "''") + "'"


def validated(
    database: Database,
    path: str,
    columns: Sequence[str],
    known: Sequence[str],
    metadata: Mapping[str, Any],
    where: str = "",
) -> StoredDataset:
    """Check the tables of a database, and return the dataset that they are.

    Args:
        database: holds `TRANSITION`, `NUMBERED`, and `OBSERVATION` where `known` is not empty.
        path: where the data comes from.
        columns: those of `TRANSITION`.
        known: those of `OBSERVATION` but its id.
        metadata: of the dataset.
        where: what messages about observations begin with.

    Raises:
        DatasetError: a value is missing, not finite, or no id of an observation.
    """
    of_rows, _ = _columns(database, path, TRANSITION, columns)
    named = [name for name in known if name != CONTENT]
    labels, unfit = _columns(database, where, OBSERVATION, named, of_observations=True)
    if unfit:
        metadata = {**metadata, "left_out": [*metadata.get("left_out", ()), *unfit]}
    count, *ends = database.row(
        f"select count(*), min(source), max(source), min(successor), max(successor) from {TRANSITION}"
    )
    if count == 0:
        raise DatasetError(f"{path}: source: there are no transitions")
    observations = _observations(database, where) if known or has_table(database, OBSERVATION) else None
    largest = max(ends[1], ends[3])
    for name, low, high in (("source", ends[0], ends[1]), ("successor", ends[2], ends[3])):
        if low < 0:
            raise DatasetError(f"{path}: {name}: holds the negative index {low}")
        if observations is None and high > MOST_UNUSED_IDS + 100 * count:
            raise DatasetError(f"{path}: {name}: holds index {high}; number the observations 0, 1, 2, ...")
        if observations is not None and high >= observations:
            raise DatasetError(f"{path}: {name}: holds index {high} and there are {observations} observations")
    return StoredDataset(
        database=database,
        path=path,
        transitions=int(count),
        frames=int(largest) + 1 if observations is None else observations,
        columns={name: column for name, column in of_rows.items() if name not in WITHOUT_MEANING},
        known=labels,
        content=CONTENT in known,
        lossy=metadata.get("lossy_observations") is True,
        metadata=metadata,
    )


def has_table(database: Database, table: str) -> bool:
    """Return whether a database has a table or view of a name."""
    return bool(database.rows("select 1 from information_schema.tables where table_name = ?", [table]))


def _observations(database: Database, where: str) -> int:
    """Return the number of observations, whose ids must be 0, 1, ..., each once."""
    count, known, low, high = database.row(f"select count(*), count(id), min(id), max(id) from {OBSERVATION}")
    if known != count:
        raise DatasetError(f"{where}: id: a value is missing (null); {if_missing('id')}")
    if count == 0 or low != 0 or high != count - 1 or database.different("id", OBSERVATION, count) != count:
        raise DatasetError(f"{where}: id: must number the observations 0 to {count - 1}, each once")
    return int(count)


def _columns(
    database: Database, what: str, table: str, names: Sequence[str], of_observations: bool = False
) -> tuple[dict[str, Column], list[str]]:
    """Describe columns, and check that no value is missing or not finite.

    Of observations, p may be missing, and labels with values that are not finite are left out.

    Returns:
        The columns; sentences that say which labels are left out.
    """
    if not names:
        return {}, []
    kinds = {name: kind for name, kind, *_ in database.rows(f"describe select * from {table}")}
    plain = [name for name in names if "[" not in kinds[name]]
    found = {name: Column(name, 0, kinds[name] in ("FLOAT", "DOUBLE")) for name in plain}
    for name in names:
        if name not in plain:
            found[name] = _list_column(database, what, table, name, kinds[name])
    checks = []
    for name in names:
        column = found[name]
        cells = column.parts
        gone = " or ".join(f"{cell} is null" for cell in cells)
        if of_observations and name == OBSERVATION_P:  # which may be unknown, but not in part
            gone = f"{quoted(name)} is not null and ({gone})"
        wild = " or ".join(f"not (abs({cell}) <= {LARGEST})" for cell in cells) if column.real else "false"
        checks.append(f"count(*) filter (where {gone}), count(*) filter (where {wild})")
    counts = database.row(f"select {', '.join(checks)} from {table}")
    left_out = []
    for name, gone, wild in zip(names, counts[::2], counts[1::2], strict=True):
        if gone:
            raise DatasetError(f"{what}: {name}: a value is missing (null); {if_missing(name)}")
        if wild and of_observations and name != OBSERVATION_P:
            left_out.append(unfit_label(name, int(wild)))
            found.pop(name)
        elif wild:
            raise DatasetError(f"{what}: {name}: {wild:,} values are not finite, or beyond {LARGEST:g}")
    return {name: found[name] for name in names if name in found}, left_out


def _list_column(database: Database, what: str, table: str, name: str, kind: str) -> Column:
    if kind.count("[") > 1:
        raise DatasetError(f"{what}: {name}: must hold numbers or lists of numbers, is {kind}")
    low, high = database.row(f"select min(len({quoted(name)})), max(len({quoted(name)})) from {table}")
    if low != high or not low:
        raise DatasetError(f"{what}: {name}: has rows of different lengths, or empty ones")
    return Column(name, int(low), kind.startswith(("FLOAT", "DOUBLE")))


def as_array(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return columns (M,) side by side, (M, k), or the only one as it is."""
    return columns[0] if len(columns) == 1 else np.stack(columns, 1)
