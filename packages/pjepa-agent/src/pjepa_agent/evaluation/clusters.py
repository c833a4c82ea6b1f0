"""Measure compactness and separation of the clusters that labels make of embeddings (paper Section 2.3)."""

import math

import numpy as np
from bisim_theory.monitor.clusters import (
    ClassLabels,
    Floats,
    clusters,
    nearest_centroid_accuracy,
    pairwise_distances,
    spread,
    within_across_ratio,
)

__all__ = [
    "ClassLabels",
    "Floats",
    "between_within_variance",
    "clusters",
    "gap_over_radius",
    "nearest_centroid_accuracy",
    "pairwise_distances",
    "silhouette",
    "spread",
    "within_across_ratio",
]


def between_within_variance(embedding: Floats, labels: ClassLabels) -> float:
    """Return the variance of the centroids over the mean variance within a label, all labels weighted equally.

    With R^2 the share of the variance that the label explains, this is R^2 / (1 - R^2). It is NaN if all embeddings
    coincide, and infinite if only those of each label do.

    Args:
        embedding: (n, d).
        labels: (n,).
    """
    _, centroids, spreads = clusters(embedding.astype(np.float64) - embedding[0], labels)  # exactly 0 if all coincide
    return _ratio(np.square(centroids - centroids.mean(0)).sum(1).mean(), spreads.mean())


def gap_over_radius(embedding: Floats, labels: ClassLabels) -> float:
    """Return the smallest distance between centroids over the largest root mean square distance to a centroid.

    Above 2, balls of that radius around the centroids are disjoint. The worst pair of labels decides, whereas accuracy
    and the other ratios are averages. It is NaN if all embeddings coincide, and infinite if only those of each label
    do.

    Args:
        embedding: (n, d).
        labels: (n,), at least two different ones.
    """
    _, centroids, spreads = clusters(embedding.astype(np.float64) - embedding[0], labels)  # exactly 0 if all coincide
    between = pairwise_distances(centroids, centroids)[np.triu_indices(len(centroids), 1)]
    return _ratio(between.min(), math.sqrt(spreads.max()))


def silhouette(embedding: Floats, labels: ClassLabels) -> float:
    """Return the mean silhouette coefficient (Rousseeuw, 1987), in [-1, 1]; NaN if all embeddings coincide.

    Args:
        embedding: (n, d).
        labels: (n,), at least two different ones, fewer than n.
    """
    from sklearn.metrics import silhouette_score  # takes more than a second to import

    if not np.ptp(embedding, axis=0).any():
        return math.nan
    distances = pairwise_distances(embedding, embedding)
    np.fill_diagonal(distances, 0)
    return float(silhouette_score(distances, labels, metric="precomputed"))


def _ratio(over: float, under: float) -> float:
    """Divide two numbers >= 0: infinite by zero, NaN for zero by zero."""
    if under > 0:
        return float(over / under)
    return math.inf if over > 0 else math.nan
