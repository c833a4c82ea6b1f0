"""The live measures of a model as numbers by name, the same names as in the metrics of ``pjepa-train``."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids
from bisim_theory.monitor.clusters import nearest_centroid_accuracy, within_across_ratio
from bisim_theory.monitor.pair import NamedPair
from bisim_theory.relation.base import Relation
from bisim_theory.theorem.check import TheoremCheck

LEAST_EXPLAINED = "theorem/least_explained_share"
"""The smallest explained share of a level with at least 20 pairs, or of any where none has so many."""

UNEXPLAINED = "theorem/unexplained_levels"
"""The number of levels, of however few pairs, that `bisim-check` would not call explained."""

COLLAPSED = "theorem/collapsed_pairs"

CLOSEST = "theorem/closest_over_median"
"""The distance of the closest distinguished pair over the median distance of all pairs."""

ACCURACY, RATIO, RANKME = "eval/nearest_centroid_accuracy", "eval/within_across_ratio", "eval/rankme"

CLASSES = "class of B_D*"
"""Name of the labels where the classes of B_D* serve."""

COMPARED = 1_024
"""Most observations of which all pairs are compared for the distances within and across labels."""


@dataclass(frozen=True, eq=False)
class Measures:
    """Measure what a model keeps of the distinctions that its data makes.

    Attributes:
        numbers: the measures by name, for a logger. Of level L there are ``theorem/explained_share_L``,
            ``theorem/residual_ratio_L`` and, where the data has labels or classes, ``theorem/separation_L``; over all
            levels `LEAST_EXPLAINED`, `UNEXPLAINED`, `COLLAPSED`, `CLOSEST` and ``eval/rankme``; with labels or classes
            that repeat, ``eval/nearest_centroid_accuracy`` and ``eval/within_across_ratio``.
        pair: the distinguished pair whose embeddings are closest; None where pairs are sampled and none was drawn.
        collapsed_pairs: number of distinguished pairs with (nearly) one embedding.
        check: Theorem 3 on the same data in full.
    """

    numbers: dict[str, float]
    pair: NamedPair | None
    collapsed_pairs: int
    check: TheoremCheck = field(repr=False)

    @property
    def collapsed(self) -> bool:
        """True where any distinguished pair is collapsed."""
        return self.collapsed_pairs > 0

    def __str__(self) -> str:
        least = self.numbers.get(LEAST_EXPLAINED)
        said = [f"RankMe {self.numbers[RANKME]:.1f}"]
        if least is not None:
            said += [
                f"least explained share {least:.2f}",
                f"levels not explained {self.numbers[UNEXPLAINED]:.0f} of {len(self.check.levels)}",
            ]
        said.append(f"collapsed pairs {self.collapsed_pairs:,}")
        return ", ".join(said) + ("" if self.pair is None else f"; closest: {self.pair}")


def theorem_numbers(check: TheoremCheck, levels: int, first: int = 1) -> dict[str, float]:
    """Return the measures of Theorem 3 by name: those of some levels, and of all levels together.

    Args:
        check: a model on its data.
        levels: the last level that has numbers of its own.
        first: the first level that has an explained share: 2 of a model without P.
    """
    numbers: dict[str, float] = {COLLAPSED: check.collapsed_pairs}
    shares = {level.level: level.explained.share for level in check.levels if level.level >= first}
    if shares:
        many = [shares[level.level] for level in check.levels if level.level in shares and not level.explained.few]
        numbers[LEAST_EXPLAINED] = min(many or shares.values())
        numbers[UNEXPLAINED] = sum(level.level >= first for level in check.unexplained_levels)
    for level in check.levels:
        if level.level > levels:
            break
        if level.level in shares:
            numbers[f"theorem/explained_share_{level.level}"] = shares[level.level]
        numbers[f"theorem/residual_ratio_{level.level}"] = level.residual_ratio
        if level.separation is not None:
            numbers[f"theorem/separation_{level.level}"] = level.separation
    return numbers


def label_codes(labels: NDArray[Any]) -> Ids:
    """Return (F,) labels as numbers 0, 1, ..."""
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def class_labels(relation: Relation) -> Ids | None:
    """Return (F,) the classes of B_D* as labels, -1 elsewhere; None where it is no equivalence, or has one class."""
    classes = relation.classes
    if classes is None or int(classes.max()) == 0:
        return None
    labels = np.full(relation.data.frames, -1)
    labels[relation.observations] = classes
    return labels


def cluster_numbers(embedding: NDArray[np.floating[Any]], labels: Ids) -> dict[str, float]:
    """Return how labels cluster: every other observation makes the centroids, the rest is scored.

    Args:
        embedding: (n, d) embeddings of different observations.
        labels: (n,) their labels.
    """
    reference = np.arange(len(labels)) % 2 == 0
    known = np.isin(labels, labels[reference]) & ~reference
    numbers = {}
    if known.any():
        numbers[ACCURACY] = nearest_centroid_accuracy(
            embedding[reference], labels[reference], embedding[known], labels[known]
        )
    chosen = np.random.default_rng(0).permutation(len(labels))[:COMPARED]
    counts = np.unique(labels[chosen], return_counts=True)[1]
    if len(counts) > 1 and counts.max() > 1:
        numbers[RATIO] = within_across_ratio(embedding[chosen], labels[chosen])
    return {name: value for name, value in numbers.items() if not math.isnan(value)}
