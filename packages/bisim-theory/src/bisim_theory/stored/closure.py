"""The closure relation N between observations on disk: what merging two of them forces, along what they lead to."""

import numpy as np

from bisim_theory.data.transitions import DatasetError
from bisim_theory.relation.closure import Closure
from bisim_theory.relation.graph import UNKNOWN
from bisim_theory.stored.graph import StoredGraph
from bisim_theory.stored.identity import PAIR

MOST_OBSERVATIONS = 200_000
"""Most observations that a pair may lead to."""

MOST_STEPS = 10_000
"""Most steps that are followed from a pair; each reads the table of transitions."""


def cannot_collapse(graph: StoredGraph, x: int, y: int) -> bool:
    """Return whether no well-trained model gives two observations one embedding; see `bisim_theory.cannot_collapse`.

    Args:
        graph: the tables.
        x, y: ids, after equal observations are joined.

    Raises:
        DatasetError: the pair leads to more observations than are followed.
    """
    database = graph.data.database
    source, successor = _names(graph, "source"), _names(graph, "successor")
    merged = _joins(graph)
    x, y = (_representative(graph, each) for each in (x, y))
    database.load("near", {"id": np.unique(np.array([x, y], np.int64))})
    database.execute("create or replace table fresh as select * from near")
    (count,) = database.row("select count(*) from near")
    for _ in range(MOST_STEPS):
        database.keep(
            "fresh",
            f"select distinct {successor} as id from {PAIR} {merged} "
            f"where {source} in (select id from fresh) and {successor} not in (select id from near)",
        )
        (new,) = database.row("select count(*) from fresh")
        count += new
        if not new:
            break
        if count > MOST_OBSERVATIONS:
            raise DatasetError(
                f"--pair: {x} and {y} lead to more than {MOST_OBSERVATIONS:,} others; ask with --backend memory"
            )
        database.execute("insert into near select id from fresh")
    rows = database.arrays(
        f"select distinct {source} as x, {PAIR}.action as a, {successor} as y from {PAIR} {merged} "
        f"where {source} in (select id from near) order by 1, 2, 3"
    )
    found = database.arrays(
        "select near.id as id, coalesce(vertex.code, -1) as code from near left join vertex on vertex.v = near.id "
        "order by 1"
    )
    ids = found["id"]
    place = {name: np.searchsorted(ids, rows[name]) for name in ("x", "y")}
    codes = np.where(found["code"] < 0, UNKNOWN, found["code"].astype(np.int64))
    closure = Closure(codes, place["x"], rows["a"].astype(np.int64), place["y"])
    return closure.forbids(*(int(np.searchsorted(ids, each)) for each in (x, y)))


def _names(graph: StoredGraph, end: str) -> str:
    return f"coalesce(of_{end}.name, {PAIR}.{end})" if graph.folded else f"{PAIR}.{end}"


def _joins(graph: StoredGraph) -> str:
    if not graph.folded:
        return ""
    ends = (f"left join representative as of_{end} on of_{end}.id = {PAIR}.{end}" for end in ("source", "successor"))
    return " ".join(ends)


def _representative(graph: StoredGraph, x: int) -> int:
    if not graph.folded:
        return x
    found = graph.data.database.rows("select name from representative where id = ?", [x])
    return int(found[0][0]) if found else x
