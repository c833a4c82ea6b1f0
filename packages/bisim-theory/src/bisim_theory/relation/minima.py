"""Minima of ranges of an array, and the nearest entries that are small enough."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.numbering import blocks, id_type
from bisim_theory.data.transitions import Ids

Values = NDArray[np.signedinteger[Any]]

_WIDTH = 16  # entries of a block


class RangeMinima:
    """Minima of the ranges of an array, in three more numbers an entry.

    Kept are the minima from each entry to both ends of its block of `_WIDTH`, and those of 1, 2, 4, ... blocks.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        padded = np.full(-(-len(values) // _WIDTH) * _WIDTH, np.iinfo(values.dtype).max, values.dtype)
        padded[: len(values)] = values
        rows = padded.reshape(-1, _WIDTH)
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
        near = np.flatnonzero(first // _WIDTH == last // _WIDTH)
        found[near] = self.values[last[near]]
        at, end = first[near], last[near]
        while len(near):
            found[near] = np.minimum(found[near], self.values[at])
            more = at + 1 < end
            near, at, end = near[more], at[more] + 1, end[more]
        low, number = first // _WIDTH + 1, last // _WIDTH - first // _WIDTH - 1
        power = np.frexp(np.maximum(number, 1).astype(np.float64))[1] - 1
        for k in range(int(power.max(initial=0)) + 1):
            far = np.flatnonzero((power == k) & (number > 0))
            window, begin = self._blocks[k], low[far]
            between = np.minimum(window[begin], window[begin + number[far] - 2**k])
            found[far] = np.minimum(found[far], between)
        return found


def last_at_most(values: Values, bound: Values) -> Ids:
    """Return for each entry the last position before it with a value of at most `bound`; -1 without one.

    A tree of minima of pairs is climbed from each entry until such a value lies before it, and then descended.
    """
    tree = [values]
    while len(tree[-1]) > 1:
        pairs = tree[-1][: len(tree[-1]) // 2 * 2].reshape(-1, 2).min(1)
        tree.append(np.append(pairs, tree[-1][-1]) if len(tree[-1]) % 2 else pairs)
    found = np.empty(len(values), id_type(len(values)))
    for block in blocks(len(values)):
        found[block] = _search(tree, np.arange(block.start, block.stop), bound[block])
    return found


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
