"""Conflicts of the data with deterministic transitions, and folding: the merges that they force."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import auxiliary_codes, stored_values
from bisim_theory.data.contradiction import Merge, NoWellTrainedModelError
from bisim_theory.data.numbering import blocks, count, distinct, increases, number, pair_key, positions
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent


@dataclass(frozen=True, eq=False)
class Conflicts:
    """(observation, action) pairs that were observed with more than one successor.

    Attributes:
        observation, action: (K,) ids and codes of the pairs.
        successors: (K,) number of different successors of each.
        repeated: number of (observation, action) pairs that were observed more than once, K of them with several
            successors. Where it is 0, determinism was not tested.
    """

    observation: Ids
    action: Ids
    successors: Ids
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.observation)

    def __str__(self) -> str:
        if len(self) == 0:
            return "none"
        most = int(self.successors.argmax())
        return (
            f"{len(self):,}; observation {self.observation[most]} under action {self.action[most]} alone has "
            f"{self.successors[most]:,} successors"
        )


def find_conflicts(data: TransitionDataset) -> Conflicts:
    """Find the (observation, action) pairs that contradict Definition 4's assumption of deterministic transitions."""
    if increases(data.source, data.action):
        return Conflicts(data.source[:0], data.action[:0], np.empty(0, np.int64))
    codes, action = distinct(data.action)
    pair, first = number(pair_key(data.source, action, len(codes)), data.frames * len(codes))
    has_several = np.zeros(len(first), bool)
    for block in blocks(len(pair)):
        differs = data.successor[block] != data.successor[first[pair[block]]]
        has_several[pair[block][differs]] = True
    repeated = int((count(pair, len(first)) > 1).sum())
    rows = positions(has_several[pair])
    rows = rows[np.lexsort((data.successor[rows], data.action[rows], data.source[rows]))]
    begins = np.append(True, pair[rows][1:] != pair[rows][:-1])[: len(rows)]
    new_successor = begins | np.append(True, data.successor[rows][1:] != data.successor[rows][:-1])[: len(rows)]
    successors = np.bincount(np.cumsum(begins) - 1, new_successor).astype(np.int64)
    return Conflicts(data.source[rows[begins]], data.action[rows[begins]], successors, repeated)


class _Folder:
    """Congruence closure: a union-find with a table of transitions per class, and a forest of merges as proof."""

    def __init__(self, data: TransitionDataset) -> None:
        self.data = data
        self.codes = auxiliary_codes(data).tolist()
        self.parent = np.arange(data.frames).tolist()
        self.members: dict[int, int] = {}  # root -> size, where it is not 1
        self.rows: dict[int, dict[int, int]] = {}  # root -> action -> a row with the successor
        self.valued = {x: x for x, code in enumerate(self.codes) if code >= 0}  # root -> a member with p
        self.forest: dict[int, list[tuple[int, Merge | None]]] = {}
        self.pending: deque[tuple[int, int, Merge | None]] = deque()

    def find(self, x: int) -> int:
        while self.parent[x] != x:
            self.parent[x] = self.parent[self.parent[x]]
            x = self.parent[x]
        return x

    def run(self, merges: Iterable[tuple[int, int]], progress: ProgressCallback) -> NDArray[np.int64]:
        self.pending.extend((x, y, None) for x, y in merges)
        self._settle()
        for row, (source, action) in enumerate(zip(self.data.source.tolist(), self.data.action.tolist(), strict=True)):
            self._note_row(self.find(source), action, row)
            self._settle()
            if row % 10_000 == 0:
                progress(row, len(self.data))
        return np.array([self.find(x) for x in range(self.data.frames)])

    def _note_value(self, root: int, x: int) -> None:
        other = self.valued.setdefault(root, x)
        if self.codes[other] != self.codes[x]:
            value = stored_values(self.data).value
            raise NoWellTrainedModelError(
                (other, x), (value[other].tolist(), value[x].tolist()), self._explain(other, x)
            )

    def _note_row(self, root: int, action: int, row: int) -> None:
        other = self.rows.setdefault(root, {}).setdefault(action, row)
        if other != row:
            source, successor = self.data.source, self.data.successor
            u, v = int(successor[other]), int(successor[row])
            if u != v:
                self.pending.append((u, v, Merge(u, v, action, int(source[other]), int(source[row]))))

    def _settle(self) -> None:
        while self.pending:
            u, v, why = self.pending.popleft()
            a, b = self.find(u), self.find(v)
            if a == b:
                continue
            if self.members.get(a, 1) < self.members.get(b, 1):
                a, b = b, a
            self.forest.setdefault(u, []).append((v, why))
            self.forest.setdefault(v, []).append((u, why))
            self.parent[b] = a
            self.members[a] = self.members.get(a, 1) + self.members.pop(b, 1)
            if b in self.valued:
                self._note_value(a, self.valued.pop(b))
            for action, row in self.rows.pop(b, {}).items():
                self._note_row(a, action, row)

    def _path(self, x: int, y: int) -> list[Merge | None]:
        came: dict[int, tuple[int, Merge | None]] = {x: (x, None)}
        queue = deque([x])
        while y not in came:
            u = queue.popleft()
            for v, why in self.forest.get(u, []):
                if v not in came:
                    came[v] = (u, why)
                    queue.append(v)
        path = []
        while y != x:
            y, why = came[y]
            path.append(why)
        return path[::-1]

    def _explain(self, x: int, y: int) -> list[Merge]:
        """List every merge that x = y depends on, each after those that it depends on itself."""
        done: dict[Merge, None] = {}
        stack: list[tuple[int, int, Merge | None]] = [(x, y, None)]
        opened: set[Merge] = set()
        while stack:
            u, v, reason = stack.pop()
            if reason is not None and reason in opened:
                done.setdefault(reason)
                continue
            if reason is not None:
                opened.add(reason)
                stack.append((u, v, reason))
            for why in self._path(u, v):
                if why is not None and why not in done:
                    stack.append((why.first_source, why.second_source, why))
        return list(done)


def fold(data: TransitionDataset, merges: Iterable[tuple[int, int]] = (), progress: ProgressCallback = silent) -> Ids:
    """Merge the observations to which every well-trained model gives one embedding, and no others.

    A well-trained model maps all successors of one (observation, action) to T(E(o), a), so to one embedding. Merged
    observations share the successors of every action, and so on until nothing changes.

    Args:
        data: transitions.
        merges: pairs of observations to merge first.
        progress: called with the number of transitions done.

    Returns:
        (F,) the representative of every observation: one id for all that are merged.

    Raises:
        DatasetError: an id in `merges` is not in 0..F-1.
        NoWellTrainedModelError: observations with different p are merged, against equation 1.
    """
    merges = list(merges)
    for x, y in merges:
        if not (0 <= x < data.frames and 0 <= y < data.frames):
            raise DatasetError(f"merges: ({x}, {y}) must be two ids in 0..{data.frames - 1}")
    return _Folder(data).run(merges, progress)
