"""Exact search of R_D* for the smallest distance of embeddings, and the number of distances up to a threshold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation

Floats = NDArray[np.float64]

CHUNK = 1024
"""Sources in a chunk; distances of one chunk to another are in memory at a time."""

_LEVELS_FIRST = 16
"""Levels of which some pairs are measured first."""

_FEW = 4096
"""Most candidates of a block that are decided one by one; more are first narrowed by products in double precision."""


@dataclass(frozen=True)
class Nearest:
    """The smallest ||E(x) - E(y)|| over R_D*, and the number of close pairs.

    Attributes:
        distance: the smallest distance; infinite where R_D* is empty.
        pair: ids x < y of a pair at that distance; None where R_D* is empty.
        close: number of unordered pairs of sources in R_D* at a distance of at most the threshold.
    """

    distance: float
    pair: tuple[int, int] | None
    close: int


def distances(embedding: NDArray[Any], x: Ids, y: Ids) -> Floats:
    """Compute (len(x),) Euclidean distances of rows x and y of (m, d) embeddings, in double precision."""
    result = np.empty(len(x))
    for start in range(0, len(x), 16_384):  # pieces that stay in the cache
        rows = slice(start, start + 16_384)
        difference = embedding[x[rows]].astype(np.float64) - embedding[y[rows]]
        result[rows] = np.sqrt(np.square(difference).sum(1))
    return result


def centred(embedding: NDArray[Any]) -> Floats:
    """Subtract the mean from (m, d) embeddings in float64, so that products of them lose no digits."""
    double = embedding.astype(np.float64)
    double -= double.mean(0)
    return double


def nearest_distinguished(
    relation: Relation, embedding: NDArray[Any], threshold: float = 0.0, progress: ProgressCallback = silent
) -> Nearest:
    """Find the smallest distance over R_D*, and count the distances up to a threshold; both exactly.

    Sources are put into chunks of nearby embeddings. Pairs of chunks are visited in the order of the least distance
    between their bounding balls, until that exceeds both the smallest distance found and the threshold. Products in
    single precision find candidates, up to a bound on their rounding error. Differences in double precision decide
    between them.

    Args:
        relation: R_D*.
        embedding: (F, d) floats, E of every observation.
        threshold: distance up to which pairs are counted.
        progress: called with the number of pairs of chunks done.

    Raises:
        DatasetError: the embedding has another shape.
    """
    if embedding.ndim != 2 or len(embedding) <= int(relation.observations[-1]):
        raise DatasetError(f"embedding: must be (F, d), one row an observation, is {embedding.shape}")
    search = _NearestSearch(relation, embedding, threshold)
    search.begin_with_some()
    search.run(progress)
    if search.best[1] < 0:
        return Nearest(np.inf, None, 0)
    x, y = sorted(search.ids[list(search.best[1:])].tolist())
    return Nearest(search.best[0], (x, y), search.close)


class _NearestSearch:
    """The state of a search, with sources in the order of their chunks, so that every chunk is a slice."""

    def __init__(self, relation: Relation, raw: NDArray[Any], threshold: float) -> None:
        embedding = centred(raw[relation.observations])
        chunks = _chunks(relation, embedding)
        ends = np.cumsum([len(rows) for rows in chunks]).tolist()
        self.slices = [slice(end - len(rows), end) for end, rows in zip(ends, chunks, strict=True)]
        self.order = np.concatenate(chunks)
        self.relation, self.threshold = relation, threshold
        self.classes = [relation.behaviour.class_of[rows] for rows in chunks]
        norms = np.square(embedding).sum(1)
        # Lengths are in units of the largest norm, so that single precision neither overflows nor underflows.
        self.scale = float(np.sqrt(norms.max(initial=0))) or 1.0
        # Products are of centred embeddings; distances that decide are of the embeddings as they are.
        self.embedding, self.raw, self.ids = embedding[self.order], raw, relation.observations[self.order]
        # Squared distances are one product: (-2x, |x|^2, 1) with (y, 1, |y|^2).
        norms = norms[self.order] / self.scale**2
        self.left = np.empty((len(norms), embedding.shape[1] + 2), np.float32)
        np.multiply(self.embedding, -2 / self.scale, out=self.left[:, :-2], casting="same_kind")
        self.left[:, -2], self.left[:, -1] = norms, 1
        self.right = np.empty_like(self.left)
        np.multiply(self.left[:, :-2], np.float32(-0.5), out=self.right[:, :-2])
        self.right[:, -2], self.right[:, -1] = 1, norms
        dimensions = embedding.shape[1]
        self.rounding = 8 * (dimensions + 4) * float(np.finfo(np.float32).eps)
        self.fine_rounding = 8 * (dimensions + 4) * float(np.finfo(np.float64).eps)
        self.best = (np.inf, -1, -1)
        self.close = 0

    def begin_with_some(self) -> None:
        """Measure some pairs of every level, so that the search starts with a small distance."""
        rng, place = np.random.default_rng(0), np.argsort(self.order)
        for level in range(1, min(len(self.relation.distinguished_pairs_per_level), _LEVELS_FIRST) + 1):
            pairs = self.relation.sample_pairs(level, _FEW, rng)[:2]
            x, y = (place[self.relation.positions(ids)] for ids in pairs)
            found = distances(self.raw, self.ids[x], self.ids[y])
            if len(found) and found.min() < self.best[0]:
                least = int(found.argmin())
                self.best = (float(found[least]), int(x[least]), int(y[least]))

    def run(self, progress: ProgressCallback) -> None:
        parts = [self.embedding[rows] for rows in self.slices]
        centres = np.stack([part.mean(0) for part in parts])
        radii = np.array([np.sqrt(np.square(part - c).sum(1).max()) for part, c in zip(parts, centres, strict=True)])
        first, second = np.triu_indices(len(parts))
        between = distances(centres, first, second)
        slack = 1e-9 * self.scale  # centres and radii are rounded too
        least = between - radii[first] - radii[second] - slack
        most = between + radii[first] + radii[second] + slack
        for done, pair in enumerate(np.argsort(least, kind="stable").tolist()):
            if least[pair] > max(self.best[0], self.threshold):
                break
            if self.best[0] == 0 and least[pair] > self.threshold:
                continue
            self._visit(int(first[pair]), int(second[pair]), bool(most[pair] <= self.threshold))
            progress(done + 1, len(least))
        progress(len(least), len(least))

    def _visit(self, i: int, j: int, all_close: bool) -> None:
        apart = self._apart(i, j) if all_close or self._is_one_class(i, j) else None
        if apart is not None and not apart.any():
            return
        if all_close:
            assert apart is not None
            self.close += int(np.count_nonzero(apart))
            if self.best[0] == 0:
                return
        squared = self.left[self.slices[i]] @ self.right[self.slices[j]].T
        near = squared <= self._limit(self.rounding, all_close)
        if not near.any():  # then the relation need not be evaluated
            return
        near &= self._apart(i, j) if apart is None else apart
        if np.count_nonzero(near) > _FEW:
            near = self._narrow(i, j, near, all_close)
        self._decide(i, j, near, not all_close)

    def _is_one_class(self, i: int, j: int) -> bool:
        return all(self.classes[k][0] == self.classes[k][-1] for k in (i, j))

    def _apart(self, i: int, j: int) -> NDArray[np.bool_]:
        """Return which pairs of two chunks are in R_D*; of a chunk with itself, each pair once."""
        (a, of_row), (b, of_column) = (np.unique(self.classes[k], return_inverse=True) for k in (i, j))
        block = self.relation.apart(a, b)
        apart: NDArray[np.bool_] = block[of_row][:, of_column]
        return np.triu(apart) if i == j else apart

    def _limit(self, rounding: float, all_close: bool) -> float:
        """Return the squared distance over the squared scale up to which pairs may be the nearest, or close."""
        reach = self.best[0] if all_close else max(self.best[0], self.threshold)
        return (reach / self.scale) ** 2 + rounding

    def _decide(self, i: int, j: int, near: NDArray[np.bool_], count: bool) -> None:
        """Measure candidates exactly: update the nearest pair, and count the close ones if `count`."""
        chosen = np.flatnonzero(near)
        for start in range(0, len(chosen), 65_536):
            row, column = np.divmod(chosen[start : start + 65_536], near.shape[1])
            x, y = self.slices[i].start + row, self.slices[j].start + column
            found = distances(self.raw, self.ids[x], self.ids[y])
            least = int(found.argmin())
            if found[least] < self.best[0]:
                self.best = (float(found[least]), int(x[least]), int(y[least]))
            if count:
                self.close += int((found <= self.threshold).sum())
            elif self.best[0] == 0:
                return

    def _narrow(self, i: int, j: int, near: NDArray[np.bool_], all_close: bool) -> NDArray[np.bool_]:
        """Return the candidates that products in double precision leave open, and count those that are surely close."""
        x, y = self.embedding[self.slices[i]] / self.scale, self.embedding[self.slices[j]] / self.scale
        squared = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
        squared[~near] = np.inf
        nearest = min(float(squared.min()), (self.best[0] / self.scale) ** 2) + 2 * self.fine_rounding
        if all_close:
            return squared <= nearest
        close = (self.threshold / self.scale) ** 2
        surely = squared < close - self.fine_rounding
        open_ = (squared <= close + self.fine_rounding) & ~surely
        # Pairs that are surely close are counted here and nowhere else; the nearest are measured without counting.
        self.close += int(np.count_nonzero(surely))
        self._decide(i, j, (squared <= nearest) & ~open_, False)
        return open_


def _chunks(relation: Relation, embedding: Floats) -> list[Ids]:
    """Split the positions of sources into chunks of at most `CHUNK` nearby ones, each sorted by class.

    A large class has chunks of its own; small classes share theirs.
    """
    behaviour = relation.behaviour
    large = np.flatnonzero(behaviour.sizes > CHUNK // 2)
    chunks = []
    for each in large.tolist():
        end = int(behaviour.ends[each])
        chunks += _halves(behaviour.order[end - int(behaviour.sizes[each]) : end], embedding)
    small = np.flatnonzero(~np.isin(behaviour.class_of, large))
    if len(small):
        chunks += [rows[np.argsort(behaviour.class_of[rows])] for rows in _halves(small, embedding)]
    return chunks


def _halves(rows: Ids, embedding: Floats) -> list[Ids]:
    """Split rows at the median of the dimension with the largest variance until each part fits a chunk."""
    if len(rows) <= CHUNK:
        return [rows]
    part = embedding[rows]
    middle = len(rows) // 2
    order = np.argpartition(part[:, part.var(0).argmax()], middle)
    return _halves(rows[order[:middle]], embedding) + _halves(rows[order[middle:]], embedding)
