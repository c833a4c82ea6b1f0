"""Common prefixes of sorted trajectories, which decide where any two of them part, and the pairs that part there."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.numbering import add_counts, blocks, count, id_type, number, pair_key, positions
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Pairs
from bisim_theory.relation.minima import RangeMinima, last_smaller

T = TypeVar("T")

EQUAL = 2**31 - 1
"""Common prefix of equal trajectories; odd, as for a pair in B_D*."""


@dataclass(frozen=True, eq=False)
class CommonPrefixes:
    """The prefixes that m trajectories share, each named by its place 0..m-1 in their sorted order.

    Attributes:
        common: (m - 1,) length of the prefix that each trajectory shares with the next one, counting each p and each
            action as one; even where the two first differ in p.
    """

    common: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.common) + 1

    @functools.cached_property
    def _minima(self) -> RangeMinima:
        return RangeMinima(self.common)

    def shared(self, a: Ids, b: Ids) -> NDArray[np.int32]:
        """Return the common prefixes of pairs of places, in arrays of one shape."""
        low, high = np.minimum(a, b), np.maximum(a, b)
        shared = np.full(low.shape, EQUAL, np.int32)
        differ = high > low
        shared[differ] = self._minima.of(low[differ], high[differ])
        return shared

    def levels(self, a: Ids, b: Ids) -> Ids:
        """Return the levels of pairs of places (any shape, broadcast), 0 where the pair is in B_D*."""
        return levels_of(self.shared(*np.broadcast_arrays(a, b)))

    def apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        """Return (len(a), len(b)) whether places are distinguished; `a` and `b` are sorted."""
        # The prefix shared with an entry of `a` only shrinks on the way up through `b`, and on the way down.
        place = np.searchsorted(b, a)
        up = self._shrinking(a, b, place)
        down = self._shrinking(-a, -b[::-1], len(b) - place)[:, ::-1]
        shared = np.where(np.arange(len(b)) >= place[:, None], up, down)
        return shared % 2 == 0

    def _shrinking(self, a: Ids, b: Ids, place: Ids) -> NDArray[np.int32]:
        """Return (len(a), len(b)) the prefixes shared with b[j], j >= place, as running minima from `place` on."""
        steps = np.concatenate([[EQUAL], self.shared(abs(b[:-1]), abs(b[1:]))]).astype(np.int32)
        matrix = np.where(np.arange(len(b)) > place[:, None], steps[: len(b)], np.int32(EQUAL))
        inside = np.flatnonzero(place < len(b))
        matrix[inside, place[inside]] = self.shared(abs(a[inside]), abs(b[place[inside]]))
        return np.asarray(np.minimum.accumulate(matrix, axis=1))

    def among(self, places: Ids) -> "CommonPrefixes":
        """Return the common prefixes of some places alone, which are sorted; equal places are equal trajectories."""
        return CommonPrefixes(self.shared(places[:-1], places[1:]))

    @functools.cached_property
    def rectangles(self) -> "Rectangles":
        """All pairs of places x < y, each in the rectangle of the boundary where the two part."""
        return rectangles(self.common)

    def clique(self) -> Ids:
        """Find a largest set of pairwise distinguished places, sorted.

        R_D* of trajectories is a cograph: the sets on both sides of a boundary at p are joined, of those at an action
        the larger is kept.
        """
        chosen = np.ones(len(self), bool)
        Interval = tuple[int, int, int]  # first place, place behind the last, and size of a largest set among them

        def join(left: Interval, right: Interval, apart: bool) -> Interval:
            if apart:
                return left[0], right[1], left[2] + right[2]
            large, small = (left, right) if left[2] > right[2] else (right, left)
            chosen[small[0] : small[1]] = False
            return left[0], right[1], large[2]

        combine(self.common, ((place, place + 1, 1) for place in range(len(self))), join)
        return positions(chosen)


def combine(common: NDArray[np.int32], each: Iterable[T], join: Callable[[T, T, bool], T]) -> T:
    """Combine a value for each place into one value, joining neighbours with the longest common prefix first.

    Args:
        common: (m - 1,) common prefixes of neighbours in sorted order.
        each: the values of m places.
        join: joins the values of two intervals, given whether all places of one are distinguished from all of the
            other by where they part.
    """
    waiting: list[T] = []
    boundaries = [-2]  # before the first place; then those after each of `waiting`
    boundaries_after = itertools.chain.from_iterable(common[block].tolist() for block in blocks(len(common)))
    for value, shared in zip(each, itertools.chain(boundaries_after, [-1]), strict=True):
        current = value
        while boundaries[-1] >= shared:
            current = join(waiting.pop(), current, boundaries.pop() % 2 == 0)
        waiting.append(current)
        boundaries.append(shared)
    return waiting[0]


def levels_of(common: NDArray[np.integer]) -> Ids:
    """Return the levels at which trajectories with these common prefixes part, 0 for pairs in B_D*."""
    wide = common.astype(np.int64)
    return np.where(wide % 2 == 0, wide // 2 + 1, 0)


@dataclass(frozen=True, eq=False)
class Rectangles:
    """The pairs [start, middle) x [middle, stop) that part at each boundary between neighbours in sorted order."""

    start: Ids
    middle: Ids
    stop: Ids


def rectangles(common: NDArray[np.int32]) -> Rectangles:
    """Compute the rectangle of every boundary.

    It begins after the last boundary before it with as short a common prefix, and ends at the next with a shorter one.
    """
    start = last_smaller(common, or_equal=True) + 1
    stop = len(common) - last_smaller(common[::-1])[::-1]
    return Rectangles(start, np.arange(1, len(common) + 1, dtype=start.dtype), stop)


def count_by_label(place: Ids, places: int, label: Ids) -> tuple[Ids, Ids, Ids]:
    """Count observations by label and place.

    Args:
        place: (n,) place 0..places - 1 of the trajectory of each observation.
        places: a number above all of them.
        label: (n,) integers from 0 on.

    Returns:
        Label, place and number of observations of each combination that occurs, sorted by label, then by place.
    """
    combinations = (int(label.max()) + 1) * places
    if combinations <= 2 * len(place):
        counts = np.zeros(combinations, id_type(len(place) + 1))
        for block in blocks(len(place)):
            add_counts(counts, pair_key(label[block], place[block], places))
        found = np.flatnonzero(counts)
        return found // places, found % places, counts[found]
    key = pair_key(label, place, places)
    code, first = number(key, combinations)
    order = np.argsort(key[first])
    return label[first[order]], place[first[order]], count(code, len(first))[order]


def between_labels(prefixes: CommonPrefixes, label: Ids, place: Ids) -> NDArray[np.int32]:
    """Return the common prefixes of neighbours that are sorted by label: -1, odd as in B_D*, between labels."""
    return np.where(label[:-1] == label[1:], prefixes.shared(place[:-1], place[1:]), np.int32(-1))


def pairs_apart(common: NDArray[np.int32], *counts: Ids) -> list[int]:
    """Count the pairs in R_D* of sorted observations.

    Args:
        common: (m - 1,) common prefixes of neighbours in sorted order.
        counts: (m,) numbers of observations, each of which gets an answer of its own.
    """
    return [int(pairs.sum()) for pairs in _products(common, common % 2 == 0, *counts)]


def pairs_apart_per_level(common: NDArray[np.int32], *counts: Ids) -> list[list[int]]:
    """Count the pairs in R_D* of sorted observations by level; arguments as for `pairs_apart`."""
    at_p = common % 2 == 0
    return [pairs_per_level(levels_of(common[at_p]), pairs) for pairs in _products(common, at_p, *counts)]


def _products(common: NDArray[np.int32], at: NDArray[np.bool_], *counts: Ids) -> Iterator[Ids]:
    """Yield for each of `counts` the number of pairs of observations that part at each of some boundaries."""
    r = rectangles(common)
    start, middle, stop = r.start[at], r.middle[at], r.stop[at]
    for each in counts:
        before = np.concatenate([[0], np.cumsum(each, dtype=np.int64)])
        yield (before[middle] - before[start]) * (before[stop] - before[middle])


def pairs_per_level(levels: Ids, pairs: Ids) -> list[int]:
    """Sum up numbers of pairs by level 1, 2, ...; those of level 0, in B_D*, are left out."""
    counts = np.zeros(int(levels.max(initial=0)) + 1, np.int64)
    np.add.at(counts, levels, pairs)
    return positive_levels(counts)


def positive_levels(counts: Ids) -> list[int]:
    """Return the numbers of level 1, 2, ..., without zeros at the end."""
    return np.trim_zeros(counts[1:], "b").tolist()


@dataclass(frozen=True, eq=False)
class RectanglePairs(Pairs):
    """The pairs of rectangles, each of a range of observations with another range.

    Attributes:
        listed: ids of observations, in which rows and columns are ranges.
        first_row, rows: (R,) position in `listed` of the first row of each rectangle, and number of rows.
        first_column, columns: (R,) position in `listed` of its first column, and number of columns.
    """

    listed: Ids
    first_row: Ids
    rows: Ids
    first_column: Ids
    columns: Ids

    @functools.cached_property
    def _ends(self) -> Ids:
        return np.cumsum(self.rows * self.columns)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def take(self, index: Ids) -> tuple[Ids, Ids]:
        """Return the ids of the pairs at positions `index`."""
        which = np.searchsorted(self._ends, index, side="right")
        columns = self.columns[which]
        within = index - (self._ends[which] - self.rows[which] * columns)
        x = self.listed[self.first_row[which] + within // columns]
        y = self.listed[self.first_column[which] + within % columns]
        return x, y
