"""How embeddings lie by label: the compactness and the separation of clusters, as numbers (paper Section 2.3)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
ClassLabels = NDArray[np.integer[Any]]


def pairwise_distances(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Euclidean distances of rows: (n, d) and (m, d) -> (n, m), centred first so that no digits are lost."""
    centre = a.mean(0, dtype=np.float64)
    a64, b64 = a - centre, b - centre
    squared = (a64**2).sum(1)[:, None] + (b64**2).sum(1) - 2 * a64 @ b64.T
    distances: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return distances


def nearest_centroid_accuracy(
    reference: Floats, reference_labels: ClassLabels, embedding: Floats, labels: ClassLabels
) -> float:
    """Share of embeddings whose nearest centroid is that of their own label (paper Section 2.3), in [0, 1].

    Args:
        reference: (n, d) embeddings that make the centroids, none of them scored.
        reference_labels: (n,) their labels.
        embedding: (m, d) embeddings to score.
        labels: (m,) their labels.
    """
    classes, centroids, _ = clusters(reference, reference_labels)
    nearest = classes[pairwise_distances(embedding, centroids).argmin(1)]
    return float((nearest == labels).mean())


def within_across_ratio(embedding: Floats, labels: ClassLabels) -> float:
    """Mean distance of pairs with one label over that of pairs with two; NaN where all embeddings are one point.

    Args:
        embedding: (n, d).
        labels: (n,), at least two different ones and at least two of one kind.
    """
    distances = pairwise_distances(embedding, embedding)
    same = labels[:, None] == labels
    across = distances[~same].mean()
    np.fill_diagonal(same, False)
    return float(distances[same].mean() / across) if across > 0 else math.nan


def spread(embedding: Floats) -> float:
    """Root mean square distance of embeddings (n, d) to their mean; 0 where all are one point."""
    embedding = embedding.astype(np.float64) - embedding[0]  # exact where all are one
    return math.sqrt(np.square(embedding - embedding.mean(0)).sum(1).mean())


def clusters(embedding: Floats, labels: ClassLabels) -> tuple[ClassLabels, NDArray[np.float64], NDArray[np.float64]]:
    """The labels (c,) that occur, sorted, their centroids (c, d), and the mean square distance to each (c,)."""
    classes = np.unique(labels)
    members = [embedding[labels == label].astype(np.float64) for label in classes]
    centroids = np.stack([rows.mean(0) for rows in members])
    spreads = [np.square(rows - centroid).sum(1).mean() for rows, centroid in zip(members, centroids, strict=True)]
    return classes, centroids, np.array(spreads)


def between_within_variance(embedding: Floats, labels: ClassLabels) -> float:
    """Variance of the centroids over the mean variance within a label, every label counting alike.

    It is the share of the variance that the label explains, R^2 / (1 - R^2). NaN where all embeddings are one point,
    infinite where only each label is.

    Args:
        embedding: (n, d).
        labels: (n,).
    """
    _, centroids, spreads = clusters(embedding.astype(np.float64) - embedding[0], labels)  # exact where all are one
    return _ratio(np.square(centroids - centroids.mean(0)).sum(1).mean(), spreads.mean())


def gap_over_radius(embedding: Floats, labels: ClassLabels) -> float:
    """Smallest distance between two centroids over the largest radius, the root mean square distance to a centroid.

    Above 2, balls of that radius around the centroids do not touch. The worst pair of labels decides, where accuracy
    and the other ratios are averages. NaN where all embeddings are one point, infinite where only each label is.

    Args:
        embedding: (n, d).
        labels: (n,), at least two different ones.
    """
    _, centroids, spreads = clusters(embedding.astype(np.float64) - embedding[0], labels)  # exact where all are one
    between = pairwise_distances(centroids, centroids)[np.triu_indices(len(centroids), 1)]
    return _ratio(between.min(), math.sqrt(spreads.max()))


def silhouette(embedding: Floats, labels: ClassLabels) -> float:
    """Mean silhouette coefficient (Rousseeuw, 1987), in [-1, 1]; NaN where all embeddings are one point.

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
    if under > 0:
        return float(over / under)
    return math.inf if over > 0 else math.nan
