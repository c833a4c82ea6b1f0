"""Whether the data is a function of observation and action, and the merges that are forced where it is not."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent


def identify_by_content(data: TransitionDataset, ids: Ids | None = None) -> TransitionDataset:
    """The same transitions with equal images under one id, that of the first of them.

    Args:
        data: transitions with images.
        ids: `data.content_ids()` where they are known already.

    Raises:
        DatasetError: the dataset has no images.
    """
    ids = data.content_ids() if ids is None else ids
    return replace(data, source=ids[data.source], successor=ids[data.successor])


def auxiliary_codes(data: TransitionDataset) -> Ids:
    """(N,) integer codes of p, equal iff p is equal in every component."""
    values = data.p.reshape(len(data), -1)
    if values.shape[1] == 1:
        return np.unique(values[:, 0], return_inverse=True)[1].reshape(-1)
    plain = values + 0.0 if values.dtype.kind == "f" else values  # -0.0 becomes 0.0, which has other bytes
    rows = np.ascontiguousarray(plain)
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    return np.unique(as_bytes, return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True, eq=False)
class Conflicts:
    """(observation, action) pairs that were observed with more than one successor.

    `observation`, `action` and `successors` (how many different ones) are (K,) each.
    """

    observation: Ids
    action: Ids
    successors: Ids

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
    """Where Definition 4's assumption of deterministic transitions does not hold."""
    order = np.lexsort((data.successor, data.action, data.source))
    source, action, successor = data.source[order], data.action[order], data.successor[order]
    same_pair = (source[1:] == source[:-1]) & (action[1:] == action[:-1])
    begins = np.flatnonzero(np.concatenate([[True], ~same_pair]))
    new_successor = np.concatenate([[True], ~same_pair | (successor[1:] != successor[:-1])])
    successors = np.add.reduceat(new_successor, begins, dtype=np.int64)
    several = successors > 1
    return Conflicts(source[begins][several], action[begins][several], successors[several])


@dataclass(frozen=True)
class Merge:
    """Two observations that any well-trained model gives one embedding.

    `first` and `second` were reached by `action` from `first_source` and `second_source`, which are one observation
    or were merged before.
    """

    first: int
    second: int
    action: int
    first_source: int
    second_source: int

    def __str__(self) -> str:
        origin = (
            f"both follow {self.first_source}"
            if self.first_source == self.second_source
            else f"they follow {self.first_source} and {self.second_source}, merged before,"
        )
        return f"{self.first} = {self.second}: {origin} under action {self.action}"


class NoWellTrainedModelError(Exception):
    """No (E, T, P) can be well-trained on the data: it would have to give one embedding two values of p.

    Attributes:
        pair: two observations that must share an embedding (or one observation twice).
        values: the two values of p.
        chain: the forced merges that prove it, in order; empty where one observation has two values itself.
    """

    def __init__(self, pair: tuple[int, int], values: tuple[Any, Any], chain: list[Merge]) -> None:
        self.pair, self.values, self.chain = pair, values, chain
        x, y = pair
        if x == y:
            text = f"observation {x} has two auxiliary values, {_shown(values[0])} and {_shown(values[1])}"
        else:
            p = f"{_shown(values[0])} and {_shown(values[1])}"
            text = f"observations {x} and {y} must share one embedding and have p = {p}"
        super().__init__(text)


def _shown(value: Any) -> str:
    """A value of p, of which only the first numbers are shown where they are many."""
    if not isinstance(value, list) or len(value) <= _NUMBERS_SHOWN:
        return str(value)
    return f"[{', '.join(f'{each:.4g}' for each in value[:_NUMBERS_SHOWN])}, ... {len(value)} numbers]"


_NUMBERS_SHOWN = 4


class _Folder:
    """Congruence closure: union-find with a table of transitions per class, and the forest of merges as proof."""

    def __init__(self, data: TransitionDataset) -> None:
        self.data = data
        self.codes = auxiliary_codes(data)
        self.parent = np.arange(data.frames).tolist()
        self.members: dict[int, int] = {}  # class -> size, where it is not 1
        self.rows: dict[int, dict[int, int]] = {}  # class -> action -> one row that shows its successor
        self.valued: dict[int, int] = {}  # class -> one row that shows its p
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
            root = self.find(source)
            self._note_value(root, row)
            self._note_row(root, action, row)
            self._settle()
            if row % 10_000 == 0:
                progress(row, len(self.data))
        return np.array([self.find(x) for x in range(self.data.frames)])

    def _note_value(self, root: int, row: int) -> None:
        other = self.valued.setdefault(root, row)
        if self.codes[other] != self.codes[row]:
            x, y = int(self.data.source[other]), int(self.data.source[row])
            values = (self.data.p[other].tolist(), self.data.p[row].tolist())
            raise NoWellTrainedModelError((x, y), values, self._explain(x, y))

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
        """Every merge that x = y rests on, each after those that it rests on itself."""
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
    """Merge what any well-trained model must give one embedding, and nothing else.

    A well-trained model maps all successors of one (observation, action) to T(E(o), a), so to one embedding; merged
    observations then share the successors of every action, and so on until nothing changes.

    Args:
        data: transitions.
        merges: pairs of observations to merge to begin with.
        progress: told how many transitions have been looked at.

    Returns:
        (F,) for every observation one that stands for all it is merged with.

    Raises:
        DatasetError: a pair to begin with is no pair of observations.
        NoWellTrainedModelError: observations with different p are merged (Definition of well-trained, equation 1).
    """
    merges = list(merges)
    for x, y in merges:
        if not (0 <= x < data.frames and 0 <= y < data.frames):
            raise DatasetError(f"merges: ({x}, {y}) is no pair of the {data.frames} observations")
    return _Folder(data).run(merges, progress)
