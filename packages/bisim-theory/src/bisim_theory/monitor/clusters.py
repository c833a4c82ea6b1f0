"""Measure the clusters that labels make of embeddings (paper Section 2.3)."""

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
