"""R_D* as a table of the levels of all pairs of classes, filled breadth first by Definition 4's iteration."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.graph import UNKNOWN, Behaviour, ranges

Table = NDArray[np.unsignedinteger[Any]]

FRONTIER = 2_000_000
"""Most pairs that are followed back through the transitions at a time, or listed between two levels."""

TABLE_ROWS = 256
"""Rows of the table that are processed together."""

_PUSH_COST = 50
"""Measured cost of following one pair back through one action, in reads of a table entry."""


def table_relation(behaviour: Behaviour, progress: ProgressCallback = silent) -> "TableRelation":
    """Compute R_D* as a table of one byte a pair of classes, two from level 256 on."""
    return TableRelation(behaviour, _Filling(behaviour, progress).run())


@dataclass(frozen=True, eq=False)
class _Column:
    """The edges of one action, by source class and by target class."""

    source: Ids
    target: Ids
    by_target: NDArray[np.int32]
    starts: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, source: Ids, target: Ids, classes: int) -> "_Column":
        by_target = source[np.argsort(target, kind="stable")].astype(np.int32)
        counts = np.bincount(target, minlength=classes).astype(np.int32)
        return cls(source, target, by_target, np.cumsum(counts, dtype=np.int32) - counts, counts)

    def predecessors(self, pairs: Ids, classes: int) -> Iterator[Ids]:
        """Yield the pairs x < y from which the action leads to one of `pairs`, as x * C + y, in pieces."""
        u, v = pairs // classes, pairs % classes
        sizes = self.counts[u].astype(np.int64) * self.counts[v]
        u, v, sizes = u[sizes > 0], v[sizes > 0], sizes[sizes > 0]
        ends = np.cumsum(sizes)
        begin = 0
        while begin < len(u):
            done = ends[begin - 1] if begin else 0
            stop = max(int(np.searchsorted(ends, done + FRONTIER, side="right")), begin + 1)
            part = slice(begin, stop)
            which = np.repeat(np.arange(begin, stop), sizes[part])
            within = np.arange(len(which)) - np.repeat(ends[part] - sizes[part] - done, sizes[part])
            x = self.by_target[self.starts[u[which]] + within // self.counts[v[which]]].astype(np.int64)
            y = self.by_target[self.starts[v[which]] + within % self.counts[v[which]]]
            yield np.minimum(x, y) * classes + np.maximum(x, y)
            begin = stop


class _Filling:
    """Definition 4's rounds: each finds the pairs of one level from those of the level before.

    A round that follows many new pairs tests for every pair where it leads (pull). A round that follows few goes from
    each of them back through the transitions (push). Each pair is pushed at most once, so deep data costs no more than
    shallow data.
    """

    def __init__(self, behaviour: Behaviour, progress: ProgressCallback) -> None:
        self.behaviour, self.progress = behaviour, progress
        number, edges = behaviour.classes, behaviour.edges
        self.table: Table = np.empty((number, number), np.uint8)
        np.not_equal(behaviour.auxiliary[:, None], behaviour.auxiliary, out=self.table)
        unknown = behaviour.auxiliary == UNKNOWN
        self.table[unknown] = self.table[:, unknown] = 0
        of_action = [edges.action == action for action in range(len(behaviour.actions))]
        self.columns = [_Column.of(edges.source[rows], edges.successor[rows], number) for rows in of_action]
        self.pull_cost = sum(len(column.source) ** 2 for column in self.columns)

    def run(self) -> Table:
        known = self.behaviour.auxiliary[self.behaviour.auxiliary != UNKNOWN]
        counts = np.bincount(known)
        new = (len(known) ** 2 - int((counts.astype(np.int64) ** 2).sum())) // 2
        level, frontier = 1, None
        while new:
            if level == np.iinfo(self.table.dtype).max:
                self.table = self.table.astype(np.uint16 if self.table.dtype == np.uint8 else np.uint32)
            if new * len(self.columns) * _PUSH_COST > self.pull_cost:
                new, frontier = self._pull(level), None
            else:
                new, frontier = self._push(level, frontier)
            level += 1
        return self.table

    def _pull(self, level: int) -> int:
        """Mark the pairs of the next level by where they lead, and return their number."""
        table, edges, new = self.table, self.behaviour.edges, 0
        for x in range(len(table)):
            row = table[x]
            for action, successor in zip(*edges.of(x), strict=True):
                column = self.columns[action]
                at_level = table[successor].take(column.target) == level
                found = column.source[at_level & (row.take(column.source) == 0)]
                row[found] = level + 1
                new += len(found)
            self.progress(x + 1, len(table))
        return new // 2

    def _push(self, level: int, frontier: Ids | None) -> tuple[int, Ids | None]:
        """Mark the pairs of the next level from those of this one; return their number, and them if they are few."""
        found: list[Ids] = []
        number = 0
        for pairs in self._pairs(level, frontier):
            for column in self.columns:
                for reached in column.predecessors(pairs, len(self.table)):
                    new = np.unique(reached[self.table.ravel()[reached] == 0])
                    x, y = new // len(self.table), new % len(self.table)
                    self.table[x, y] = self.table[y, x] = level + 1
                    number += len(new)
                    if number <= FRONTIER:
                        found.append(new)
        return number, np.concatenate([*found, np.empty(0, np.int64)]) if number <= FRONTIER else None

    def _pairs(self, level: int, frontier: Ids | None) -> Iterator[Ids]:
        """Yield the pairs x < y of a level as x * C + y, in pieces; those of a long frontier come from the table."""
        if frontier is not None:
            yield frontier
            return
        rows = max(FRONTIER // len(self.table), 1)
        for start in range(0, len(self.table), rows):
            x, y = np.nonzero(self.table[start : start + rows] == level)
            upper = x + start < y
            yield (x[upper] + start) * len(self.table) + y[upper]


@dataclass(frozen=True, eq=False)
class TableRelation(Relation):
    """R_D* as a table.

    Attributes:
        behaviour: observations by identical observed behaviour.
        table: (C, C) levels of pairs of classes.
    """

    behaviour: Behaviour
    table: Table

    def class_levels(self, a: Ids, b: Ids) -> NDArray[Any]:
        """Return the levels of pairs of classes, elementwise."""
        return np.asarray(self.table[a, b])

    def apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        """Return (len(a), len(b)) whether classes of behaviour are distinguished."""
        return self.table[a][:, b] != 0

    def _blocks(self) -> Iterator[tuple[int, Table]]:
        for start in range(0, len(self.table), TABLE_ROWS):
            yield start, self.table[start : start + TABLE_ROWS]

    @functools.cached_property
    def distinguished_pairs_per_level(self) -> list[int]:
        """Number of unordered pairs of observations that enter R_D* at level 1, 2, ..."""
        sizes = self.behaviour.sizes
        counts = np.zeros(int(self.table.max()) + 1, np.int64)
        for size, row in zip(sizes, self.table, strict=True):
            counts += size * np.bincount(row, sizes, len(counts)).astype(np.int64)  # sums up to n: exact in float64
        return (counts[1:] // 2).tolist()

    def equal_label_pairs(self, code: Ids) -> int:
        """Count the unordered pairs in R_D* of observations with equal codes (n,)."""
        pairs = 0
        for classes, sizes in self._classes_by_label(code):
            for start in range(0, len(classes), TABLE_ROWS):
                rows = slice(start, start + TABLE_ROWS)
                related = self.apart(classes[rows], classes).astype(np.float64) @ sizes  # up to n: exact
                pairs += int(related.astype(np.int64) @ sizes[rows])
        return pairs // 2

    def equal_label_pairs_per_level(self, code: Ids) -> list[int]:
        """Count the unordered pairs in R_D* of observations with equal codes (n,), by level from 1."""
        counts = np.zeros(int(self.table.max()) + 1, np.int64)
        for classes, sizes in self._classes_by_label(code):
            for each, size in zip(classes.tolist(), sizes.tolist(), strict=True):
                row = self.table[each, classes]
                counts += size * np.bincount(row, sizes, len(counts)).astype(np.int64)  # sums up to n: exact in float64
        return (counts[1:] // 2).tolist()

    def _classes_by_label(self, code: Ids) -> Iterator[tuple[Ids, Ids]]:
        """Yield for each code the classes that have it, sorted, and how many of its observations each has."""
        order = np.lexsort((self.behaviour.class_of, code))
        ends = np.flatnonzero(np.diff(code[order], append=code.max() + 1)) + 1
        for members in np.split(self.behaviour.class_of[order], ends[:-1]):
            yield np.unique(members, return_counts=True)

    def pairs_at(self, level: int) -> Pairs:
        """Return all unordered pairs of observations that enter R_D* at a level."""
        sizes = self.behaviour.sizes
        per_class = np.empty(len(self.table), np.int64)
        for start, rows in self._blocks():
            at_level = np.triu(rows == level, start + 1)  # classes after the row's own
            per_class[start : start + len(rows)] = (at_level @ sizes.astype(np.float64)).astype(np.int64)
        return _TablePairs(self, level, per_class * sizes)

    @functools.cached_property
    def _row_kind(self) -> Ids:
        """(C,) integers, equal for classes with equal sets of bisimilar classes."""
        seen: dict[bytes, int] = {}
        digests = (hashlib.blake2b(np.packbits(row == 0).data, digest_size=32).digest() for row in self.table)
        return np.array([seen.setdefault(digest, len(seen)) for digest in digests])

    @functools.cached_property
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids (x, y, z) with (x, y) and (y, z) in B_D* and (x, z) in R_D*; None where B_D* is an equivalence."""
        kind = self._row_kind
        for y, row in enumerate(self.table):
            near = np.flatnonzero(row == 0)
            odd = near[kind[near] != kind[y]]
            if len(odd) == 0:
                continue
            # `other` is bisimilar to y and differs in its set of bisimilar classes, so one of the two sets has a
            # class that the other lacks.
            other = int(odd[0])
            for middle, end in ((y, other), (other, y)):
                apart = np.flatnonzero((self.table[middle] == 0) & (self.table[end] != 0))
                if len(apart):
                    return self.first_member(end), self.first_member(middle), self.first_member(int(apart[0]))
        return None

    @functools.cached_property
    def classes(self) -> Ids | None:
        """(n,) class 0, 1, ... of every observation where B_D* is an equivalence, else None."""
        if self.intransitive_triple is not None:
            return None
        return self._row_kind[self.behaviour.class_of]

    def clique(self) -> Ids:
        """Find pairwise distinguished classes greedily, in two orders, and return the larger set."""
        return max(self._greedy_clique(among_open=True), self._greedy_clique(among_open=False), key=len)

    def _greedy_clique(self, among_open: bool) -> Ids:
        """Choose the class that is distinguished from most others, open ones or all, until none is open."""
        open_ = np.arange(len(self.table))
        degree = np.count_nonzero(self.table, axis=1)
        chosen = []
        while len(open_):
            best = int(open_[degree[open_].argmax()])
            chosen.append(best)
            stays = self.table[best, open_] != 0
            gone, open_ = open_[~stays], open_[stays]
            if among_open:
                degree[open_] -= np.count_nonzero(self.table[np.ix_(gone, open_)], axis=0)
        return np.sort(np.array(chosen))


@dataclass(frozen=True, eq=False)
class _TablePairs(Pairs):
    relation: TableRelation
    level: int
    per_class: Ids  # pairs of an observation of each class with one of a later class

    @functools.cached_property
    def _ends(self) -> Ids:
        return np.cumsum(self.per_class)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, index: Ids) -> tuple[Ids, Ids]:
        """Return the ids of the pairs at positions `index`."""
        behaviour = self.relation.behaviour
        sizes, before = behaviour.sizes, behaviour.ends - behaviour.sizes
        x_class = np.searchsorted(self._ends, index, side="right")
        within = index - (self._ends[x_class] - self.per_class[x_class])
        x, y = np.empty(len(index), np.int64), np.empty(len(index), np.int64)
        by_class = np.argsort(x_class, kind="stable")
        for rows in np.split(by_class, np.flatnonzero(np.diff(x_class[by_class])) + 1):
            if not len(rows):
                continue
            a = int(x_class[rows[0]])
            after = a + 1 + np.flatnonzero(self.relation.table[a, a + 1 :] == self.level)
            columns = behaviour.order[ranges(before[after], sizes[after])]
            x[rows] = behaviour.order[before[a] + within[rows] // len(columns)]
            y[rows] = columns[within[rows] % len(columns)]
        return behaviour.observations[x], behaviour.observations[y]
