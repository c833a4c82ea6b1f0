"""The empirical largest bisimulation B_D*, its complement R_D*, levels and witnesses (Definition 4)."""

import functools
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
        counts = []
        for level in range(1, int(self.table.max()) + 1):
            # Row by row, so that no second table is made; products of counts stay below n^2 < 2^63.
            ordered = sum(int(size * sizes[row == level].sum()) for size, row in zip(sizes, self.table, strict=True))
            counts.append(ordered // 2)
        return counts

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
        equal = sum(int((members[i] * members[row != 0].sum(0)).sum()) for i, row in enumerate(self.table))
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


def _levels(behaviour: Behaviour) -> NDArray[np.uint16]:
    """Definition 4's iteration on pairs of classes."""
    table = (behaviour.auxiliary[:, None] != behaviour.auxiliary).astype(np.uint16)
    columns = []
    for column in behaviour.successor.T:
        defined = np.flatnonzero(column >= 0)
        columns.append((defined, column[defined]))
    level, new = 1, [(-1, np.empty(0, np.int64))]
    while new:
        new = []
        for defined, reached in columns:
            for source, target in zip(defined.tolist(), reached.tolist(), strict=True):
                hit = defined[(table[target, reached] == level) & (table[source, defined] == 0)]
                if len(hit):
                    new.append((source, hit))
        level += 1
        for source, hit in new:  # only now, so that a round sees the round before and nothing of its own
            table[source, hit] = level
    return table
