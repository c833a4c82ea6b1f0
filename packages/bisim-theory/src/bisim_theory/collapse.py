"""Theorem 3 against an encoder: its hypothesis as residuals, its conclusion as the smallest distance over R_D*."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bisim_theory.bisimulation import Relation
from bisim_theory.representation import Representation
from bisim_theory.transitions import Ids, TransitionDataset

Verdict = Literal["holds", "collapsed", "hypothesis-not-met"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """What counts as well-trained and as collapsed, since residuals and distances are never exactly zero.

    Attributes:
        transition: largest 2 median e_d over the median distance of the pairs that enter at a level, for every level.
        auxiliary: least share of level-1 pairs with e_p(x) + e_p(y) < |p(x) - p(y)|.
        collapse: a distance over R_D* up to this share of the median distance of all pairs is a collapse.
        point: so is one up to this share of the embeddings' root mean square, for a median says nothing about an
            encoder that maps everything to a point, or (rightly) most bisimilar pairs.
        sample: pairs per level beyond which a uniform sample stands for them.
    """

    transition: float = 1.0
    auxiliary: float = 0.99
    collapse: float = 1e-3
    point: float = 1e-6
    sample: int = 100_000


@dataclass(frozen=True)
class LevelCheck:
    """One level of R_D*: its distances beside the transition residual.

    `pairs` unordered pairs enter at `level`; `median_distance` is over them, or over a uniform sample where `sampled`;
    `residual_ratio` is 2 median e_d over it.
    """

    level: int
    pairs: int
    median_distance: float
    residual_ratio: float
    sampled: bool


@dataclass(frozen=True)
class Closest:
    """The smallest ||E(x) - E(y)|| over R_D*, the pair (x, y), its level and a witness."""

    min_distance: float
    pair: tuple[int, int]
    level: int
    witness: list[int]


@dataclass(frozen=True)
class TheoremCheck:
    """Theorem 3 on a dataset and a model.

    Attributes:
        transition_residual: quantiles 0.5, 0.9, 0.99 and 1 of e_d = ||T(E(x), a) - E(f(x, a))||.
        auxiliary_residual: the same quantiles of e_p = |P(E(x)) - p(x)|.
        auxiliary_share: share of level-1 pairs with e_p(x) + e_p(y) < |p(x) - p(y)|; None without such pairs.
        levels: every level of R_D*.
        median_distance: median distance of all pairs of sources (a sample where there are many).
        closest: the smallest distance over R_D*; None where R_D* is empty.
        hypothesis_met, collapsed: by `tolerance`.
    """

    transition_residual: tuple[float, ...]
    auxiliary_residual: tuple[float, ...]
    auxiliary_share: float | None
    levels: list[LevelCheck]
    median_distance: float
    closest: Closest | None
    hypothesis_met: bool
    collapsed: bool
    tolerance: Tolerance

    @property
    def verdict(self) -> Verdict:
        """Collapsed, else hypothesis not met, else holds."""
        if self.collapsed:
            return "collapsed"
        return "holds" if self.hypothesis_met else "hypothesis-not-met"


QUANTILES = (0.5, 0.9, 0.99, 1.0)


def check_theorem(
    data: TransitionDataset, relation: Relation, representation: Representation, tolerance: Tolerance | None = None
) -> TheoremCheck:
    """Hold a model against Theorem 3 on the data that it was trained on.

    Args:
        data: the transitions.
        relation: R_D* over them.
        representation: what the model makes of them.
        tolerance: what counts as well-trained and as collapsed; None takes the defaults.

    Raises:
        DatasetError: the representation does not fit the data.
    """
    representation.check_against(data)
    tolerance = tolerance or Tolerance()
    e_d = transition_residual(data, representation)
    e_p = auxiliary_residual(data, representation)
    centred = _centred_sources(relation, representation)
    levels = _check_levels(relation, representation, float(np.median(e_d)), tolerance)
    share = _auxiliary_share(data, relation, e_p, tolerance)
    median = _median_distance(centred, tolerance)
    closest = closest_distinguished(relation, representation)
    rms = float(np.sqrt(np.square(representation.embedding[relation.sources], dtype=np.float64).sum(1).mean()))
    threshold = max(tolerance.collapse * median, tolerance.point * rms)
    return TheoremCheck(
        transition_residual=tuple(np.quantile(e_d, QUANTILES).tolist()),
        auxiliary_residual=tuple(np.quantile(e_p, QUANTILES).tolist()),
        auxiliary_share=share,
        levels=levels,
        median_distance=median,
        closest=closest,
        hypothesis_met=_hypothesis_met(share, levels, e_d, e_p, rms, tolerance),
        collapsed=closest is not None and closest.min_distance <= threshold,
        tolerance=tolerance,
    )


def _hypothesis_met(
    share: float | None, levels: list[LevelCheck], e_d: Floats, e_p: Floats, rms: float, tolerance: Tolerance
) -> bool:
    if share is None:  # no pair is distinguished, so there is no distance or margin to hold the residuals against
        return bool(e_d.max() <= tolerance.point * rms and e_p.max() <= tolerance.point)
    met = all(level.residual_ratio < tolerance.transition for level in levels)
    return met and share >= tolerance.auxiliary


def transition_residual(data: TransitionDataset, representation: Representation) -> Floats:
    """e_d of every transition: (N,) distances of the predicted from the true embedding of the successor."""
    difference = representation.predicted_embedding - representation.embedding[data.successor].astype(np.float64)
    residual: Floats = np.sqrt(np.square(difference).sum(1))
    return residual


def auxiliary_residual(data: TransitionDataset, representation: Representation) -> Floats:
    """e_p of every transition: (N,) Euclidean distances of the predicted from the true p of the source."""
    difference = representation.predicted_auxiliary.astype(np.float64) - data.auxiliary
    residual: Floats = np.sqrt(np.square(difference).reshape(len(data), -1).sum(1))
    return residual


def _centred_sources(relation: Relation, representation: Representation) -> Floats:
    embedding = representation.embedding[relation.sources].astype(np.float64)
    return np.asarray(embedding - embedding.mean(0))


def _distances(embedding: NDArray[Any], x: Ids, y: Ids) -> Floats:
    distance = np.empty(len(x))
    for start in range(0, len(x), 16_384):  # differences in pieces that stay in the cache
        rows = slice(start, start + 16_384)
        difference = embedding[x[rows]].astype(np.float64) - embedding[y[rows]]
        distance[rows] = np.sqrt(np.square(difference).sum(1))
    return distance


def _check_levels(
    relation: Relation, representation: Representation, median_e_d: float, tolerance: Tolerance
) -> list[LevelCheck]:
    rng = np.random.default_rng(0)
    checks = []
    for level, pairs in enumerate(relation.distinguished_pairs_per_level, start=1):
        x, y, everything = relation.sample_pairs(level, tolerance.sample, rng)
        median = float(np.median(_distances(representation.embedding, x, y)))
        ratio = 2 * median_e_d / median if median > 0 else np.inf
        checks.append(LevelCheck(level, pairs, median, ratio, not everything))
    return checks


def _auxiliary_share(data: TransitionDataset, relation: Relation, e_p: Floats, tolerance: Tolerance) -> float | None:
    if not relation.distinguished_pairs:
        return None
    x, y, _ = relation.sample_pairs(1, tolerance.sample, np.random.default_rng(0))
    i, j = relation.positions(x), relation.positions(y)
    row = np.unique(data.source, return_index=True)[1]  # p and P(E(x)) depend on the source alone: any row of it does
    auxiliary = data.auxiliary[row].astype(np.float64).reshape(len(row), -1)
    margin = _distances(auxiliary, i, j)
    return float((e_p[row][i] + e_p[row][j] < margin).mean())


def _median_distance(centred: Floats, tolerance: Tolerance) -> float:
    n = len(centred)
    if n < 2:
        return 0.0
    if n * (n - 1) // 2 <= tolerance.sample:
        x, y = np.triu_indices(n, 1)
    else:
        rng = np.random.default_rng(0)
        x = rng.integers(n, size=tolerance.sample)
        y = (x + rng.integers(1, n, size=tolerance.sample)) % n
    return float(np.median(_distances(centred, x, y)))


ROWS, COLUMNS = 512, 8192
"""Shape of the blocks of the distance matrix that are in memory at a time."""


def closest_distinguished(relation: Relation, representation: Representation) -> Closest | None:
    """The smallest distance over all of R_D*, exactly; None where R_D* is empty.

    Products of centred embeddings in float64 find the candidates, up to a bound on their rounding error; differences
    decide between them.
    """
    order = np.argsort(relation.behaviour.class_of, kind="stable")
    classes = relation.behaviour.class_of[order]
    embedding = _centred_sources(relation, representation)[order]
    norms = np.square(embedding).sum(1)
    rounding = 4 * (embedding.shape[1] + 4) * np.finfo(np.float64).eps * float(norms.max(initial=0))
    best = (np.inf, -1, -1)
    for start, stop in _blocks(classes):
        for columns in _related_columns(relation, classes, start, stop):
            squared = norms[start:stop, None] + norms[columns] - 2 * embedding[start:stop] @ embedding[columns].T
            if classes[start] != classes[stop - 1]:
                squared[relation.table[np.ix_(classes[start:stop], classes[columns])] == 0] = np.inf
            best = _closer(best, embedding, squared, start, columns, rounding)
            if best[0] == 0:
                break
        if best[0] == 0:
            break
    if best[1] < 0:
        return None
    x, y = sorted((int(relation.sources[order[best[1]]]), int(relation.sources[order[best[2]]])))
    witness = relation.witness(x, y)
    assert witness is not None
    return Closest(best[0], (x, y), len(witness) + 1, witness)


def _blocks(classes: Ids) -> list[tuple[int, int]]:
    """Ranges of at most `ROWS` sources: of one class where it is large, of several small ones together."""
    blocks, start = [], 0
    ends = [*(np.flatnonzero(np.diff(classes)) + 1).tolist(), len(classes)]
    begin = 0
    for end in ends:
        if end - start > ROWS:
            if begin > start:
                blocks.append((start, begin))
            blocks += [(row, min(row + ROWS, end)) for row in range(begin, end, ROWS)]
            start = end
        begin = end
    if start < len(classes):
        blocks.append((start, len(classes)))
    return blocks


def _related_columns(relation: Relation, classes: Ids, start: int, stop: int) -> list[Ids]:
    """Positions from `start` on whose class is apart from some class of the block, in pieces."""
    rows = np.unique(classes[start:stop])
    apart = (relation.table[rows] != 0).any(0)
    columns = start + np.flatnonzero(apart[classes[start:]])
    return [columns[i : i + COLUMNS] for i in range(0, len(columns), COLUMNS)]


def _closer(
    best: tuple[float, int, int], embedding: Floats, squared: Floats, start: int, columns: Ids, rounding: float
) -> tuple[float, int, int]:
    """The better of `best` and the closest pair of a block of squared distances."""
    limit = min(float(squared.min(initial=np.inf)), best[0] ** 2) + 2 * rounding
    rows, places = np.nonzero(squared <= limit)
    step = 65_536
    for first in range(0, len(rows), step):
        i, j = start + rows[first : first + step], columns[places[first : first + step]]
        distance = _distances(embedding, i, j)
        least = int(distance.argmin())
        if distance[least] < best[0]:
            best = (float(distance[least]), int(i[least]), int(j[least]))
        if best[0] == 0:
            break
    return best


def verdict_sentence(verdict: Verdict) -> str:
    """What a verdict means, in a sentence."""
    return {
        "holds": "holds: the model is well-trained within tolerance and no distinguished pair is collapsed",
        "collapsed": "collapsed: a pair that the data distinguishes has (nearly) one embedding",
        "hypothesis-not-met": "hypothesis not met: the residuals are too large for Theorem 3 to say anything",
    }[verdict]
