"""Which observations on disk are one: those of one id, or those of equal digests of their content."""

from dataclasses import dataclass, replace

import numpy as np

from bisim_theory.data.folding import Conflicts
from bisim_theory.data.identity import ContentNote
from bisim_theory.data.terminals import Terminals
from bisim_theory.data.transitions import DatasetError
from bisim_theory.stored.dataset import NUMBERED, OBSERVATION, TRANSITION, StoredDataset, has_table

JOINED = "joined_transition"
"""Table (source, action, successor) in which observations that are one have one id, the smallest."""

NUMBERED_JOINED = "numbered_joined_transition"
"""The same with the number of the row."""

NAME_OF = "coalesce((select same.name from same where same.id = {0}), {0})"
"""Expression for the id under which an observation goes; see `join`."""

ALIKE = "alike"
"""Table (id, name) of observations whose content an earlier one has, and that one; empty where contents are unknown."""

ABSORBED = "absorbed"
"""Table (row, source, action, successor) of the rows of absorbing terminals."""

PAIR = "pair"
"""View (source, action, successor, other, times): each (observation, action), its smallest and largest successor, and
how often it was observed."""

GROUPED = "grouped_pair"
"""Table of the rows of `PAIR`, where it is not `JOINED` itself."""


def join(data: StoredDataset, by_content: bool) -> None:
    """Make the table `JOINED`."""
    database = data.database
    database.execute(f"create table if not exists {ALIKE} (id bigint, name bigint)")
    database.execute(f"create or replace view same as select * from {ALIKE} where {'true' if by_content else 'false'}")
    _make_views(data, by_content, absorbing=False)


def _make_views(data: StoredDataset, by_content: bool, absorbing: bool) -> None:
    """Make `JOINED` and `NUMBERED_JOINED`, with the rows of `ABSORBED` last where there are any."""
    for view, table, row in ((JOINED, TRANSITION, ""), (NUMBERED_JOINED, NUMBERED, "row, ")):
        source, successor, joins = "t.source", "t.successor", ""
        if by_content:
            source, successor = f"coalesce(x.name, {source})", f"coalesce(y.name, {successor})"
            joins = "left join same as x on x.id = t.source left join same as y on y.id = t.successor"
        names = f"({source})::{data.number} as source, action, ({successor})::{data.number} as successor"
        more = f" union all select {row}source, action, successor from {ABSORBED}" if absorbing else ""
        data.database.execute(f"create or replace view {view} as select {row}{names} from {table} as t {joins}{more}")


def absorb(data: StoredDataset, by_content: bool) -> tuple[StoredDataset, Terminals]:
    """Give every terminated observation that is never a source a row to itself for every action of the data.

    The tables `PAIR` and `JOINED` get these rows; see `bisim_theory.data.terminals.absorb`.

    Raises:
        DatasetError: the data does not say which steps terminated.
    """
    if "terminated" not in data.columns:
        raise DatasetError("terminated: is not in this dataset, and --terminal absorb needs it; use --terminal leaf")
    database = data.database
    ends = "t.terminated and not t.truncated" if "truncated" in data.columns else "t.terminated"
    terminals = database.keep(
        "terminal",
        f"select distinct coalesce(same.name, t.successor) as id from {TRANSITION} as t "
        f"left join same on same.id = t.successor where {ends}",
    )
    rows = database.keep(
        ABSORBED,
        f"select {len(data)} - 1 + row_number() over (order by id, action) as row, id as source, action, "
        f"id as successor from terminal cross join (select distinct action from {PAIR}) as code "
        f"where id not in (select source from {PAIR})",
    )
    (absorbing,) = database.row(f"select count(distinct source) from {ABSORBED}")
    found = Terminals(int(absorbing), rows, terminals - int(absorbing))
    if not rows:
        return data, found
    _make_views(data, by_content, absorbing=True)
    if is_grouped(data):
        database.execute(f"insert into {GROUPED} select source, action, successor, successor, 1 from {ABSORBED}")
    return replace(data, transitions=len(data) + rows, absorbed=True), found


def is_grouped(data: StoredDataset) -> bool:
    """Return whether `PAIR` is grouped rows; else it has the rows of `JOINED`, each with a source of its own."""
    return has_table(data.database, GROUPED)


def find_pairs(data: StoredDataset) -> "StoredConflicts":
    """Make `PAIR` of the joined transitions, and find the pairs with several successors.

    Where every source is in one transition, so is every pair, and nothing has to be grouped.
    """
    database = data.database
    joins_any = bool(database.rows("select 1 from same limit 1"))
    if not joins_any and database.different("source", JOINED, data.frames) == len(data):
        database.drop(GROUPED)
        database.execute(
            f"create or replace view {PAIR} as select source, action, successor, successor as other, "
            f"1::integer as times from {JOINED}"
        )
        nothing = np.empty(0, np.int64)
        return StoredConflicts(nothing, nothing, nothing)
    database.keep(
        GROUPED,
        "select source, action, min(successor) as successor, max(successor) as other, count(*)::integer as times "
        f"from {JOINED} group by source, action",
    )
    database.execute(f"create or replace view {PAIR} as select * from {GROUPED}")
    repeated, conflicts = database.row(
        f"select count(*) filter (where times > 1), count(*) filter (where successor != other) from {PAIR}"
    )
    worst = []
    if conflicts:
        worst = database.rows(
            f"select j.source, j.action, count(distinct j.successor) as n from {JOINED} as j "
            f"join {PAIR} on j.source = {PAIR}.source and j.action = {PAIR}.action "
            f"where {PAIR}.successor != {PAIR}.other group by j.source, j.action order by n desc, 1, 2 limit 1"
        )
    source, action, successors = (np.array([row[place] for row in worst], np.int64) for place in range(3))
    return StoredConflicts(source, action, successors, int(repeated), int(conflicts))


@dataclass(frozen=True, eq=False)
class StoredConflicts(Conflicts):
    """Conflicts of which only the worst is listed.

    Attributes:
        number: how many there are.
    """

    number: int = 0

    def __len__(self) -> int:
        return self.number


@dataclass(frozen=True, eq=False)
class StoredContent(ContentNote):
    """A `ContentNote` without ids, which stay on disk."""


def describe_content(data: StoredDataset, label: list[str]) -> StoredContent | None:
    """Join observations of equal content, and say what that changes; None where contents are not comparable.

    The tables `JOINED` and `PAIR` are then those of joined observations.

    Args:
        data: the dataset.
        label: expressions for the components of the ground truth; empty without one.
    """
    if not data.content or data.lossy:
        return None
    database = data.database
    database.keep(
        ALIKE,
        f"select id, name from (select id, min(id) over (partition by content) as name from {OBSERVATION}) "
        "where id != name",
    )
    join(data, by_content=True)
    (coinciding,) = database.row("select count(*) from same")
    other = 0
    if label:
        differs = " or ".join(f"a.{each} != b.{each}" for each in label)
        (other,) = database.row(
            f"select count(*) from same join {OBSERVATION} as a on a.id = same.id "
            f"join {OBSERVATION} as b on b.id = same.name "
            f"where ({differs}) and same.id in (select source from {TRANSITION})"
        )
    return StoredContent(np.empty(0, np.int64), int(coinciding), find_pairs(data), int(other))
