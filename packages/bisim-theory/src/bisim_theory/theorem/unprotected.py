"""Measure whether a model merges the pairs of B_D*, which nothing distinguishes, or keeps them apart for free."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Relation
from bisim_theory.relation.sampled_levels import SampledRelation
from bisim_theory.theorem.nearest import Floats, distances

DRAWS = 20
"""Rounds of draws of a uniform sample, of which the pairs of both kinds are kept."""

FEWEST = 10
"""Pairs of a kind below which nothing is said of it."""


@dataclass(frozen=True)
class Unprotected:
    """Compare the distances of pairs in B_D*, of which no theorem speaks, with those in R_D*.

    Attributes:
        pairs: number of unordered pairs of observations in B_D*.
        median_distance: their median distance.
        protected_distance: median distance of the pairs in R_D*.
        separation: probability that a pair in R_D* is further apart than one in B_D* (area under the ROC curve; ties
            count half). Where it is a half, the model keeps both alike; where it is 1, it merges those in B_D* more.
        sampled: whether pairs were drawn uniformly; else all were compared.
    """

    pairs: int
    median_distance: float
    protected_distance: float
    separation: float
    sampled: bool


def measure_unprotected(relation: Relation, embedding: NDArray[np.floating], most: int) -> Unprotected | None:
    """Compare the distances of pairs in B_D* with those in R_D*.

    Args:
        relation: R_D* and B_D* over the data.
        embedding: (F, d) floats, E of every observation.
        most: most pairs of a kind that are compared.

    Returns:
        None where fewer than `FEWEST` pairs of a kind are there, or were drawn.
    """
    ids = relation.observations
    sampled = not relation.exact or len(ids) * (len(ids) - 1) // 2 > most
    if isinstance(relation, SampledRelation):  # whose levels of other pairs cost a search each
        x, y, apart = ids[relation.x], ids[relation.y], relation.levels > 0
    else:
        x, y = _drawn(relation, most) if sampled else (ids[each] for each in np.triu_indices(len(ids), 1))
        apart = relation.level(x, y) > 0
    kinds = [distances(embedding, x[of][:most], y[of][:most]) for of in (apart, ~apart)]
    if min(map(len, kinds)) < FEWEST:
        return None
    protected, unprotected = kinds
    return Unprotected(
        pairs=relation.bisimilar_pairs,
        median_distance=float(np.median(unprotected)),
        protected_distance=float(np.median(protected)),
        separation=separation(protected, unprotected),
        sampled=sampled,
    )


def separation(larger: Floats, smaller: Floats) -> float:
    """Compute the probability that a value of `larger` exceeds one of `smaller`, with ties as half (area under ROC)."""
    ordered = np.sort(smaller)
    below, up_to = np.searchsorted(ordered, larger, "left"), np.searchsorted(ordered, larger, "right")
    return float((below + up_to).mean() / (2 * len(smaller)))


def _drawn(relation: Relation, most: int) -> tuple[Ids, Ids]:
    """Draw pairs of different observations uniformly, until enough are of the rarer kind."""
    ids, rng = relation.observations, np.random.default_rng(0)
    rarer = min(relation.distinguished_pairs, relation.bisimilar_pairs)
    share = rarer / max(relation.distinguished_pairs + relation.bisimilar_pairs, 1)
    number = int(min(max(most / share if share else 0, most), DRAWS * most))
    first = rng.integers(len(ids), size=number)
    second = (first + 1 + rng.integers(len(ids) - 1, size=number)) % len(ids)
    return ids[first], ids[second]
