"""Measure compactness and separation of the clusters that labels make of embeddings (paper Section 2.3)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
ClassLabels = NDArray[np.integer[Any]]


def pairwise_distances(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Return Euclidean distances of rows: (n, d) and (m, d) -> (n, m). Rows are centred first for precision."""
    centre = a.mean(0, dtype=np.float64)
    a64, b64 = a - centre, b - centre
    squared = (a64**2).sum(1)[:, None] + (b64**2).sum(1) - 2 * a64 @ b64.T
    distances: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return distances


def nearest_centroid_accuracy(
    reference: Floats, reference_labels: ClassLabels, embedding: Floats, labels: ClassLabels
) -> float:
    """Return the share of embeddings whose nearest centroid is that of their label (paper Section 2.3), in [0, 1].

    Args:
        reference: (n, d) embeddings that define the centroids, none of which is scored.
        reference_labels: (n,) their labels.
        embedding: (m, d) embeddings to score.
        labels: (m,) their labels.
    """
    classes, centroids, _ = clusters(reference, reference_labels)
    nearest = classes[pairwise_distances(embedding, centroids).argmin(1)]
    return float((nearest == labels).mean())


def within_across_ratio(embedding: Floats, labels: ClassLabels) -> float:
    """Return the mean distance within labels over the mean distance across labels; NaN if all embeddings coincide.

    Args:
        embedding: (n, d).
        labels: (n,), at least two different ones, one of them at least twice.
    """
    distances = pairwise_distances(embedding, embedding)
    same = labels[:, None] == labels
    across = distances[~same].mean()
    np.fill_diagonal(same, False)
    return float(distances[same].mean() / across) if across > 0 else math.nan


def spread(embedding: Floats) -> float:
    """Return the root mean square distance of embeddings (n, d) to their mean."""
    embedding = embedding.astype(np.float64) - embedding[0]  # exactly 0 if all coincide
    return math.sqrt(np.square(embedding - embedding.mean(0)).sum(1).mean())


def clusters(embedding: Floats, labels: ClassLabels) -> tuple[ClassLabels, NDArray[np.float64], NDArray[np.float64]]:
    """Return the distinct labels (c,), sorted, their centroids (c, d) and mean square distances to them (c,)."""
    classes = np.unique(labels)
    members = [embedding[labels == label].astype(np.float64) for label in classes]
    centroids = np.stack([rows.mean(0) for rows in members])
    spreads = [np.square(rows - centroid).sum(1).mean() for rows, centroid in zip(members, centroids, strict=True)]
    return classes, centroids, np.array(spreads)


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
