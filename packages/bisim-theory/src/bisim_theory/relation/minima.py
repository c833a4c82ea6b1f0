"""Minima of ranges of an array, and the nearest entries that are small enough."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.numbering import blocks, id_type
from bisim_theory.data.transitions import Ids

Values = NDArray[np.signedinteger[Any]]

SHORT = 1 << 12
"""Entries up to which an array needs no structure that saves memory."""


class RangeMinima:
    """Minima of the ranges of an array, in three more numbers an entry.

    Kept are the minima from each entry to both ends of its block of 16, and those of 1, 2, 4, ... blocks. In short
    arrays each entry is a block.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self._width = width = 1 if len(values) <= SHORT else 16
        padded = np.full(-(-len(values) // width) * width, np.iinfo(values.dtype).max, values.dtype)
        padded[: len(values)] = values
        rows = padded.reshape(-1, width)
        self._to = np.minimum.accumulate(rows, axis=1).ravel()
        self._from = np.minimum.accumulate(rows[:, ::-1], axis=1)[:, ::-1].ravel()
        self._blocks = [rows.min(1)]
        while len(self._blocks[-1]) > 2 ** (len(self._blocks) - 1):
            last, shift = self._blocks[-1], 2 ** (len(self._blocks) - 1)
            self._blocks.append(np.minimum(last[:-shift], last[shift:]))

    def of(self, start: Ids, stop: Ids) -> Values:
        """Return the minima of the ranges start[i]..stop[i] - 1, none of which is empty."""
        found = np.empty(len(start), self.values.dtype)
        for block in blocks(len(start)):
            found[block] = self._of(start[block], stop[block] - 1)
        return found

    def _of(self, first: Ids, last: Ids) -> Values:
        found = np.minimum(self._from[first], self._to[last])  # of several blocks; too small within one
        row, end_row = first // self._width, last // self._width
        near = np.flatnonzero((row == end_row) & (self._width > 1))
        found[near] = self.values[last[near]]
        at, end = first[near], last[near]
        while len(near):
            found[near] = np.minimum(found[near], self.values[at])
            more = at + 1 < end
            near, at, end = near[more], at[more] + 1, end[more]
        low, number = row + 1, end_row - row - 1
        power = np.frexp(np.maximum(number, 1).astype(np.float64))[1] - 1
        for k in range(int(power.max(initial=0)) + 1):
            far = np.flatnonzero((power == k) & (number > 0))
            window, begin = self._blocks[k], low[far]
            between = np.minimum(window[begin], window[begin + number[far] - 2**k])
            found[far] = np.minimum(found[far], between)
        return found


def last_smaller(values: Values, or_equal: bool = False) -> Ids:
    """Return for each entry the last position before it with a smaller value; -1 without one.

    In a long array a tree of minima of pairs is climbed from each entry until such a value lies before it, and then
    descended.

    Args:
        values: (M,) integers.
        or_equal: whether an equal value will do.
    """
    if len(values) <= SHORT:
        return _from_stack(values.tolist(), or_equal)
    tree = [values]
    while len(tree[-1]) > 1:
        pairs = tree[-1][: len(tree[-1]) // 2 * 2].reshape(-1, 2).min(1)
        tree.append(np.append(pairs, tree[-1][-1]) if len(tree[-1]) % 2 else pairs)
    found = np.empty(len(values), id_type(len(values)))
    for block in blocks(len(values)):
        found[block] = _search(tree, np.arange(block.start, block.stop), values[block] - (not or_equal))
    return found


def _from_stack(values: list[int], or_equal: bool) -> Ids:
    """Do what `last_smaller` does, with a stack of the positions that can still be the answer for a later one."""
    found, waiting = [], [-1]
    for i, value in enumerate(values):
        while waiting[-1] >= 0 and (values[waiting[-1]] > value or (not or_equal and values[waiting[-1]] == value)):
            waiting.pop()
        found.append(waiting[-1])
        waiting.append(i)
    return np.array(found, id_type(len(values)))


def _search(tree: list[Values], at: Ids, bound: Values) -> Ids:
    """Search before each position `at` for the last value of at most `bound`."""
    found = np.full(len(at), -1)
    asked = np.arange(len(at))
    waiting: list[tuple[Ids, Ids]] = []  # at each height, who descends from there, and from which node
    for minima in tree:
        left = np.maximum(at - 1, 0)
        hit = (at % 2 == 1) & (minima[left] <= bound[asked])
        waiting.append((asked[hit], left[hit]))
        asked, at = asked[~hit], at[~hit] // 2
    asked, at = waiting.pop()
    for minima, (more, nodes) in zip(reversed(tree[:-1]), reversed(waiting), strict=True):
        right = np.minimum(2 * at + 1, len(minima) - 1)
        at = np.where(minima[right] <= bound[asked], right, 2 * at)
        asked, at = np.concatenate([asked, more]), np.concatenate([at, nodes])
    found[asked] = at
    return found
