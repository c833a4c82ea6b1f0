"""R_D* without a table: exact levels of single pairs by search, numbers of pairs estimated from a sample."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids
from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.graph import UNKNOWN, Behaviour

SAMPLED_PAIRS = 20_000
"""Pairs of observations that are drawn uniformly to estimate numbers of pairs."""

CANDIDATES = 400
"""Classes that are drawn uniformly to search for pairwise distinguished ones."""

MOST_VISITED = 2_000_000
"""Most pairs that the search from one pair may visit."""


@dataclass(frozen=True, eq=False)
class SampledRelation(Relation):
    """R_D* without a table: exact for any given pair, estimated where pairs are counted.

    Attributes:
        behaviour: observations by identical observed behaviour.
        x, y, levels: positions of sampled pairs of observations, uniform among all pairs, and their levels.
    """

    behaviour: Behaviour
    x: Ids
    y: Ids
    levels: Ids
    exact = False

    @classmethod
    def of(cls, behaviour: Behaviour) -> "SampledRelation":
        """Draw pairs from a fixed seed and compute their levels."""
        rng = np.random.default_rng(0)
        n = len(behaviour.observations)
        x = rng.integers(n, size=SAMPLED_PAIRS)
        y = (x + rng.integers(1, n, size=SAMPLED_PAIRS)) % n
        classes = zip(behaviour.class_of[x].tolist(), behaviour.class_of[y].tolist(), strict=True)
        return cls(behaviour, x, y, np.array([walk(behaviour, a, b) for a, b in classes]))

    def among(self, positions: Ids) -> "SampledRelation":
        """Return the relation over some of the observations, with the sampled pairs among those."""
        of = np.full(len(self.observations), -1)
        of[positions] = np.arange(len(positions))
        x, y = of[self.x], of[self.y]
        kept = (x >= 0) & (y >= 0)
        behaviour = super().among(positions).behaviour
        return replace(self, behaviour=behaviour, x=x[kept], y=y[kept], levels=self.levels[kept])

    def class_levels(self, a: Ids, b: Ids) -> NDArray[Any]:
        """Return the levels of pairs of classes, elementwise, by one search for each."""
        a, b = np.broadcast_arrays(a, b)
        pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
        return np.array([walk(self.behaviour, i, j) for i, j in pairs], np.int64).reshape(a.shape)

    def _estimate(self, sampled: int) -> int:
        n = len(self.observations)
        return round(n * (n - 1) / 2 * sampled / max(len(self.levels), 1))

    @functools.cached_property
    def distinguished_pairs_per_level(self) -> list[int]:
        """Estimated number of unordered pairs of observations that enter R_D* at level 1, 2, ..."""
        return [self._estimate(number) for number in np.bincount(self.levels)[1:].tolist()]

    def equal_label_pairs(self, code: Ids) -> int:
        """Estimate the number of unordered pairs in R_D* of observations with equal codes (n,)."""
        return self._estimate(int(((code[self.x] == code[self.y]) & (self.levels > 0)).sum()))

    def equal_label_pairs_per_level(self, code: Ids) -> list[int]:
        """Estimate the number of unordered pairs in R_D* of observations with equal codes (n,), by level from 1."""
        equal = np.bincount(self.levels[code[self.x] == code[self.y]], minlength=1)
        return [self._estimate(number) for number in equal[1:].tolist()]

    def pairs_at(self, level: int) -> Pairs:
        """Return the sampled pairs of a level."""
        chosen = np.flatnonzero(self.levels == level)
        return _SampledPairs(self.observations[self.x[chosen]], self.observations[self.y[chosen]])

    @functools.cached_property
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids of an example that B_D* is not transitive, if the sample holds one; None decides nothing here."""
        bisimilar = np.flatnonzero(self.levels == 0)[:CANDIDATES]
        for x, y in zip(self.x[bisimilar].tolist(), self.y[bisimilar].tolist(), strict=True):
            a, b = self.behaviour.class_of[[x, y]].tolist()
            for z in self.y[bisimilar].tolist():
                c = int(self.behaviour.class_of[z])
                if walk(self.behaviour, b, c) == 0 and walk(self.behaviour, a, c) != 0:
                    return int(self.observations[x]), int(self.observations[y]), int(self.observations[z])
        return None

    @property
    def classes(self) -> None:
        """None: whether B_D* is an equivalence is not decided."""
        return

    def clique(self) -> Ids:
        """Find pairwise distinguished classes greedily among `CANDIDATES` sampled ones."""
        rng = np.random.default_rng(0)
        remaining = rng.permutation(self.behaviour.classes)[:CANDIDATES]
        chosen = []
        while len(remaining):
            chosen.append(int(remaining[0]))
            remaining = remaining[self.class_levels(remaining[:1], remaining) != 0]
        return np.sort(np.array(chosen))


def walk(behaviour: Behaviour, a: int, b: int) -> int:
    """Compute the level of a pair of classes by breadth-first search through the pairs that it leads to; 0 in B_D*.

    Raises:
        DatasetError: the search visits more than `MOST_VISITED` pairs.
    """
    p = behaviour.auxiliary
    if a == b:
        return 0
    level, frontier, seen = 1, [(a, b)], {(a, b)}
    while frontier:
        if any(p[i] != p[j] and UNKNOWN not in (p[i], p[j]) for i, j in frontier):
            return level
        reached = []
        for i, j in frontier:
            (actions, to_i), (others, to_j) = behaviour.edges.of(i), behaviour.edges.of(j)
            other = dict(zip(others.tolist(), to_j.tolist(), strict=True))
            for action, u in zip(actions.tolist(), to_i.tolist(), strict=True):
                v = other.get(action, u)
                pair = (u, v) if u < v else (v, u)
                if u != v and pair not in seen:
                    seen.add(pair)
                    reached.append(pair)
        if len(seen) > MOST_VISITED:
            raise DatasetError(
                f"source: one pair of behaviours leads to more than {MOST_VISITED:,} others; take fewer transitions"
            )
        level, frontier = level + 1, reached
    return 0


@dataclass(frozen=True, eq=False)
class _SampledPairs(Pairs):
    x: Ids
    y: Ids

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Ids) -> tuple[Ids, Ids]:
        """Return the ids of the pairs at positions `index`."""
        return self.x[index], self.y[index]
