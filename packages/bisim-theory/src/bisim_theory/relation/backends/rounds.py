"""Refinement of a graph into classes of identical behaviour as joins and groups, for engines that read SQL.

A class is named by its smallest vertex, and what defines it is compared itself: nothing is hashed and trusted. An
engine holds the graph as two tables of whole numbers.

- ``vertex (v, code)``: every vertex, and the code of its p, -1 where it is unknown, which is a value of its own here;
- ``edge (v, a, s)``: from v, action a = 0, 1, ... leads to s; no two rows have one v and one a.
"""

from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.backends.base import Engine

CLASSES = "class"
"""Name of the table (v, name) that is left in the engine: the smallest vertex of the class of every vertex."""

ACTIONS_AT_ONCE = 16
"""Actions whose successors are columns of one table."""

_TEMPORARY = ("step", "word", "wide")


def refine(engine: Engine, actions: int, single: bool, progress: ProgressCallback = silent) -> int:
    """Compute the table `CLASSES` from the tables ``vertex`` and ``edge``.

    Args:
        engine: holds the tables.
        actions: number of action codes.
        single: whether no vertex has two edges. Then each round doubles the steps that are compared.
        progress: called in each round with the number of classes, and with no end that is known.

    Returns:
        The number of classes.
    """
    classes = _by_doubling(engine, progress) if single else _by_steps(engine, actions, progress)
    engine.drop(*_TEMPORARY)
    return classes


def _by_doubling(engine: Engine, progress: ProgressCallback) -> int:
    """Name the first 1, 2, 4, ... steps from every vertex until no more steps tell any apart."""
    engine.keep(
        "step",
        "select vertex.v as v, vertex.code as n1, coalesce(edge.a, -1) as n2, coalesce(edge.s, -1) as jump "
        "from vertex left join edge on vertex.v = edge.v",
    )
    classes = 0
    while True:
        found = engine.keep("word", "select n1, n2, min(v) as name from step group by n1, n2")
        if found == classes:
            return classes
        classes = found
        progress(classes, classes + 1)
        engine.keep(
            CLASSES,
            "select step.v as v, word.name as name, step.jump as jump from step "
            "join word on step.n1 = word.n1 and step.n2 = word.n2",
        )
        engine.keep(
            "step",
            "select x.v as v, x.name as n1, coalesce(y.name, -1) as n2, coalesce(y.jump, -1) as jump "
            f"from {CLASSES} as x left join {CLASSES} as y on x.jump = y.v",
        )


def _by_steps(engine: Engine, actions: int, progress: ProgressCallback) -> int:
    """Split classes by where each action leads, one step a round, until nothing changes."""
    engine.keep("word", "select code, min(v) as name from vertex group by code")
    engine.keep(CLASSES, "select vertex.v as v, word.name as name from vertex join word on vertex.code = word.code")
    classes = 0
    while True:
        found = _split(engine, actions)
        if found == classes:
            return classes
        classes = found
        progress(classes, classes + 1)


def _split(engine: Engine, actions: int) -> int:
    """Split the classes by the classes that all actions lead to; return how many there are then."""
    found = 0
    engine.keep("reached", f"select v as s, name as t from {CLASSES}")
    for begin in range(0, max(actions, 1), ACTIONS_AT_ONCE):
        part = range(begin, min(begin + ACTIONS_AT_ONCE, actions))
        cells = ", ".join(f"max(case when edge.a = {a} then reached.t else -1 end) as s{a}" for a in part)
        engine.keep(
            "wide",
            f"select edge.v as v, {cells or 'min(-1) as s0'} from edge join reached on edge.s = reached.s "
            f"where edge.a >= {begin} and edge.a < {begin + ACTIONS_AT_ONCE} group by edge.v",
        )
        names = [f"s{a}" for a in part] or ["s0"]
        columns = ", ".join(f"coalesce(wide.{name}, -1) as {name}" for name in names)
        engine.keep(
            "step",
            f"select {CLASSES}.v as v, {CLASSES}.name as n1, {columns} from {CLASSES} "
            f"left join wide on {CLASSES}.v = wide.v",
        )
        key = ", ".join(["n1", *names])
        found = engine.keep("word", f"select {key}, min(v) as name from step group by {key}")
        equal = " and ".join(f"step.{name} = word.{name}" for name in ("n1", *names))
        engine.keep(CLASSES, f"select step.v as v, word.name as name from step join word on {equal}")
    engine.drop("reached")
    return found
