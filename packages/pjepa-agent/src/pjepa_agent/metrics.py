"""How an encoder arranges held-out observations, and the record of a run."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory.files import atomic_write
from numpy.typing import NDArray

from pjepa_agent.run_directory import RunError

Floats = NDArray[np.floating[Any]]


def pairwise_distances(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Euclidean distances of rows: (n, d) and (m, d) -> (n, m), centred first so that no digits are lost."""
    centre = a.mean(0, dtype=np.float64)
    a64, b64 = a - centre, b - centre
    squared = (a64**2).sum(1)[:, None] + (b64**2).sum(1) - 2 * a64 @ b64.T
    distances: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return distances


def nearest_centroid_accuracy(
    reference: Floats, reference_labels: NDArray[np.integer[Any]], embedding: Floats, labels: NDArray[np.integer[Any]]
) -> float:
    """Share of embeddings whose nearest centroid is that of their own label (paper Section 2.3), in [0, 1].

    Args:
        reference: (n, d) embeddings that make the centroids, none of them scored.
        reference_labels: (n,) their labels.
        embedding: (m, d) embeddings to score.
        labels: (m,) their labels.
    """
    classes = np.unique(reference_labels)
    centroids = np.stack([reference[reference_labels == label].mean(0) for label in classes])
    nearest = classes[pairwise_distances(embedding, centroids).argmin(1)]
    return float((nearest == labels).mean())


def within_across_ratio(embedding: Floats, labels: NDArray[np.integer[Any]]) -> float:
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


class MetricsFile:
    """``metrics.csv``: one row an evaluation, readable at any moment.

    Args:
        path: the file; rows it already has are kept up to `until`.
        until: last update whose row is kept, when a run goes on from a checkpoint.
    """

    def __init__(self, path: Path, until: int = -1) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        if path.is_file():
            try:
                with open(path, encoding="utf-8", newline="") as file:
                    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
                self.rows = [row for row in rows if row["update"] <= until]
            except (ValueError, TypeError, KeyError, csv.Error) as error:
                raise RunError(f"{path}: is damaged ({type(error).__name__}); restore it, or begin a new run") from None

    def append(self, row: dict[str, float]) -> None:
        """Add a row and write the file anew, so that it is whole whenever the run ends."""
        self.rows.append(row)
        with atomic_write(self.path, "w") as file:
            writer = csv.DictWriter(file, list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            for values in self.rows:
                writer.writerow({n: int(v) if n == "update" else f"{v:.6g}" for n, v in values.items()})

    def column(self, name: str) -> list[float]:
        """All values of one column."""
        return [row[name] for row in self.rows]
