"""R_D* of trajectories: data in which no source has more than one observed action.

Each source begins one sequence p0 a0 p1 a1 ..., its trajectory. A pair is in R_D* at level t iff the first difference
of its two trajectories is at p_{t-1}. Where the first difference is at an action, or there is none, the pair is in
B_D*. So the common prefixes of neighbours in the sorted list of trajectories determine all of R_D*.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.numbering import blocks
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.graph import Behaviour, ObservedGraph
from bisim_theory.relation.prefixes import (
    CommonPrefixes,
    RectanglePairs,
    between_labels,
    count_by_label,
    levels_of,
    pairs_apart,
    pairs_apart_per_level,
    positive_levels,
)
from bisim_theory.relation.refinement import group
from bisim_theory.relation.sorting import sort_trajectories


def trajectory_relation(graph: ObservedGraph) -> "TrajectoryRelation":
    """Compute R_D* of data with one action a source and every p known, in O(n log n)."""
    found = sort_trajectories(graph)
    return TrajectoryRelation(group(graph, found.place), found.prefixes)


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
        levels = levels_of(self.prefixes.common)
        counts = np.zeros(int(levels.max(initial=0)) + 1, np.int64)
        for block in blocks(len(levels)):
            _, rows, _, columns = self._rectangles(block)
            np.add.at(counts, levels[block], rows * columns)
        return positive_levels(counts)

    def _rectangles(self, of: slice | Ids) -> tuple[Ids, Ids, Ids, Ids]:
        """First row, number of rows, first column and number of columns, in observations, of some rectangles."""
        before, r = self._before, self.prefixes.rectangles
        first_row, first_column = before[r.start[of]], before[r.middle[of]]
        return first_row, first_column - first_row, first_column, before[r.stop[of]] - first_column

    @functools.cached_property
    def _before(self) -> Ids:
        return np.concatenate([[0], self.behaviour.ends])

    def equal_label_pairs(self, code: Ids) -> int:
        """Count the unordered pairs in R_D* of observations with equal codes (n,)."""
        label, place, counts = count_by_label(self.behaviour.class_of, self.behaviour.classes, code)
        return pairs_apart(between_labels(self.prefixes, label, place), counts)[0]

    def equal_label_pairs_per_level(self, code: Ids) -> list[int]:
        """Count the unordered pairs in R_D* of observations with equal codes (n,), by level from 1."""
        label, place, counts = count_by_label(self.behaviour.class_of, self.behaviour.classes, code)
        return pairs_apart_per_level(between_labels(self.prefixes, label, place), counts)[0]

    def pairs_at(self, level: int) -> Pairs:
        """Return all unordered pairs of observations that enter R_D* at a level."""
        at = np.flatnonzero(levels_of(self.prefixes.common) == level)
        return RectanglePairs(self.behaviour.observations[self.behaviour.order], *self._rectangles(at))

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
