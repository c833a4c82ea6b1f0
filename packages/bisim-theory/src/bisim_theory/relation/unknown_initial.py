"""R_D* of trajectories whose first p may be unknown, as it is of an episode where p is the reward of the step before.

An unknown p matches every value, so a trajectory that has one cannot be sorted among the others. Where no transition
leads to an observation of unknown p, it is the first of its trajectory, and all that follows is known. So two orders
determine R_D*. The trajectories p0 a0 p1 a1 ... of known p0 decide all pairs of those. The tails a0 p1 a1 ... of all
trajectories, each after one symbol in the place of p0, decide every pair with an unknown p0.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.numbering import first_positions, order_of
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.components import components
from bisim_theory.relation.graph import UNKNOWN, Behaviour, ObservedGraph, ranges
from bisim_theory.relation.largest_set import LargestSet
from bisim_theory.relation.prefixes import (
    EQUAL,
    CommonPrefixes,
    RectanglePairs,
    Rectangles,
    between_labels,
    combine,
    count_by_label,
    levels_of,
    pairs_apart_per_level,
    pairs_per_level,
    rectangles,
)
from bisim_theory.relation.refinement import group
from bisim_theory.relation.sorting import sort_trajectories


def only_initial_unknown(graph: ObservedGraph) -> bool:
    """Return whether p is known somewhere, and wherever a transition leads."""
    known = graph.auxiliary != UNKNOWN
    return bool(known.any() and known[graph.edges.successor].all())


def unknown_initial_relation(graph: ObservedGraph) -> "UnknownInitialRelation":
    """Compute R_D* of data with one action a source and p known wherever a transition leads, in O(n log n)."""
    found = sort_trajectories(graph)
    # Trajectories of unknown p0 are sorted by their tails, before all others; they get the last classes.
    classes = len(found.prefixes)
    initial = int((graph.auxiliary[first_positions(found.place, classes)] == UNKNOWN).sum())
    known = classes - initial
    place = found.place
    place -= initial
    place[place < 0] += classes
    behaviour = group(graph, place)
    whole = CommonPrefixes(found.prefixes.common[initial:])
    action, successor = np.full((2, classes), -1)
    action[behaviour.edges.source] = behaviour.edges.action
    successor[behaviour.edges.source] = behaviour.edges.successor
    order = np.lexsort((successor, action))
    return UnknownInitialRelation(behaviour, known, whole, _tails(action[order], successor[order], whole), order)


def _tails(action: Ids, successor: Ids, whole: CommonPrefixes) -> CommonPrefixes:
    """Compute the common prefixes of sorted tails, the symbol in the place of p0 included.

    Args:
        action, successor: (C,) first action of each tail and the class that it leads to, of known p; -1 without one.
        whole: of the trajectories of known p0.
    """
    after = 2 + whole.shared(np.maximum(successor[:-1], 0), np.maximum(successor[1:], 0)).astype(np.int64)
    after = np.where(successor[:-1] == successor[1:], EQUAL, after)
    return CommonPrefixes(np.where(action[:-1] == action[1:], after, 1).astype(np.int32))


@dataclass(frozen=True, eq=False)
class UnknownInitialRelation(Relation):
    """R_D* of trajectories in which only the first p may be unknown.

    Classes of known p come first, in the sorted order of their trajectories; then those of unknown p, in that of their
    tails.

    Attributes:
        behaviour: observations by identical trajectories.
        known: number of classes of known p.
        whole: what the trajectories of the classes of known p have in common.
        tails: what the tails of all classes have in common.
        order: (C,) classes in the sorted order of their tails.
    """

    behaviour: Behaviour
    known: int
    whole: CommonPrefixes
    tails: CommonPrefixes
    order: Ids

    @functools.cached_property
    def _place(self) -> Ids:
        """(C,) place of the tail of each class."""
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        return place

    @functools.cached_property
    def _initial_before(self) -> Ids:
        """(C + 1,) number of classes of unknown p at the first 0, 1, ... places."""
        return np.concatenate([[0], np.cumsum(self.order >= self.known)])

    def class_levels(self, a: Ids, b: Ids) -> Ids:
        """Return the levels of pairs of classes, elementwise."""
        a, b = np.broadcast_arrays(a, b)
        levels = self.tails.levels(self._place[a], self._place[b])
        known = (a < self.known) & (b < self.known)
        levels[known] = self.whole.levels(a[known], b[known])
        return levels

    def apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        """Return (len(a), len(b)) whether classes are distinguished; `a` and `b` are sorted."""
        row, column = np.searchsorted(a, self.known), np.searchsorted(b, self.known)
        apart = np.empty((len(a), len(b)), bool)
        apart[:row, :column] = self.whole.apart(a[:row], b[:column])
        apart[:row, column:] = self._tails_apart(a[:row], b[column:])
        apart[row:] = self._tails_apart(a[row:], b)
        return apart

    def _tails_apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        x, y = self._place[a], self._place[b]
        row, column = np.argsort(x), np.argsort(y)
        apart = np.empty((len(a), len(b)), bool)
        apart[np.ix_(row, column)] = self.tails.apart(x[row], y[column])
        return apart

    def _rectangles(self) -> Iterator[tuple[Ids, Ids, Ids, Ids, Ids]]:
        """Yield rectangles in three parts, which hold all pairs of observations of different classes once.

        Of the pairs that part at a boundary of tails, those with an unknown p are the initial ones in the rows with all
        columns, and the other ones in the rows with the initial columns.

        Yields:
            Level, first row, number of rows, first column and number of columns of each, as positions in `_listed`.
        """
        sizes = self.behaviour.sizes
        observations, known = len(self.behaviour.observations), int(sizes[: self.known].sum())
        of_place = np.where(self.order < self.known, sizes[self.order], 0)
        # Positions in `_listed` of what comes first at a place: in the order of the classes, then of all tails, of the
        # tails of unknown p (the end of the order of the classes), and of those of known p.
        by_class_at, all_at, known_at = (
            np.concatenate([[0], np.cumsum(each)]) for each in (sizes[: self.known], sizes[self.order], of_place)
        )
        initial_at = known + all_at - known_at
        all_at, known_at = observations + all_at, 2 * observations + known_at
        parts = (
            (self.whole, by_class_at, by_class_at),
            (self.tails, initial_at, all_at),
            (self.tails, known_at, initial_at),
        )
        for part, rows_at, columns_at in parts:
            r = part.rectangles
            row, column = rows_at[r.start], columns_at[r.middle]
            yield levels_of(part.common), row, rows_at[r.middle] - row, column, columns_at[r.stop] - column

    @functools.cached_property
    def _listed(self) -> Ids:
        """Ids of observations by class, then by tail, then those of known p by tail."""
        class_of = self.behaviour.class_of
        by_tail = order_of(self._place[class_of], len(self.order))
        is_known = class_of[by_tail] < self.known
        return self.behaviour.observations[np.concatenate([self.behaviour.order, by_tail, by_tail[is_known]])]

    @functools.cached_property
    def distinguished_pairs_per_level(self) -> list[int]:
        """Number of unordered pairs of observations that enter R_D* at level 1, 2, ..."""
        parts = [pairs_per_level(levels, rows * columns) for levels, _, rows, _, columns in self._rectangles()]
        return [sum(each) for each in itertools.zip_longest(*parts, fillvalue=0)]

    def pairs_at(self, level: int) -> Pairs:
        """Return all unordered pairs of observations that enter R_D* at a level."""
        parts = [[each[levels == level] for each in rectangles] for levels, *rectangles in self._rectangles()]
        return RectanglePairs(self._listed, *(np.concatenate(each) for each in zip(*parts, strict=True)))

    def equal_label_pairs(self, code: Ids) -> int:
        """Count the unordered pairs in R_D* of observations with equal codes (n,)."""
        return sum(self.equal_label_pairs_per_level(code))

    def equal_label_pairs_per_level(self, code: Ids) -> list[int]:
        """Count the unordered pairs in R_D* of observations with equal codes (n,), by level from 1."""
        label, of_class, counts = count_by_label(self.behaviour.class_of, self.behaviour.classes, code)
        is_known = of_class < self.known
        common = between_labels(self.whole, label[is_known], of_class[is_known])
        (pairs,) = pairs_apart_per_level(common, counts[is_known])
        place = self._place[of_class]
        order = np.lexsort((place, label))
        common = between_labels(self.tails, label[order], place[order])
        everything, of_known = pairs_apart_per_level(common, counts[order], np.where(is_known, counts, 0)[order])
        per_level = itertools.zip_longest(pairs, everything, of_known, fillvalue=0)
        return [known + every - both for known, every, both in per_level]

    @functools.cached_property
    def _component(self) -> Ids:
        """(C,) component of each class in the graph of B_D*."""
        return components(len(self.order), *self._links)

    @functools.cached_property
    def _links(self) -> tuple[Ids, Ids]:
        """Pairs of classes in B_D*, so many that they connect all that B_D* connects."""
        links = [_links_of_known(self.whole)]
        r, odd, before = self.tails.rectangles, self.tails.common % 2 == 1, self._initial_before
        places = np.flatnonzero(self.order >= self.known)
        left, right = before[r.middle] > before[r.start], before[r.stop] > before[r.middle]
        # An unknown p on both sides connects everything on both. One on the left connects what is on the right, and
        # other boundaries may connect more on the left.
        both = odd & left & right
        cover = _cover(r, both)
        for has, (begin, end), (other, other_end) in (
            (left, (r.start, r.middle), (r.middle, r.stop)),
            (right, (r.middle, r.stop), (r.start, r.middle)),
        ):
            kept = np.flatnonzero(odd & has & (cover == both))
            links.append(_spread(places[before[begin[kept]]], other[kept], other_end[kept], self.order))
            outer = np.flatnonzero(odd & (left | right))
            outer = outer[_cover(r, odd & (left | right))[outer] == 1]
            hub, first = other[outer], before[begin[outer]]
            number = before[end[outer]] - first
            links.append((self.order[np.repeat(hub, number)], self.order[places[ranges(first, number)]]))
        x, y = (np.concatenate(each) for each in zip(*links, strict=True))
        return x, y

    @functools.cached_property
    def _torn(self) -> int | None:
        """A class that is distinguished from another one of its component; None where B_D* is an equivalence."""
        order, common = _by_component(self.whole, np.arange(self.known), self._component[: self.known])
        parted = np.flatnonzero(common % 2 == 0)
        if len(parted):
            return int(order[parted[0]])
        order, common = _by_component(self.tails, self._place, self._component)
        before, r = np.concatenate([[0], np.cumsum(order >= self.known)]), rectangles(common)
        parted = np.flatnonzero((common % 2 == 0) & (before[r.stop] > before[r.start]))
        return int(order[order >= self.known][before[r.start[parted[0]]]]) if len(parted) else None

    @functools.cached_property
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids (x, y, z) with (x, y) and (y, z) in B_D* and (x, z) in R_D*; None where B_D* is an equivalence."""
        if self._torn is None:
            return None
        # Links connect x with a class that is distinguished from it, so one leads from a bisimilar class to such a one.
        near = ~self.apart(np.array([self._torn]), np.arange(len(self.order)))[0]
        y, z = (np.concatenate(each) for each in zip(self._links, self._links[::-1], strict=True))
        link = int((near[y] & ~near[z]).argmax())
        return self.first_member(self._torn), self.first_member(int(y[link])), self.first_member(int(z[link]))

    @functools.cached_property
    def classes(self) -> Ids | None:
        """(n,) class 0, 1, ... of every observation where B_D* is an equivalence, else None."""
        if self._torn is not None:
            return None
        return np.unique(self._component[self.behaviour.class_of], return_inverse=True)[1]

    def clique(self) -> Ids:
        """Find a largest set of pairwise distinguished classes."""
        auxiliary = np.where(self.order < self.known, self.behaviour.auxiliary[self.order], UNKNOWN)
        places = (LargestSet.of(place, p) for place, p in enumerate(auxiliary.tolist()))
        largest = combine(self.tails.common, places, LargestSet.join)
        return np.sort(np.concatenate([self._clique_between(*interval) for interval in largest.intervals]))

    def _clique_between(self, start: int, stop: int) -> Ids:
        """Return the class at the only place of an interval, or of several places a largest set of known p."""
        classes = self.order[start:stop]
        if len(classes) == 1:
            return classes
        known = np.sort(classes[classes < self.known])
        return known[self.whole.among(known).clique()]


def _by_component(prefixes: CommonPrefixes, place: Ids, component: Ids) -> tuple[Ids, NDArray[np.int32]]:
    """Return the order of classes by component, then by place, and the common prefixes of neighbours."""
    order = np.lexsort((place, component))
    return order, between_labels(prefixes, component[order], place[order])


def _cover(r: Rectangles, of: NDArray[np.bool_]) -> Ids:
    """Compute (m - 1,) the number of the rectangles `of` within whose rows and columns each boundary lies."""
    change = np.zeros(len(of) + 1, np.int64)
    np.add.at(change, r.start[of], 1)
    np.add.at(change, r.stop[of] - 1, -1)
    return np.cumsum(change)[:-1]


def _links_of_known(whole: CommonPrefixes) -> tuple[Ids, Ids]:
    """Link each row of every outermost rectangle at an action with a column, and each column with a row."""
    r, odd = whole.rectangles, whole.common % 2 == 1
    outer = np.flatnonzero(odd & (_cover(r, odd) == 1))
    start, middle, stop = r.start[outer], r.middle[outer], r.stop[outer]
    every = np.arange(len(whole))
    links = _spread(middle, start, middle, every), _spread(start, middle, stop, every)
    x, y = (np.concatenate(each) for each in zip(*links, strict=True))
    return x, y


def _spread(hub: Ids, begin: Ids, end: Ids, name: Ids) -> tuple[Ids, Ids]:
    """Link each hub with all places of its range; return the names of both ends."""
    return name[np.repeat(hub, end - begin)], name[ranges(begin, end - begin)]
