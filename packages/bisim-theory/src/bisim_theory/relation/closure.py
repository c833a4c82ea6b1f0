"""The closure relation N: pairs that no well-trained model can merge, because the merges that follow join different p.

N contains R_D*. It is larger where different actions were observed from the merged observations.
"""

from array import array
from collections.abc import MutableSequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.auxiliary import auxiliary_codes
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.relation.graph import UNKNOWN, Edges

MOST_LISTED = 50_000
"""Vertices up to which their parents are a list."""


class Closure:
    """A union-find over observations whose merges are closed under the observed transitions.

    Args:
        value: (V,) code of p per vertex, `UNKNOWN` where it is not known.
        source, action, successor: (E,) transitions; several successors of one source and action are merged.

    Raises:
        DatasetError: merging those successors joins different p.

    Attributes:
        steps: number of merges tried so far, to which the work is proportional.
    """

    def __init__(self, value: Ids, source: Ids, action: Ids, successor: Ids) -> None:
        order = np.lexsort((action, source))
        self._edges = Edges(len(value), source[order], action[order], successor[order])
        # A list of integers takes five times the memory of an array, which is a little slower.
        listed, names = len(value) <= MOST_LISTED, range(len(value))
        self._parent: MutableSequence[int] = list(names) if listed else array("q", names)
        self._size = [1] * len(value)
        self._value = value.tolist()
        self._successors: dict[int, dict[int, int]] = {}
        self.steps = 0
        edges = self._edges
        again = (edges.source[1:] == edges.source[:-1]) & (edges.action[1:] == edges.action[:-1])
        for row in np.flatnonzero(again).tolist():
            if not self.merge(int(edges.successor[row]), int(edges.successor[row + 1])):
                raise DatasetError(
                    "successor: those of one action must share an embedding and differ in p; fold the data to see why"
                )

    @classmethod
    def of(cls, data: TransitionDataset, representative: Ids | None = None) -> "Closure":
        """Make every observation a vertex, or its representative where observations were folded."""
        names = np.arange(data.frames) if representative is None else representative
        codes = auxiliary_codes(data)
        known = codes >= 0
        value = np.full(data.frames, UNKNOWN)
        value[names[known]] = codes[known]
        return cls(value, names[data.source], data.action, names[data.successor])

    def find(self, x: int) -> int:
        """Return the root of the set that `x` is in."""
        while self._parent[x] != x:
            x = self._parent[x]
        return x

    def _successors_of(self, root: int) -> dict[int, int]:
        if root not in self._successors:
            actions, successors = self._edges.of(root)
            self._successors[root] = dict(zip(actions.tolist(), successors.tolist(), strict=True))
        return self._successors[root]

    def merge(self, x: int, y: int) -> bool:
        """Merge two vertices and everything that follows; return False and merge nothing if that joins different p."""
        allowed, done = self._close(x, y)
        if not allowed:
            self._undo(done)
        return allowed

    def forbids(self, x: int, y: int) -> bool:
        """Return whether merging two vertices would join different p; the state does not change."""
        allowed, done = self._close(x, y)
        self._undo(done)
        return not allowed

    def _close(self, x: int, y: int) -> tuple[bool, list["_Union"]]:
        done: list[_Union] = []
        pending = [(x, y)]
        while pending:
            a, b = (self.find(i) for i in pending.pop())
            self.steps += 1
            if a == b:
                continue
            if self._value[a] != self._value[b] and UNKNOWN not in (self._value[a], self._value[b]):
                return False, done
            if self._size[a] < self._size[b]:
                a, b = b, a
            mine, others = self._successors_of(a), self._successors_of(b)
            pending += [(mine[action], others[action]) for action in mine.keys() & others.keys()]
            added = [action for action in others if action not in mine]
            done.append(_Union(a, b, self._value[a], added))
            mine.update((action, others[action]) for action in added)
            self._parent[b] = a
            self._size[a] += self._size[b]
            self._value[a] = max(self._value[a], self._value[b])
        return True, done

    def _undo(self, unions: list["_Union"]) -> None:
        for a, b, value, added in reversed(unions):
            self._parent[b] = b
            self._size[a] -= self._size[b]
            self._value[a] = value
            for action in added:
                del self._successors[a][action]


class _Union(NamedTuple):
    """One union to undo: `b` went under `a`, which had `value` before and gained successors by the actions `added`."""

    a: int
    b: int
    value: int
    added: list[int]


@former_parameters("data", "x", "y", "stands_for", renamed={"stands_for": "representative"})
def cannot_collapse(
    data: TransitionDataset, x: ArrayLike, y: ArrayLike, representative: Ids | None = None
) -> NDArray[np.bool_]:
    """Return whether pairs are in the closure relation N: no well-trained model gives the two one embedding.

    N contains R_D* (Theorem 3). It can be larger under partial coverage, as merged observations share the successors
    of all actions observed from any of them. Each pair is tested by itself, at the cost of the merges that it forces.

    Args:
        data: transitions.
        x, y: ids of observations (any one shape), sources or not.
        representative: (F,) from `bisim_theory.fold`, for transitions that are not deterministic as they are.

    Raises:
        DatasetError: an id is not in 0..F-1.
    """
    x, y = np.broadcast_arrays(np.asarray(x), np.asarray(y))
    for ids in (x, y):
        if ids.size and (ids.min() < 0 or ids.max() >= data.frames):
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise DatasetError(f"observation {wrong}: there are {data.frames} observations, numbered from 0")
    closure = Closure.of(data, representative)
    names = np.arange(data.frames) if representative is None else representative
    pairs = zip(names[x].ravel().tolist(), names[y].ravel().tolist(), strict=True)
    return np.array([closure.forbids(i, j) for i, j in pairs], bool).reshape(x.shape)
