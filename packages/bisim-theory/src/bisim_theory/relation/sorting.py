"""Sorted order of the trajectories of a graph in which no vertex has two edges, and what neighbours have in common."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.numbering import blocks, id_type, ids, number, order_of, positions, signed_type
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.graph import ObservedGraph, SingleEdges, ranges
from bisim_theory.relation.minima import RangeMinima
from bisim_theory.relation.prefixes import EQUAL, CommonPrefixes

THIN = 32
"""Vertices at one distance from the end of their trajectories below which the others are sorted without an end."""


@dataclass(frozen=True, eq=False)
class SortedTrajectories:
    """The different trajectories of a graph, by p, then by action, then by what follows.

    Attributes:
        place: (V,) place 0, 1, ... of the trajectory of every vertex; equal ones have one place.
        prefixes: common prefixes of the trajectories at neighbouring places.
    """

    place: Ids
    prefixes: CommonPrefixes


@dataclass(frozen=True, eq=False)
class Steps:
    """A graph in which no vertex has two edges.

    Attributes:
        symbol: (V,) p and action of the step from each vertex; the action is the remainder by `actions`, 0 is none.
        actions: number of codes of actions, none included.
        successor: (V,) vertex that follows, -1 where the trajectory ends.
    """

    symbol: Ids
    actions: int
    successor: Ids

    @classmethod
    def of(cls, graph: ObservedGraph) -> "Steps":
        """Take the edges of a graph with one action a source."""
        actions = len(graph.actions) + 1
        edges = graph.edges if isinstance(graph.edges, SingleEdges) else SingleEdges.of(graph.edges)
        symbol = graph.auxiliary.astype(signed_type((int(graph.auxiliary.max()) + 2) * actions))
        symbol *= actions
        for block in blocks(edges.vertices):
            symbol[block] += edges.action_of[block] + symbol.dtype.type(1)
        return cls(symbol, actions, edges.successor_of.astype(id_type(edges.vertices + 2), copy=False))


def sort_trajectories(graph: ObservedGraph) -> SortedTrajectories:
    """Sort the trajectories of a graph with one action a source."""
    return sort_steps(Steps.of(graph))


def sort_steps(steps: Steps) -> SortedTrajectories:
    """Sort trajectories.

    Equal ones are joined first, from their ends on, in linear time. What is left is sorted by prefix doubling.
    """
    class_of, steps = _join_from_the_end(steps)
    place, prefixes = _Doubling(steps).run()
    for block in blocks(len(class_of)):
        class_of[block] = place[class_of[block]]
    return SortedTrajectories(class_of, prefixes)


def _join_from_the_end(steps: Steps) -> tuple[Ids, Steps]:
    """Join vertices of equal trajectories that end, as far as many vertices are as far from their end.

    Trajectories of one length are equal iff their first symbols are, and those that follow, which are shorter by one.

    Returns:
        (V,) the class of every vertex, and the steps of the classes.
    """
    symbol, successor = steps.symbol, steps.successor
    least = int(symbol.min())
    symbols = int(symbol.max()) - least + 1
    before = _Predecessors(successor)
    # A vertex is asked for its predecessors before it gets its class c, as -2 - c, and never again.
    class_of = before.one
    layer, done, shorter = positions(successor < 0), 0, 0
    first = [np.empty(0, successor.dtype)]
    while len(layer) and (done == 0 or len(layer) >= THIN):
        longer = before.of(layer)
        below = symbols * max(shorter, 1)
        key: Ids = np.empty(len(layer), id_type(below))
        for block in blocks(len(layer)):
            follows = -2 - (done - shorter) - class_of[successor[layer[block]]].astype(np.int64) if done else 0
            key[block] = symbol[layer[block]].astype(np.int64) - least + follows * symbols
        code, first_of_code = number(key, below)
        class_of[layer] = -2 - done - code
        first.append(layer[first_of_code])
        shorter = len(first_of_code)
        done += shorter
        layer = longer
    rest = positions(class_of >= -1)
    class_of[rest] = -2 - done - ids(len(rest))
    for block in blocks(len(class_of)):
        class_of[block] = -2 - class_of[block]
    chosen = np.concatenate([*first, rest])
    after = successor[chosen]
    return class_of, Steps(symbol[chosen], steps.actions, np.where(after >= 0, class_of[after], after))


class _Predecessors:
    """The vertices that lead to given ones: one for each in an array, others in sorted lists."""

    def __init__(self, successor: Ids) -> None:
        self.one = np.full(len(successor), -1, successor.dtype)
        others = [np.empty(0, successor.dtype)]
        for block in blocks(len(successor)):
            vertices = np.arange(block.start, block.stop, dtype=successor.dtype)[successor[block] >= 0]
            self.one[successor[vertices]] = vertices
        for block in blocks(len(successor)):
            vertices = np.arange(block.start, block.stop, dtype=successor.dtype)[successor[block] >= 0]
            others.append(vertices[self.one[successor[vertices]] != vertices])
        vertices = np.concatenate(others)
        vertices = vertices[order_of(successor[vertices], len(successor))]
        self.others, self.leads_to = vertices, successor[vertices]

    def of(self, vertices: Ids) -> Ids:
        """Return the predecessors of different vertices."""
        found = self.one[vertices]
        found = found[found >= 0]
        if len(self.others):
            start = np.searchsorted(self.leads_to, vertices)
            length = np.searchsorted(self.leads_to, vertices, side="right") - start
            found = np.concatenate([found, self.others[ranges(start, length)]])
        return found


class _Doubling:
    """Prefix doubling: vertices sorted by their first 1, 2, 4, ... steps, until no longer prefix splits any.

    Attributes:
        order: (V,) vertices in sorted order.
        rank: (V + 1,) position in `order` of the first vertex with an equal prefix; -1 of the end, which is V.
        common: (V - 1,) common prefix of neighbours in `order`, `EQUAL` as long as no difference is known.
        jump: (V + 1,) the vertices that as many steps lead to.
    """

    def __init__(self, steps: Steps) -> None:
        vertices, kind = len(steps.symbol), id_type(len(steps.symbol) + 1)
        self.order = np.argsort(steps.symbol, kind="stable").astype(kind)
        symbol = steps.symbol[self.order]
        starts = np.concatenate([[True], symbol[1:] != symbol[:-1]])
        self.common = np.full(vertices - 1, EQUAL, np.int32)
        same_p = symbol[1:] // steps.actions == symbol[:-1] // steps.actions
        self.common[starts[1:]] = same_p[starts[1:]]
        self.rank = np.empty(vertices + 1, kind)
        self.rank[self.order] = _starts_before(starts, kind)
        self.rank[vertices] = -1
        self.jump = np.append(np.where(steps.successor >= 0, steps.successor, vertices), vertices).astype(kind)

    def run(self) -> tuple[Ids, CommonPrefixes]:
        """Return the place of every vertex, and the common prefixes of neighbouring places."""
        steps = 1
        while self._double(steps):
            self.jump = self.jump[self.jump]
            steps *= 2
        starts = np.concatenate([[True], self.common != EQUAL])
        place: Ids = np.empty(len(self.order), id_type(len(self.order)))
        place[self.order] = np.cumsum(starts, dtype=place.dtype) - 1
        return place, CommonPrefixes(self.common[starts[1:]])

    def _double(self, steps: int) -> bool:
        """Sort by twice as many steps; return whether that split any vertices."""
        tied = self.common == EQUAL
        at = positions(np.append(tied, False) | np.append(False, tied))
        if not len(at):
            return False
        vertices = self.order[at]
        key = self.rank[vertices].astype(np.int64) * (len(self.order) + 1)
        key += self.rank[self.jump[vertices]] + 1
        by_key = np.argsort(key)
        key, vertices = key[by_key], vertices[by_key]
        group = self.rank[vertices]
        new = np.flatnonzero((key[1:] != key[:-1]) & (group[1:] == group[:-1]))
        if not len(new):
            return False
        x, y = self.rank[self.jump[vertices[new]]], self.rank[self.jump[vertices[new + 1]]]
        self.common[at[new]] = 2 * steps + RangeMinima(self.common).of(x, y)
        self.order[at] = vertices
        starts = np.concatenate([[True], key[1:] != key[:-1]])
        self.rank[vertices] = at[_starts_before(starts, at.dtype)]
        return True


def _starts_before(starts: NDArray[np.bool_], kind: np.dtype[np.signedinteger[Any]]) -> Ids:
    """Return for each entry the position of the last one, up to itself, where `starts` is True."""
    return np.maximum.accumulate(np.where(starts, np.arange(len(starts), dtype=kind), 0)).astype(kind, copy=False)
