"""The quotient of a graph on disk by classes of identical behaviour, in memory, and the relation over it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import value_codes
from bisim_theory.data.transitions import Ids
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.backends.rounds import CLASSES
from bisim_theory.relation.base import Relation
from bisim_theory.relation.compute import relation_of_graph
from bisim_theory.relation.graph import UNKNOWN, Behaviour, Edges, ObservedGraph
from bisim_theory.stored.graph import MEMBER, StoredGraph


@dataclass(frozen=True, eq=False)
class StoredBehaviour(Behaviour):
    """Classes of behaviour of observations on disk: of each class, the first observation stands for all.

    Attributes:
        weights: (C,) number of observations in each class.
    """

    weights: Ids

    @property
    def sizes(self) -> Ids:
        """(C,) number of observations in each class."""
        return self.weights

    def members(self, of_class: int) -> Ids:
        """Return the id of the first observation of a class, alone."""
        return self.first[of_class : of_class + 1]


@dataclass(frozen=True, eq=False)
class Quotient:
    """Classes of identical behaviour, numbered by their first observations.

    Attributes:
        graph: the graph that is divided.
        names: (C,) name of each class in the table of classes.
        first: (C,) its first observation, ascending.
        sizes: (C,) number of its observations.
        auxiliary: (C,) code of p, `UNKNOWN` where it is not known.
        edges: transitions between classes.
    """

    graph: StoredGraph
    names: Ids
    first: Ids
    sizes: Ids
    auxiliary: Ids
    edges: Edges

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, graph: StoredGraph) -> "Quotient":
        """Read the quotient from the tables that a refinement left."""
        database = graph.data.database
        found = database.arrays(
            f"select {CLASSES}.name as name, min({MEMBER}.id) as first, count(*) as size from {MEMBER} "
            f"join {CLASSES} on {CLASSES}.v = {MEMBER}.v group by name order by first"
            if graph.folded
            else f"select name, name as first, count(*) as size from {CLASSES} group by name order by name"
        )
        names, first, sizes = (found[name].astype(np.int64) for name in ("name", "first", "size"))
        number = _Numbering(names)
        database.load("quotient", {"name": names, "number": np.arange(len(names))})
        rows = database.arrays(
            f"select quotient.number as x, edge.a as a, {CLASSES}.name as y from quotient "
            f"join edge on edge.v = quotient.name join {CLASSES} on {CLASSES}.v = edge.s order by 1, 2"
        )
        x, a, y = (rows[name].astype(np.int64) for name in ("x", "a", "y"))
        return cls(graph, names, first, sizes, _codes(graph, len(names)), Edges(len(names), x, a, number(y)))

    def number(self, names: NDArray[Any]) -> Ids:
        """Return the classes 0..C-1 of names in the table of classes."""
        return _Numbering(self.names)(names)

    def relation(self, sample: Callable[[Behaviour], Relation], progress: ProgressCallback = silent) -> Relation:
        """Compute R_D* over the classes, with their sizes; its observations are the first of each class.

        Args:
            sample: estimates it where there are too many classes.
            progress: called with the number of classes done.
        """
        graph = self.graph
        everything = np.arange(len(self))
        observed = ObservedGraph(
            data=cast(Any, graph.data),
            representative=None,
            observations=self.first,
            is_source=np.ones(len(self), bool),
            folded_vertex_of=None,
            auxiliary=self.auxiliary,
            actions=graph.actions,
            edges=self.edges,
        )
        return relation_of_graph(observed, lambda graph: everything, progress, self._weighted, sample)

    def _weighted(self, behaviour: Behaviour) -> StoredBehaviour:
        weights = np.empty_like(self.sizes)
        weights[behaviour.class_of] = self.sizes
        fields = {each.name: getattr(behaviour, each.name) for each in dataclasses.fields(behaviour)}
        return StoredBehaviour(**fields, weights=weights)


class _Numbering:
    """Translates names of classes to numbers."""

    def __init__(self, names: Ids) -> None:
        self._order = np.argsort(names, kind="stable")
        self._sorted = names[self._order]

    def __call__(self, names: NDArray[Any]) -> Ids:
        return self._order[np.searchsorted(self._sorted, names)]


def _codes(graph: StoredGraph, classes: int) -> Ids:
    """Return (C,) codes of p in the order of its values, as in memory."""
    cells = ", ".join(f"value.c{place} as c{place}" for place in range(graph.components))
    found = graph.data.database.arrays(
        f"select quotient.number as number, value.code as code, {cells} from quotient "
        "join vertex on vertex.v = quotient.name "
        "join value on value.code = vertex.code"
    )
    codes = np.full(classes, UNKNOWN)
    column = found["c0"]
    if graph.components == 1 or len(np.unique(column)) == graph.known:
        codes[found["number"]] = value_codes(column)
    else:  # vectors are in the order of the first observations that have them
        codes[found["number"]] = np.unique(found["code"], return_inverse=True)[1].reshape(-1)
    return codes
