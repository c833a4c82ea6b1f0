"""The empirical largest bisimulation B_D*, its complement R_D*, levels and witnesses (Definition 4)."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.behaviour import Behaviour, quotient
from bisim_theory.transitions import DatasetError, Ids, TransitionDataset

MOST_CLASSES = 20_000
"""Classes up to which the table of all class pairs is built; two bytes a pair."""


@dataclass(frozen=True, eq=False)
class Relation:
    """R_D* and B_D* over the sources of a dataset.

    A pair of sources is in R_D* at level t if it enters at round t of Definition 4's iteration: level 1 where p
    differs, level t where some action observed from both leads to a pair of level t - 1 and none to a lower one.
    Level 0 stands for B_D*, which is an equivalence only where coverage allows: see `classes`.

    Attributes:
        behaviour: sources by identical observed behaviour.
        table: (C, C) levels of pairs of classes.
    """

    behaviour: Behaviour
    table: NDArray[np.uint16]

    @property
    def sources(self) -> Ids:
        """(n,) ids of the observations that act as sources, sorted."""
        return self.behaviour.sources

    def positions(self, ids: ArrayLike) -> Ids:
        """Where ids of observations stand in `sources`; raises `DatasetError` for one that is never a source."""
        wanted = np.asarray(ids)
        found = np.searchsorted(self.sources, wanted)
        found = np.minimum(found, len(self.sources) - 1)
        missing = np.atleast_1d(wanted)[np.atleast_1d(self.sources[found] != wanted)]
        if len(missing):
            raise DatasetError(f"observation {missing[0]} is never a source, so the relation does not speak of it")
        return found

    def level(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.uint16]:
        """Levels of pairs of observation ids (any shape, broadcast): 0 where the pair is in B_D*.

        Raises:
            DatasetError: an id is never a source.
        """
        classes = self.behaviour.class_of
        return self.table[classes[self.positions(x)], classes[self.positions(y)]]

    def witness(self, x: int, y: int) -> list[int] | None:
        """A shortest sequence of action codes after which p differs, or None for a pair in B_D*.

        Both observations follow it through observed transitions; it is empty where p differs at once, and has one
        action less than the level of the pair.
        """
        behaviour = self.behaviour
        a, b = (int(behaviour.class_of[self.positions(i)]) for i in (x, y))
        level = int(self.table[a, b])
        if level == 0:
            return None
        actions = []
        while level > 1:
            both = np.flatnonzero((behaviour.successor[a] >= 0) & (behaviour.successor[b] >= 0))
            reached = self.table[behaviour.successor[a, both], behaviour.successor[b, both]]
            action = int(both[np.flatnonzero(reached == level - 1)[0]])
            actions.append(int(behaviour.actions[action]))
            a, b = int(behaviour.successor[a, action]), int(behaviour.successor[b, action])
            level -= 1
        return actions

    @functools.cached_property
    def distinguished_pairs_per_level(self) -> list[int]:
        """Unordered pairs of sources that enter R_D* at level 1, 2, ..."""
        sizes = self.behaviour.sizes
        counts = np.zeros(int(self.table.max()) + 1, np.int64)
        for size, row in zip(sizes, self.table, strict=True):
            counts += size * np.bincount(row, sizes, len(counts)).astype(np.int64)  # sums up to n: exact in float64
        return (counts[1:] // 2).tolist()

    @property
    def distinguished_pairs(self) -> int:
        """Unordered pairs of sources in R_D*."""
        return sum(self.distinguished_pairs_per_level)

    @property
    def bisimilar_pairs(self) -> int:
        """Unordered pairs of different sources in B_D*."""
        n = len(self.sources)
        return n * (n - 1) // 2 - self.distinguished_pairs

    @functools.cached_property
    def _row_kind(self) -> Ids:
        """(C,) equal for classes with equal sets of bisimilar classes."""
        seen: dict[bytes, int] = {}
        return np.array([seen.setdefault(np.packbits(row == 0).tobytes(), len(seen)) for row in self.table])

    @functools.cached_property
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids (x, y, z) with (x, y) and (y, z) in B_D* and (x, z) in R_D*; None where B_D* is an equivalence."""
        kind = self._row_kind
        for y, row in enumerate(self.table):
            near = np.flatnonzero(row == 0)
            odd = near[kind[near] != kind[y]]
            if len(odd) == 0:
                continue
            # A neighbour of y with other neighbours than y: one of the two has a neighbour that the other has not.
            other = int(odd[0])
            for middle, end in ((y, other), (other, y)):
                apart = np.flatnonzero((self.table[middle] == 0) & (self.table[end] != 0))
                if len(apart):
                    return self._member(end), self._member(middle), self._member(int(apart[0]))
        return None

    def _member(self, index: int) -> int:
        """The first source of a class."""
        return int(self.sources[np.flatnonzero(self.behaviour.class_of == index)[0]])

    @functools.cached_property
    def classes(self) -> Ids | None:
        """(n,) class 0, 1, ... of every source where B_D* is an equivalence, else None."""
        if self.intransitive_triple is not None:
            return None
        return self._row_kind[self.behaviour.class_of]

    @property
    def bisimulation_classes(self) -> int | None:
        """How many classes B_D* has, or None where it is not transitive."""
        return None if self.classes is None else int(self.classes.max()) + 1

    def certified_share(self, labels: NDArray[Any]) -> float | None:
        """Pairs in R_D* over all pairs, both among pairs of sources with different labels; None without such a pair.

        Args:
            labels: (F,) one label per observation, the ground truth.
        """
        certified, _split = self._pairs_by_label(labels)
        sizes = np.unique(labels[self.sources], return_counts=True)[1].astype(object)
        apart = (sizes.sum() ** 2 - (sizes**2).sum()) // 2
        return certified / apart if apart else None

    def distinguished_within_label(self, labels: NDArray[Any]) -> int:
        """Unordered pairs in R_D* with equal labels: where positive, the data knows more than the labels say."""
        return self._pairs_by_label(labels)[1]

    def _pairs_by_label(self, labels: NDArray[Any]) -> tuple[int, int]:
        """Pairs in R_D* with different and with equal labels."""
        values, code = np.unique(labels[self.sources], return_inverse=True)
        members = np.zeros((len(self.table), len(values)), np.int64)
        np.add.at(members, (self.behaviour.class_of, code), 1)
        equal = 0
        for start in range(0, len(self.table), 1024):
            rows = slice(start, start + 1024)
            related = (self.table[rows] != 0).astype(np.float64) @ members  # counts of sources: exact in float64
            equal += int(related.astype(np.int64).ravel() @ members[rows].ravel())
        return self.distinguished_pairs - equal // 2, equal // 2

    def sample_pairs(self, level: int, most: int, rng: np.random.Generator) -> tuple[Ids, Ids, bool]:
        """Ids x and y of pairs that enter at `level`: all of them, once each, if at most `most`, else a uniform sample.

        Returns:
            x, y and whether they are all.
        """
        a, b = np.nonzero(np.triu(self.table == level))
        sizes = self.behaviour.sizes
        weights = sizes[a] * sizes[b]
        total = int(weights.sum())
        chosen = np.arange(total) if total <= most else rng.integers(total, size=most)
        ends = np.cumsum(weights)
        block = np.searchsorted(ends, chosen, side="right")
        within = chosen - (ends[block] - weights[block])
        order = np.argsort(self.behaviour.class_of, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)])
        x = order[starts[a[block]] + within // sizes[b[block]]]
        y = order[starts[b[block]] + within % sizes[b[block]]]
        return self.sources[x], self.sources[y], total <= most


def empirical_bisimulation(data: TransitionDataset, stands_for: Ids | None = None) -> Relation:
    """Compute R_D* and B_D* exactly, for any coverage of actions (Definition 4).

    Args:
        data: transitions.
        stands_for: (F,) from `bisim_theory.fold` where transitions are not deterministic as they are.

    Returns:
        The relation over the sources of `data`.

    Raises:
        DatasetError: transitions are not deterministic, or there are more than `MOST_CLASSES` different behaviours.
        NoWellTrainedModelError: an observation has several values of p.
    """
    behaviour = quotient(data, stands_for)
    number = len(behaviour.auxiliary)
    if number > MOST_CLASSES:
        raise DatasetError(f"source: {number:,} different observed behaviours; at most {MOST_CLASSES:,} are compared")
    return Relation(behaviour, _levels(behaviour))


FRONTIER = 4_000_000
"""Pairs that are followed back through the transitions at a time, and kept in a list between two levels."""


def _levels(behaviour: Behaviour) -> NDArray[np.uint16]:
    """Definition 4's iteration on pairs of classes: every pair is pushed back once per action, breadth first."""
    table = (behaviour.auxiliary[:, None] != behaviour.auxiliary).astype(np.uint16)
    inverses = [_inverse(column, len(table)) for column in behaviour.successor.T]
    level, frontier = 1, None
    while True:
        found: list[Ids] = []
        for pairs in _pieces(table, level, frontier):
            for inverse in inverses:
                for reached in _predecessors(pairs, inverse, len(table)):
                    new = np.unique(reached[table.ravel()[reached] == 0])
                    x, y = new // len(table), new % len(table)
                    table[x, y] = table[y, x] = level + 1
                    found.append(new)
        if sum(map(len, found)) == 0:
            return table
        level += 1
        frontier = np.concatenate(found) if sum(map(len, found)) <= FRONTIER else None


def _pieces(table: NDArray[np.uint16], level: int, frontier: Ids | None) -> Iterator[Ids]:
    """Pairs x < y of a level as x * C + y, in pieces; those of a long frontier are looked up in the table."""
    if frontier is not None:
        yield frontier
        return
    rows = max(FRONTIER // len(table), 1)
    for start in range(0, len(table), rows):
        x, y = np.nonzero(table[start : start + rows] == level)
        upper = x + start < y
        yield (x[upper] + start) * len(table) + y[upper]


Inverse = tuple[Ids, Ids, Ids]  # predecessors in the order of what they lead to, where each class's begin, how many


def _inverse(successor: Ids, classes: int) -> Inverse:
    defined = np.flatnonzero(successor >= 0)
    order = defined[np.argsort(successor[defined], kind="stable")]
    counts = np.bincount(successor[defined], minlength=classes)
    return order, np.cumsum(counts) - counts, counts


def _predecessors(pairs: Ids, inverse: Inverse, classes: int) -> Iterator[Ids]:
    """Pairs x < y of which one action leads to one of `pairs`, in pieces."""
    order, starts, counts = inverse
    u, v = pairs // classes, pairs % classes
    sizes = counts[u] * counts[v]
    u, v, sizes = u[sizes > 0], v[sizes > 0], sizes[sizes > 0]
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(u):
        done = ends[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(ends, done + FRONTIER, side="right")), begin + 1)
        part = slice(begin, stop)
        which = np.repeat(np.arange(begin, stop), sizes[part])
        within = np.arange(len(which)) - np.repeat(ends[part] - sizes[part] - done, sizes[part])
        x = order[starts[u[which]] + within // counts[v[which]]]
        y = order[starts[v[which]] + within % counts[v[which]]]
        yield np.minimum(x, y) * classes + np.maximum(x, y)
        begin = stop
