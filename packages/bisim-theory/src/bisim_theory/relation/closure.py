"""The closure relation N: pairs that no well-trained model can merge, found by merging them and following the
consequences. It contains R_D* and is larger where merged observations have different actions observed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.folding import auxiliary_codes
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.relation.graph import Edges


class Closure:
    """Observations under merges that are closed under the observed transitions: merged ones share every successor.

    Args:
        value: (V,) code of p per vertex, -1 where nothing is known.
        source, action, successor: (E,) transitions; several successors of one source and action are merged at once.

    Raises:
        DatasetError: those first merges already join different p.
    """

    def __init__(self, value: Ids, source: Ids, action: Ids, successor: Ids) -> None:
        order = np.lexsort((action, source))
        self._edges = Edges(len(value), source[order], action[order], successor[order])
        self._parent = list(range(len(value)))
        self._size = [1] * len(value)
        self._value = value.tolist()
        self._successors: dict[int, dict[int, int]] = {}
        self.steps = 0  # merges tried so far: what the work is proportional to
        edges = self._edges
        again = (edges.source[1:] == edges.source[:-1]) & (edges.action[1:] == edges.action[:-1])
        for row in np.flatnonzero(again).tolist():
            if not self.merge(int(edges.successor[row]), int(edges.successor[row + 1])):
                raise DatasetError("successor: merging the successors of one action joins different auxiliary values")

    @classmethod
    def of(cls, data: TransitionDataset, representative: Ids | None = None) -> "Closure":
        """Make every observation a vertex, or its representative where observations were folded."""
        names = np.arange(data.frames) if representative is None else representative
        value = np.full(data.frames, -1)
        value[names[data.source]] = auxiliary_codes(data)
        return cls(value, names[data.source], data.action, names[data.successor])

    def find(self, x: int) -> int:
        """The vertex that stands for all that `x` is merged with."""
        while self._parent[x] != x:
            x = self._parent[x]
        return x

    def _successors_of(self, root: int) -> dict[int, int]:
        if root not in self._successors:
            actions, successors = self._edges.of(root)
            self._successors[root] = dict(zip(actions.tolist(), successors.tolist(), strict=True))
        return self._successors[root]

    def merge(self, x: int, y: int) -> bool:
        """Merge two vertices and all that follows; False, and nothing is merged, if that joins different p."""
        allowed, done = self._close(x, y)
        if not allowed:
            self._undo(done)
        return allowed

    def forbids(self, x: int, y: int) -> bool:
        """Whether merging two vertices would join different p; nothing stays merged."""
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
            if self._value[a] != self._value[b] and -1 not in (self._value[a], self._value[b]):
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
    """`b` was put under `a`, which had `value` before and got the successors of the actions `added`."""

    a: int
    b: int
    value: int
    added: list[int]


@former_parameters("data", "x", "y", "stands_for", renamed={"stands_for": "representative"})
def cannot_collapse(
    data: TransitionDataset, x: ArrayLike, y: ArrayLike, representative: Ids | None = None
) -> NDArray[np.bool_]:
    """Whether pairs are in the closure relation N: no well-trained model gives the two one embedding.

    N contains R_D* (Theorem 3) and can be larger under partial coverage, where it sees what follows from the actions
    of several merged observations together. Every pair is closed for itself; the cost is what its merge brings along.

    Args:
        data: transitions.
        x, y: ids of observations (any one shape), sources or not.
        representative: (F,) from `bisim_theory.fold`, for transitions that are not deterministic as they are.

    Raises:
        DatasetError: an id is no observation of the data.
    """
    x, y = np.broadcast_arrays(np.asarray(x), np.asarray(y))
    for ids in (x, y):
        if ids.size and (ids.min() < 0 or ids.max() >= data.frames):
            raise DatasetError(f"observation {ids.max()}: there are {data.frames} observations")
    closure = Closure.of(data, representative)
    names = np.arange(data.frames) if representative is None else representative
    pairs = zip(names[x].ravel().tolist(), names[y].ravel().tolist(), strict=True)
    return np.array([closure.forbids(i, j) for i, j in pairs], bool).reshape(x.shape)
