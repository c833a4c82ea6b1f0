"""R_D* of trajectories: data in which no source has more than one observed action.

Each source begins one sequence p0 a0 p1 a1 ..., its trajectory. A pair is in R_D* at level t iff the first difference
of its two trajectories is at p_{t-1}. Where the first difference is at an action, or there is none, the pair is in
B_D*. So the common prefixes of neighbours in the sorted list of trajectories determine all of R_D*.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.graph import Behaviour, Edges, ObservedGraph
from bisim_theory.relation.prefixes import (
    CommonPrefixes,
    RectanglePairs,
    levels_of,
    pairs_per_level,
    rectangles,
    sort_by_label,
)
from bisim_theory.relation.refinement import group


def single_action(edges: Edges) -> bool:
    """Return whether no vertex has two edges, so that every source begins one trajectory."""
    return bool(edges.degree.max(initial=0) <= 1)


def trajectory_relation(graph: ObservedGraph) -> "TrajectoryRelation":
    """Compute R_D* of data with one action a source and every p known, in O(n log n)."""
    sorted_ = sort_trajectories(graph)
    first = np.unique(sorted_.rank, return_index=True)[1]
    return TrajectoryRelation(group(graph, sorted_.rank), sorted_.common_prefixes(first))


@dataclass(frozen=True, eq=False)
class SortedTrajectories:
    """The trajectories of all vertices in sorted order, by prefix doubling as for suffix arrays.

    Attributes:
        auxiliary: (V,) code of p per vertex.
        ranks: (V,) places 0, 1, ... of the first 1, 2, 4, ... steps from every vertex; the last are of all steps.
        jumps: (V,) the vertices that as many steps lead to, -1 where the trajectory ends before.
    """

    auxiliary: Ids
    ranks: list[NDArray[np.int32]]
    jumps: list[NDArray[np.int32]]

    @property
    def rank(self) -> Ids:
        """(V,) place 0, 1, ... of the trajectory of every vertex; equal ones have one place."""
        return self.ranks[-1].astype(np.int64)

    def common_prefixes(self, vertices: Ids) -> CommonPrefixes:
        """Compute the common prefixes of vertices with different trajectories, which are in sorted order."""
        x, y = vertices[:-1], vertices[1:]
        steps = np.zeros(len(x), np.int64)
        for power in reversed(range(len(self.ranks) - 1)):
            equal = self.ranks[power][x] == self.ranks[power][y]
            x, y = np.where(equal, self.jumps[power][x], x), np.where(equal, self.jumps[power][y], y)
            steps += equal * 2**power
        return CommonPrefixes((2 * steps + (self.auxiliary[x] == self.auxiliary[y])).astype(np.int32))


def sort_trajectories(graph: ObservedGraph) -> SortedTrajectories:
    """Sort the trajectories of a graph with one action a source: by p, then by action, then by what follows."""
    edges = graph.edges
    successor = np.full(edges.vertices, -1, np.int32)
    successor[edges.source] = edges.successor
    action = np.full(edges.vertices, -1)
    action[edges.source] = edges.action
    symbol = graph.auxiliary * (len(graph.actions) + 1) + action + 1  # p and action of one step
    rank = np.unique(symbol, return_inverse=True)[1].reshape(-1).astype(np.int32)
    ranks, jumps = [rank], [successor]
    while True:
        rank, jump = ranks[-1], jumps[-1]
        number = int(rank.max()) + 1
        second = np.where(jump >= 0, rank[jump], -1) + np.int64(1)
        finer = np.unique(rank * np.int64(number + 1) + second, return_inverse=True)[1].reshape(-1).astype(np.int32)
        if int(finer.max()) + 1 == number:  # as many prefixes of 2L steps as of L: longer ones do not split
            return SortedTrajectories(graph.auxiliary, ranks, jumps)
        ranks.append(finer)
        jumps.append(np.where(jump >= 0, jump[jump], np.int32(-1)))


@dataclass(frozen=True, eq=False)
class TrajectoryRelation(Relation):
    """R_D* of trajectories; classes are numbered in the sorted order of their trajectories.

    Attributes:
        behaviour: observations by identical trajectories.
        prefixes: what the trajectories of the classes have in common.
    """

    behaviour: Behaviour
    prefixes: CommonPrefixes

    def class_levels(self, a: Ids, b: Ids) -> Ids:
        """Return the levels of pairs of classes, elementwise."""
        return self.prefixes.levels(a, b)

    def apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        """Return (len(a), len(b)) whether classes are distinguished; `a` and `b` are sorted."""
        return self.prefixes.apart(a, b)

    @functools.cached_property
    def distinguished_pairs_per_level(self) -> list[int]:
        """Number of unordered pairs of observations that enter R_D* at level 1, 2, ..."""
        _, rows, _, columns = self._rectangles
        return pairs_per_level(levels_of(self.prefixes.common), rows * columns)

    @property
    def _rectangles(self) -> tuple[Ids, Ids, Ids, Ids]:
        """First row, number of rows, first column and number of columns, in observations, of every rectangle."""
        before = np.concatenate([[0], self.behaviour.ends])
        r = self.prefixes.rectangles
        first_row, first_column = before[r.start], before[r.middle]
        return first_row, first_column - first_row, first_column, before[r.stop] - first_column

    def equal_label_pairs(self, code: Ids) -> int:
        """Count the unordered pairs in R_D* of observations with equal codes (n,)."""
        common = sort_by_label(self.prefixes, self.behaviour.class_of, code)[1]
        r = rectangles(common)
        return int(((r.middle - r.start) * (r.stop - r.middle))[common % 2 == 0].sum())

    def pairs_at(self, level: int) -> Pairs:
        """Return all unordered pairs of observations that enter R_D* at a level."""
        at = np.flatnonzero(levels_of(self.prefixes.common) == level)
        return RectanglePairs(
            self.behaviour.observations[self.behaviour.order], *(each[at] for each in self._rectangles)
        )

    @functools.cached_property
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids (x, y, z) with (x, y) and (y, z) in B_D* and (x, z) in R_D*; None where B_D* is an equivalence."""
        # Inside the rectangle of a boundary at an action: two trajectories that part at p, and across the boundary a
        # third one that is bisimilar to both.
        r, by_action = self.prefixes.rectangles, self.prefixes.common % 2 == 1
        parts = np.concatenate([[0], np.cumsum(~by_action)])
        wide = np.flatnonzero(by_action & (parts[r.stop - 1] > parts[r.start]))
        if not len(wide):
            return None
        outer = int(wide[0])
        inside = slice(int(r.start[outer]), int(r.stop[outer]) - 1)
        x = inside.start + int(np.flatnonzero(~by_action[inside])[0])
        y = outer + 1 if x < outer else outer
        return self.first_member(x), self.first_member(y), self.first_member(x + 1)

    @functools.cached_property
    def classes(self) -> Ids | None:
        """(n,) class 0, 1, ... of every observation where B_D* is an equivalence, else None."""
        if self.intransitive_triple is not None:
            return None
        return np.concatenate([[0], np.cumsum(self.prefixes.common % 2 == 0)])[self.behaviour.class_of]

    def clique(self) -> Ids:
        """Find a largest set of pairwise distinguished classes."""
        return self.prefixes.clique()
