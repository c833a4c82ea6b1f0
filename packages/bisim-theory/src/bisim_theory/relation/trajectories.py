"""R_D* of trajectories: data in which no source has more than one observed action.

Each source begins one sequence p0 a0 p1 a1 ..., its trajectory. A pair is in R_D* at level t iff the first difference
of its two trajectories is at p_{t-1}. Where the first difference is at an action, or there is none, the pair is in
B_D*. So the common prefixes of neighbours in the sorted list of trajectories determine all of R_D*.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.graph import Behaviour, Edges, ObservedGraph
from bisim_theory.relation.refinement import group

_NEVER = 2**31 - 1
"""Common prefix of a trajectory with itself; odd, as for a pair in B_D*."""


def single_action(edges: Edges) -> bool:
    """Return whether no vertex has two edges, so that every source begins one trajectory."""
    return bool(edges.degree.max(initial=0) <= 1)


def trajectory_relation(graph: ObservedGraph) -> "TrajectoryRelation":
    """Compute R_D* of data with one action a source in O(n log n), by prefix doubling as for suffix arrays."""
    edges = graph.edges
    successor = np.full(edges.vertices, -1, np.int32)
    successor[edges.source] = edges.successor
    action = np.full(edges.vertices, -1)
    action[edges.source] = edges.action
    symbol = graph.auxiliary * (len(graph.actions) + 1) + action + 1  # p and action of one step
    ranks, jumps = _double(symbol, successor)
    trajectory = ranks[-1]
    behaviour = group(graph, trajectory.astype(np.int64))
    first = np.unique(trajectory, return_index=True)[1]
    return TrajectoryRelation(behaviour, _common_prefixes(first, graph.auxiliary, ranks, jumps))


def _double(symbol: Ids, successor: NDArray[np.int32]) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
    """Rank the first 1, 2, 4, ... symbols from every vertex until ranks no longer split.

    Returns:
        The ranks of each length, and the vertex that as many steps lead to, -1 where the trajectory ends before.
    """
    rank = np.unique(symbol, return_inverse=True)[1].reshape(-1).astype(np.int32)
    ranks, jumps = [rank], [successor]
    while True:
        rank, jump = ranks[-1], jumps[-1]
        number = int(rank.max()) + 1
        second = np.where(jump >= 0, rank[jump], -1) + np.int64(1)
        finer = np.unique(rank * np.int64(number + 1) + second, return_inverse=True)[1].reshape(-1).astype(np.int32)
        if int(finer.max()) + 1 == number:  # as many prefixes of 2L symbols as of L: longer ones do not split
            return ranks, jumps
        ranks.append(finer)
        jumps.append(np.where(jump >= 0, jump[jump], np.int32(-1)))


def _common_prefixes(
    vertices: Ids, auxiliary: Ids, ranks: list[NDArray[np.int32]], jumps: list[NDArray[np.int32]]
) -> NDArray[np.int32]:
    """Compute (C - 1,) the common prefixes of neighbours in sorted order, counting each p and each action as one."""
    x, y = vertices[:-1], vertices[1:]
    steps = np.zeros(len(x), np.int64)
    for power in reversed(range(len(ranks) - 1)):
        equal = ranks[power][x] == ranks[power][y]
        x, y = np.where(equal, jumps[power][x], x), np.where(equal, jumps[power][y], y)
        steps += equal * 2**power
    return (2 * steps + (auxiliary[x] == auxiliary[y])).astype(np.int32)


@dataclass(frozen=True, eq=False)
class TrajectoryRelation(Relation):
    """R_D* of trajectories; classes are numbered in the sorted order of their trajectories.

    Attributes:
        behaviour: observations by identical trajectories.
        common: (C - 1,) length of the prefix that each trajectory shares with the next one, counting each p and each
            action as one; even where the two first differ in p.
    """

    behaviour: Behaviour
    common: NDArray[np.int32]

    @functools.cached_property
    def _minima(self) -> list[NDArray[np.int32]]:
        """Minima of `common` over windows of 1, 2, 4, ... neighbours."""
        minima = [self.common]
        while len(minima[-1]) > 2 ** (len(minima) - 1):
            last, shift = minima[-1], 2 ** (len(minima) - 1)
            minima.append(np.minimum(last[:-shift], last[shift:]))
        return minima

    def _shared(self, a: Ids, b: Ids) -> NDArray[np.int32]:
        """Return the common prefixes of pairs of classes, in arrays of one shape."""
        low, high = np.minimum(a, b), np.maximum(a, b)
        shared = np.full(low.shape, _NEVER, np.int32)
        power = np.frexp(np.maximum(high - low, 1).astype(np.float64))[1] - 1
        for k in np.unique(power[high > low]).tolist():
            at = (power == k) & (high > low)
            window = self._minima[k]
            shared[at] = np.minimum(window[low[at]], window[high[at] - 2**k])
        return shared

    def class_levels(self, a: Ids, b: Ids) -> Ids:
        """Return the levels of pairs of classes, elementwise."""
        shared = self._shared(*np.broadcast_arrays(a, b)).astype(np.int64)
        return np.where(shared % 2 == 0, shared // 2 + 1, 0)

    def apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        """Return (len(a), len(b)) whether classes are distinguished; `a` and `b` are sorted."""
        # The prefix shared with an entry of `a` only shrinks on the way up through `b`, and on the way down.
        place = np.searchsorted(b, a)
        up = self._shrinking(a, b, place)
        down = self._shrinking(-a, -b[::-1], len(b) - place)[:, ::-1]
        shared = np.where(np.arange(len(b)) >= place[:, None], up, down)
        return shared % 2 == 0

    def _shrinking(self, a: Ids, b: Ids, place: Ids) -> NDArray[np.int32]:
        """Return (len(a), len(b)) the prefixes shared with b[j], j >= place, as running minima from `place` on."""
        steps = np.concatenate([[_NEVER], self._shared(abs(b[:-1]), abs(b[1:]))]).astype(np.int32)
        matrix = np.where(np.arange(len(b)) > place[:, None], steps, np.int32(_NEVER))
        inside = np.flatnonzero(place < len(b))
        matrix[inside, place[inside]] = self._shared(abs(a[inside]), abs(b[place[inside]]))
        return np.asarray(np.minimum.accumulate(matrix, axis=1))

    @functools.cached_property
    def _rectangles(self) -> "_Rectangles":
        """All pairs of classes x < y, each in the rectangle of the boundary where their trajectories part."""
        return _rectangles(self.common)

    @functools.cached_property
    def distinguished_pairs_per_level(self) -> list[int]:
        """Number of unordered pairs of observations that enter R_D* at level 1, 2, ..."""
        levels, pairs = self._pairs_per_boundary()
        counts = np.zeros(int(levels.max(initial=0)) + 1, np.int64)
        np.add.at(counts, levels, pairs)
        counts[0] = 0
        return np.trim_zeros(counts, "b")[1:].tolist()

    def _pairs_per_boundary(self) -> tuple[Ids, Ids]:
        """Return the level (0 in B_D*) and the number of pairs of observations of every rectangle."""
        before = np.concatenate([[0], self.behaviour.ends])
        r = self._rectangles
        rows, columns = before[r.middle] - before[r.start], before[r.stop] - before[r.middle]
        common = self.common.astype(np.int64)
        return np.where(common % 2 == 0, common // 2 + 1, 0), rows * columns

    def equal_label_pairs(self, code: Ids) -> int:
        """Count the unordered pairs in R_D* of observations with equal codes (n,)."""
        # Trajectories are sorted within each label. The -1 between two labels is odd, as for pairs in B_D*.
        order = np.lexsort((self.behaviour.class_of, code))
        classes, labels = self.behaviour.class_of[order], code[order]
        common = np.where(labels[:-1] == labels[1:], self._shared(classes[:-1], classes[1:]), -1)
        r = _rectangles(common)
        pairs = (r.middle - r.start) * (r.stop - r.middle)
        return int(pairs[common % 2 == 0].sum())

    def pairs_at(self, level: int) -> Pairs:
        """Return all unordered pairs of observations that enter R_D* at a level."""
        levels, pairs = self._pairs_per_boundary()
        return _TrajectoryPairs(self.behaviour, self._rectangles, np.flatnonzero(levels == level), pairs)

    @functools.cached_property
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids (x, y, z) with (x, y) and (y, z) in B_D* and (x, z) in R_D*; None where B_D* is an equivalence."""
        # Inside the rectangle of a boundary at an action: two trajectories that part at p, and across the boundary a
        # third one that is bisimilar to both.
        r, by_action = self._rectangles, self.common % 2 == 1
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
        return np.concatenate([[0], np.cumsum(self.common % 2 == 0)])[self.behaviour.class_of]

    def clique(self) -> Ids:
        """Find a largest set of pairwise distinguished classes.

        R_D* of trajectories is a cograph: the sets on both sides of a boundary at p are joined, of those at an action
        the larger is kept.
        """
        waiting: list[tuple[int, list[int]]] = []
        current = [0]

        def close(until: int, current: list[int]) -> list[int]:
            while waiting and waiting[-1][0] >= until:
                common, left = waiting.pop()
                if common % 2 == 0:
                    large, small = (left, current) if len(left) > len(current) else (current, left)
                    large.extend(small)
                    current = large
                else:
                    current = left if len(left) > len(current) else current
            return current

        for each, common in enumerate(self.common.tolist(), start=1):
            waiting.append((common, close(common, current)))
            current = [each]
        return np.sort(close(-1, current))


@dataclass(frozen=True, eq=False)
class _Rectangles:
    """The pairs [start, middle) x [middle, stop) that part at each boundary between neighbours in sorted order."""

    start: Ids
    middle: Ids
    stop: Ids


def _rectangles(common: ArrayLike) -> _Rectangles:
    """Compute the rectangle of every boundary.

    It begins after the last boundary before it with as short a common prefix, and ends at the next with a shorter one.
    """
    values = np.asarray(common)
    number = len(values)
    start, stop = np.empty(number, np.int64), np.full(number, number + 1)
    waiting: list[int] = []
    shared = values.tolist()
    starts, stops = start.tolist(), stop.tolist()
    for i, length in enumerate(shared):
        while waiting and shared[waiting[-1]] > length:
            stops[waiting.pop()] = i + 1
        starts[i] = waiting[-1] + 1 if waiting else 0
        waiting.append(i)
    return _Rectangles(np.array(starts, np.int64), np.arange(1, number + 1), np.array(stops, np.int64))


@dataclass(frozen=True, eq=False)
class _TrajectoryPairs(Pairs):
    behaviour: Behaviour
    rectangles: _Rectangles
    boundaries: Ids
    pairs_per_boundary: Ids

    @functools.cached_property
    def _ends(self) -> Ids:
        return np.cumsum(self.pairs_per_boundary[self.boundaries])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def take(self, index: Ids) -> tuple[Ids, Ids]:
        """Return the ids of the pairs at positions `index`."""
        which = np.searchsorted(self._ends, index, side="right")
        boundary = self.boundaries[which]
        within = index - (self._ends[which] - self.pairs_per_boundary[boundary])
        before = np.concatenate([[0], self.behaviour.ends])
        r = self.rectangles
        columns = before[r.stop[boundary]] - before[r.middle[boundary]]
        order, ids = self.behaviour.order, self.behaviour.observations
        x = order[before[r.start[boundary]] + within // columns]
        y = order[before[r.middle[boundary]] + within % columns]
        return ids[x], ids[y]
