"""Auxiliary functions that a dataset offers as candidates: its columns, and those that the user names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bisim_theory.data.auxiliary import Values, value_codes
from bisim_theory.data.auxiliary_functions import auxiliary_values, offered, terms_of, together
from bisim_theory.data.auxiliary_names import parse_auxiliary
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.labels import BOOKKEEPING
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.data.wanted import MOST_VALUES, Wanted

MOST_COLUMNS = 24
"""Most columns that are candidates without being named."""

NAMES_SHOWN = 8
"""Most names that a sentence lists."""

_WITHOUT_CONTENT = ("random", "constant")
"""Functions that no column holds: they tell everything apart, or nothing."""


@dataclass(frozen=True, eq=False)
class Column:
    """One auxiliary function that may be chosen.

    Attributes:
        name: its name.
        values: p of every observation, or the reason why it has none.
        bases: names of the functions that it consists of, without how they are made coarser.
        holds: the wanted labels among them.
    """

    name: str
    values: Values | NoWellTrainedModelError | DatasetError
    bases: frozenset[str]
    holds: frozenset[str]

    @property
    def single(self) -> bool:
        """Return whether it can be combined with another: it is one function, and ``+`` would not split its name."""
        return len(self.bases) == 1 and "+" not in self.name

    def with_column(self, other: "Column") -> "Column | None":
        """Return this column and another one as one, or None where that says no more than one of them."""
        if not (self.single and other.single) or self.bases & other.bases:
            return None
        if not (isinstance(self.values, Values) and isinstance(other.values, Values)):
            return None
        values = together([self.values, other.values])
        return Column(f"{self.name}+{other.name}", values, self.bases | other.bases, self.holds | other.holds)


@dataclass(frozen=True, eq=False)
class Columns:
    """Hold the candidates of a dataset.

    Attributes:
        columns: those that it offers first, then those that the user names.
        left_out: sentences about what was left out, and why.
    """

    columns: Sequence[Column]
    left_out: Sequence[str]


def candidate_columns(
    data: TransitionDataset, wanted: Wanted, names: Sequence[str] = (), ids: Ids | None = None
) -> Columns:
    """Compute the candidates of a dataset.

    Args:
        data: transitions, before equal observations are joined.
        wanted: the labels that are wanted.
        names: auxiliary functions that are candidates besides the columns, as for `bisim_theory.auxiliary_values`.
        ids: (F,) ids in which observations that are one have one id, or None.

    Raises:
        DatasetError: the dataset does not offer one of `names`.
    """
    given = [*dict.fromkeys([*wanted.names, *names])]
    columns = [_column(data, name, wanted, ids) for name in given]
    for column in columns:
        if isinstance(column.values, DatasetError):
            raise column.values
    own, left_out = _own_columns(data, wanted, set(given), ids)
    return Columns([*own, *columns], left_out)


def _own_columns(
    data: TransitionDataset, wanted: Wanted, given: set[str], ids: Ids | None
) -> tuple[list[Column], list[str]]:
    """Compute the columns of a dataset that are not among `given`, and say which were left out."""
    names = [name for name in _names(data) if name not in given and name not in wanted.labels]
    found: list[Column] = []
    left_out, more = [], []
    for name in names:
        column = _column(data, name, wanted, ids)
        different = _different(column)
        if different > MOST_VALUES:
            left_out.append(
                f"{name}, whose {different:,} different values tell observations apart whatever they show; to have it "
                f"ranked: --compare {name}:bins:K, or {name}"
            )
        elif len(found) < MOST_COLUMNS:
            found.append(column)
        else:
            more.append(name)
    if more:
        shown = ", ".join(more[:NAMES_SHOWN]) + (", ..." if len(more) > NAMES_SHOWN else "")
        left_out.append(
            f"{len(more):,} columns ({shown}), as {MOST_COLUMNS} are ranked without being named; --compare {more[0]}"
        )
    numbering = [name for name in data.labels if name in BOOKKEEPING and name not in given | wanted.labels]
    if numbering:
        left_out.append(f"{', '.join(numbering)}, which number steps or episodes")
    return found, left_out


def _names(data: TransitionDataset) -> Iterator[str]:
    names = [name for name in offered(data) if name not in (*_WITHOUT_CONTENT, *BOOKKEEPING)]
    stored = data.metadata.get("auxiliary")
    for name in names:
        if name != "auxiliary" or stored not in names:  # else it is the one of that name
            yield name


def _different(column: Column) -> int:
    values = column.values
    return len(np.unique(value_codes(values.value[values.known]))) if isinstance(values, Values) else 0


def _column(data: TransitionDataset, name: str, wanted: Wanted, ids: Ids | None) -> Column:
    bases = _bases(data, name)
    column = Column(name, DatasetError(""), bases, bases & wanted.labels)
    try:
        return replace(column, values=auxiliary_values(data, name, ids))
    except (NoWellTrainedModelError, DatasetError) as error:
        return replace(column, values=error)


def _bases(data: TransitionDataset, name: str) -> frozenset[str]:
    """Return the names of the functions that one consists of; of the stored p, of what its own name says."""
    bases = frozenset(term.base for term in terms_of(data, name))
    stored = data.metadata.get("auxiliary")
    if bases == {"auxiliary"} and isinstance(stored, str) and stored != "auxiliary":
        try:
            return frozenset(term.base for term in parse_auxiliary(stored, data.labels))
        except DatasetError:
            return bases
    return bases
