"""Pairs of observations that differ in a wanted label and that none of several relations distinguishes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Relation

MOST_JOINT_CLASSES = 8_000
"""Most combinations of a label and a class in each relation of which all pairs are looked at, one byte a pair."""

SAMPLED_PAIRS = 20_000
"""Pairs that are drawn uniformly where there are more combinations."""

ROWS = 512
"""Rows of a table of pairs that are processed together."""

EXAMPLES = 64
"""Pairs among which one is looked for whose observations differ in content."""


@dataclass(frozen=True)
class Remaining:
    """Pairs of observations that differ in a wanted label and that no relation distinguishes.

    Attributes:
        pairs: how many there are.
        share: of the pairs that differ in a wanted label.
        exact: False where both are estimates from a sample.
        examples: ids of some of them, (E, 2).
    """

    pairs: int
    share: float
    exact: bool
    examples: Ids


class Undistinguished:
    """The wanted pairs that none of the relations added so far distinguishes.

    Args:
        observations: (n,) ids of all observations, sorted.
        code: (n,) integers, equal where the wanted labels are.
    """

    def __init__(self, observations: Ids, code: Ids) -> None:
        self.observations, self.code = observations, np.unique(code, return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(self.code)
        self.wanted = (len(code) ** 2 - int((sizes.astype(np.int64) ** 2).sum())) // 2
        self._drawn = _draw(self.code, sizes)
        self._open = np.ones(len(self._drawn[0]), bool)
        # Observations of one combination of label and classes are alike; `_apart` says which combinations are not.
        self._joint = self.code
        self._apart: NDArray[np.bool_] | None = _nothing(len(sizes))

    def add(self, relation: Relation) -> None:
        """Take away the pairs that a relation over some of the observations distinguishes."""
        place = np.searchsorted(self.observations, relation.observations)
        class_of = np.full(len(self.observations), -1)
        class_of[place] = relation.behaviour.class_of
        x, y = (class_of[each] for each in self._drawn)
        ask = np.flatnonzero(self._open & (x >= 0) & (y >= 0))
        self._open[ask] = relation.class_levels(x[ask], y[ask]) == 0
        if self._apart is not None:
            self._refine(relation, class_of)

    def _refine(self, relation: Relation, class_of: Ids) -> None:
        """Split the combinations by the classes of a relation, and mark those that it tells apart."""
        assert self._apart is not None
        classes = relation.behaviour.classes
        found, joint = np.unique(self._joint.astype(np.int64) * (classes + 1) + class_of + 1, return_inverse=True)
        if len(found) > MOST_JOINT_CLASSES:
            self._apart = None
            return
        before, of_class = found // (classes + 1), found % (classes + 1) - 1
        known = np.flatnonzero(of_class >= 0)
        apart = self._apart[before][:, before]
        for start in range(0, len(known), ROWS):
            rows = known[start : start + ROWS]
            of_rows, row = np.unique(of_class[rows], return_inverse=True)
            of_columns, column = np.unique(of_class[known], return_inverse=True)
            told = relation.apart(of_rows, of_columns)
            apart[np.ix_(rows, known)] |= told[row.reshape(-1)][:, column.reshape(-1)]
        self._joint, self._apart = joint.reshape(-1), apart

    def remaining(self) -> Remaining:
        """Count the pairs that are left, and give examples."""
        if self._apart is None:
            left = np.flatnonzero(self._open)
            share = len(left) / max(len(self._open), 1)
            some = np.stack([each[left[:EXAMPLES]] for each in self._drawn], 1)
            return Remaining(round(share * self.wanted), share, False, self.observations[some])
        sizes = np.bincount(self._joint)
        pairs = sum(int(each @ sizes[rows]) for rows, each in self._counts(sizes)) // 2
        return Remaining(pairs, pairs / max(self.wanted, 1), True, self.observations[self._examples()])

    def _counts(self, sizes: Ids) -> Iterator[tuple[slice, Ids]]:
        """Yield rows of combinations, and with how many observations those of each combination make a pair left."""
        for rows, left in self._left():
            yield rows, (left.astype(np.float64) @ sizes).astype(np.int64)  # up to n: exact

    def _left(self) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
        assert self._apart is not None
        label = np.empty(len(self._apart), np.int64)
        label[self._joint] = self.code
        for start in range(0, len(label), ROWS):
            rows = slice(start, start + ROWS)
            yield rows, ~self._apart[rows] & (label[rows, None] != label)

    def _examples(self) -> Ids:
        """Return positions (E, 2) of pairs that are left: members of the first combinations that have some."""
        members = np.argsort(self._joint, kind="stable")
        ends = np.cumsum(np.bincount(self._joint))
        found: list[Ids] = []
        for rows, left in self._left():
            row, column = np.nonzero(left)
            if not len(row):
                continue
            for i, j in zip((row[:8] + rows.start).tolist(), column[:8].tolist(), strict=True):
                x, y = (members[ends[each - 1] if each else 0 : ends[each]][:8] for each in (i, j))
                found.append(np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2))
            break
        return np.concatenate([*found, np.empty((0, 2), np.int64)])[: 8 * EXAMPLES]


def _nothing(size: int) -> NDArray[np.bool_] | None:
    return np.zeros((size, size), bool) if size <= MOST_JOINT_CLASSES else None


def _draw(code: Ids, sizes: Ids) -> tuple[Ids, Ids]:
    """Draw positions of pairs with different codes uniformly, from a fixed seed; none where all are equal."""
    n, rng = len(code), np.random.default_rng(0)
    if len(sizes) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(code, kind="stable")
    others = n - sizes  # with how many observations those of each code differ
    of = rng.choice(len(sizes), SAMPLED_PAIRS, p=sizes * others / (sizes * others).sum())
    begin = np.cumsum(sizes) - sizes
    x = begin[of] + rng.integers(sizes[of])
    y = rng.integers(others[of])
    y += np.where(y >= begin[of], sizes[of], 0)
    return order[x], order[y]
