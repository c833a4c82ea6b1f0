"""The largest sets of pairwise distinguished trajectories, some of which begin where p is unknown."""

from dataclasses import dataclass

from bisim_theory.relation.graph import UNKNOWN


@dataclass(slots=True)
class LargestSet:
    """A largest set of pairwise distinguished trajectories in an interval of their sorted tails.

    Where two intervals part at p, everything in one is distinguished from everything in the other. Where they part at
    an action, only known and different p0 distinguish. So a set in both together has either no trajectory of unknown
    p0, or all of its trajectories in one interval. Those of known p0 need no more than a number for each p0.

    Attributes:
        start, stop: the interval.
        size: number of trajectories in the set.
        intervals: single places, or wider intervals of which the trajectories of known p0 are taken; the set is one
            of the largest in each, together.
        known: p0 -> size of a largest set of trajectories with that p0.
        known_size: sum of `known`, the size of a largest set of trajectories of known p0.
    """

    start: int
    stop: int
    size: int
    intervals: list[tuple[int, int]]
    known: dict[int, int]
    known_size: int

    @classmethod
    def of(cls, place: int, p: int) -> "LargestSet":
        """Return the set of one trajectory, of which `p` is the code of p0."""
        known = {} if p == UNKNOWN else {p: 1}
        return cls(place, place + 1, 1, [(place, place + 1)], known, len(known))

    @staticmethod
    def join(left: "LargestSet", right: "LargestSet", apart: bool) -> "LargestSet":
        """Join neighbouring intervals, given whether they part at p; the two are used up."""
        small, large = (left, right) if len(left.known) < len(right.known) else (right, left)
        known, known_size = large.known, left.known_size + right.known_size
        for p, size in small.known.items():
            other = known.get(p, 0)
            known[p] = size + other if apart else max(size, other)
            known_size -= 0 if apart else min(size, other)
        if apart:
            few, many = sorted((left.intervals, right.intervals), key=len)
            many.extend(few)
            size, intervals = left.size + right.size, many
        else:
            larger = left if left.size >= right.size else right
            size, intervals = larger.size, larger.intervals
            if known_size > size:
                size, intervals = known_size, [(left.start, right.stop)]
        return LargestSet(left.start, right.stop, size, intervals, known, known_size)
