"""The graph of observations on disk, their p and their transitions, as the tables that a refinement takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bisim_theory.data.transitions import DatasetError, Ids
from bisim_theory.relation.backends.database import MOST_BITS, Database
from bisim_theory.stored.auxiliary import MOST_COLUMNS, Stated, contradiction
from bisim_theory.stored.dataset import OBSERVATION, TRANSITION, StoredDataset
from bisim_theory.stored.identity import ABSORBED, JOINED, NAME_OF, PAIR, is_grouped

NODE = "node"
"""View (id, acted, c0, c1, ...) of what the data says of observations: acted is 1 for sources, 0 for others that are
reached, -1 for those that occur in no transition; p is missing where it is unknown."""

STATED = "stated"
"""Table of the rows of `NODE`, where those are grouped."""

REACHED = "reached_only"
"""Table (id) of the observations that are reached and never acted from, where rows of `NODE` are not grouped."""

BYTES_AT_ONCE = 1 << 20
"""Bytes of a bit for each observation that are unpacked together."""

LOOSE = "loose"
"""Table (id) of the observations that are reached, never acted from, and of unknown p."""

MEMBER = "member"
"""View (id, v) of the observations that the relation is over, and their vertices."""


@dataclass(frozen=True, eq=False)
class StoredGraph:
    """The tables ``vertex`` and ``edge`` of a refinement, and `NODE` and `MEMBER` behind them.

    Attributes:
        data: the dataset.
        components: number of components of p.
        actions: (A,) the action codes that occur, sorted.
        sources, leaves: how many there are.
        unknown_sources: number of sources of unknown p.
        values: number of different values of p.
        known: number of observations in transitions of which p is known.
        occurring: number of observations in transitions.
        single: whether no vertex has two edges.
        folded: whether observations were merged.
        joined: whether observations of equal content are one.
    """

    data: StoredDataset
    components: int
    actions: Ids
    sources: int
    leaves: int
    unknown_sources: int
    values: int
    known: int
    occurring: int
    single: bool
    folded: bool
    joined: bool

    @property
    def observations(self) -> int:
        """Return the number of observations that the relation is over."""
        return self.sources + self.leaves

    @property
    def is_known(self) -> str:
        """Return the condition that p of a row of `NODE` is known."""
        return known_condition(self.components)


def state_p(data: StoredDataset, stated: Sequence[list[Stated]], by_content: bool) -> int:
    """Make `NODE` of a dataset, and return the number of components of p.

    Args:
        data: the dataset, of which `JOINED` and `PAIR` are made.
        stated: what is stated of p, for each term of its name.
        by_content: whether observations of equal content are one.

    Raises:
        DatasetError: p is known nowhere in a transition, or has too many components.
        NoWellTrainedModelError: an observation has two values of p.
    """
    starts = np.cumsum([0, *(len(term[0].cells) for term in stated)]).tolist()
    k = starts[-1]
    if k > MOST_COLUMNS:
        raise DatasetError(f"auxiliary: has {k} components, and out of memory there may be {MOST_COLUMNS}")
    nulls = ["null"] * k
    ends = {"source": (1, JOINED, [*nulls]), "successor": (0, JOINED, [*nulls])}
    branches = [("source", 1, ABSORBED, [*nulls], "true")] if data.absorbed else []
    for term, start in zip(stated, starts, strict=False):
        for each in term:
            cells = nulls[:start] + list(each.cells) + nulls[start + len(each.cells) :]
            if each.table == TRANSITION and each.where == "true" and each.observation in ends and not by_content:
                acted, _, before = ends[each.observation]
                both = [new if new != "null" else old for new, old in zip(cells, before, strict=True)]
                ends[each.observation] = (acted, TRANSITION, both)
                continue
            name = NAME_OF.format(each.observation) if by_content else each.observation
            branches.append((name, -1, each.table, cells, each.where))
    database = data.database
    if not branches and ends["successor"][1] == JOINED and not by_content and not is_grouped(data):
        _, table, cells = ends["source"]
        _reach(data)
        parts = [_node(data, "source", 1, table, cells, "true"), _node(data, "id", 0, REACHED, nulls, "true")]
        database.execute(f"create or replace view {NODE} as {' union all '.join(parts)}")
    else:
        parts = [_node(data, *branch) for branch in branches]
        parts += [_node(data, name, acted, table, cells, "true") for name, (acted, table, cells) in ends.items()]
        both_ends = ", ".join(f"min(c{place}) as c{place}, max(c{place}) as d{place}" for place in range(k))
        database.keep(
            STATED, f"select id, max(acted) as acted, {both_ends} from ({' union all '.join(parts)}) group by id"
        )
        for term, start in zip(stated, starts, strict=False):
            wrong = " or ".join(f"c{place} != d{place}" for place in range(start, start + len(term[0].cells)))
            if database.rows(f"select 1 from {STATED} where {wrong} limit 1"):
                raise contradiction(data, term)
        for place in range(k):
            database.execute(f"alter table {STATED} drop column d{place}")
        database.execute(f"create or replace view {NODE} as select * from {STATED}")
    if not database.rows(f"select 1 from {NODE} where acted >= 0 and {known_condition(k)} limit 1"):
        raise DatasetError("auxiliary: is unknown at every observation; choose another one")
    return k


def _node(data: StoredDataset, name: str, acted: int, table: str, cells: Sequence[str], where: str) -> str:
    """Return a query of rows of `NODE`."""
    columns = ", ".join(f"{cell} as c{place}" for place, cell in enumerate(cells))
    return f"select ({name})::{data.number} as id, ({acted})::tinyint as acted, {columns} from {table} where {where}"


def _reach(data: StoredDataset) -> None:
    """Make the table `REACHED` (id) of the observations that are reached and never acted from."""
    database = data.database
    if data.frames > MOST_BITS:
        database.keep(
            REACHED,
            f"select distinct x.successor as id from {JOINED} as x anti join {JOINED} as y on y.source = x.successor",
        )
        return
    acted, reached = (database.occurring(name, JOINED, data.frames) for name in ("source", "successor"))
    database.execute(f"create or replace table {REACHED} (id bigint)")
    for start in range(0, len(acted), BYTES_AT_ONCE):
        part = slice(start, start + BYTES_AT_ONCE)
        found = np.flatnonzero(np.unpackbits(reached[part] & ~acted[part])) + 8 * start
        if len(found):
            database.load(REACHED, {"id": found}, append=True)


def known_condition(components: int) -> str:
    """Return the condition that every component of p of a row of `NODE` is known."""
    return " and ".join(f"{NODE}.c{place} is not null" for place in range(components))


def build_graph(data: StoredDataset, components: int, by_content: bool, folded: bool = False) -> StoredGraph:
    """Make the tables ``vertex``, ``edge`` and `MEMBER` from `NODE` and `PAIR`.

    Args:
        data: the dataset.
        components: number of components of p in `NODE`.
        by_content: whether observations of equal content are one.
        folded: whether the table ``representative`` (id, name) says what was merged.
    """
    database, known = data.database, known_condition(components)
    sources, leaves, unknown, of_known, occurring, loose = database.row(
        f"select count(*) filter (where acted = 1), count(*) filter (where acted = 0 and {known}), "
        f"count(*) filter (where acted = 1 and not ({known})), count(*) filter (where acted >= 0 and {known}), "
        f"count(*) filter (where acted >= 0), count(*) filter (where acted = 0 and not ({known})) from {NODE}"
    )
    number = data.number
    cells = ", ".join(f"c{place}" for place in range(components))
    values = database.keep(
        "value", f"select {cells}, min(id)::{number} as code from {NODE} where acted >= 0 and {known} group by {cells}"
    )
    equal = " and ".join(f"{NODE}.c{place} = value.c{place}" for place in range(components))
    stands = f"(acted = 1 or (acted = 0 and {known}))"
    name = "coalesce(representative.name, node.id)" if folded else "node.id"
    merged = "left join representative on representative.id = node.id" if folded else ""
    member = f"select {NODE}.id::{number} as id, {name}::{number} as v from {NODE} {merged} where {stands}"
    if folded:
        database.keep("merged_member", member)
        member = "select * from merged_member"
    database.execute(f"create or replace view {MEMBER} as {member}")
    code = (
        f"select {name}::{number} as v, coalesce(value.code, -1)::{number} as code from {NODE} {merged} "
        f"left join value on {equal} where {stands}"
    )
    database.keep("vertex", f"select v, max(code) as code from ({code}) group by v" if folded else code)
    actions = database.arrays(f"select distinct action from {PAIR} order by action")["action"].astype(np.int64)
    database.keep(LOOSE, f"select {NODE}.id as id from {NODE} where acted = 0 and not coalesce({known}, false)")
    _edges(database, actions, number, folded, loose=bool(loose))
    return StoredGraph(
        data=data,
        components=components,
        actions=actions,
        sources=int(sources),
        leaves=int(leaves),
        unknown_sources=int(unknown),
        values=values,
        known=int(of_known),
        occurring=int(occurring),
        single=not (folded or is_grouped(data)) or _single(database),
        folded=folded,
        joined=by_content,
    )


def _edges(database: Database, actions: Ids, number: str, folded: bool, loose: bool) -> None:
    index = f"{PAIR}.action"
    join = ""
    if (actions != np.arange(len(actions))).any():
        database.load("coded", {"action": actions, "place": np.arange(len(actions))})
        index, join = "coded.place", f"join coded on coded.action = {PAIR}.action"
    source, successor = f"{PAIR}.source", f"{PAIR}.successor"
    if folded:
        join += f" left join representative as x on x.id = {source} left join representative as y on y.id = {successor}"
        source, successor = f"coalesce(x.name, {source})", f"coalesce(y.name, {successor})"
    if loose:
        join += (
            f" semi join vertex on vertex.v = {successor}"
            if folded
            else f" anti join {LOOSE} on {LOOSE}.id = {successor}"
        )
    distinct = "distinct" if folded else ""
    database.keep(
        "edge",
        f"select {distinct} {source}::{number} as v, {index}::integer as a, {successor}::{number} as s "
        f"from {PAIR} {join}",
    )


def _single(database: Database) -> bool:
    """Return whether no vertex has two edges."""
    edges, different = database.row("select count(*), approx_count_distinct(v) from edge")
    if edges > 1.5 * different + 100:
        return False
    return not database.rows("select v from edge group by v having count(*) > 1 limit 1")


def labels_of_nodes(graph: StoredGraph, cells: Sequence[str]) -> str:
    """Return a query (v, l0, l1, ...) of vertices and the ground truth of their observations.

    Where nothing was merged, it has the observations too that are no vertices.
    """
    columns = ", ".join(f"{OBSERVATION}.{cell} as l{place}" for place, cell in enumerate(cells))
    if not graph.folded:
        return f"select {OBSERVATION}.id as v, {columns} from {OBSERVATION}"
    return f"select {MEMBER}.v as v, {columns} from {MEMBER} join {OBSERVATION} on {OBSERVATION}.id = {MEMBER}.id"
