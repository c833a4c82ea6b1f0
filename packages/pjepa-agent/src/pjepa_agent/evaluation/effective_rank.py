"""Measure the effective rank of embeddings, the exponential of an entropy: RankMe and LiDAR."""

import math
from typing import Any

import numpy as np
from bisim_theory.monitor.clusters import Floats
from bisim_theory.monitor.effective_rank import RANKME_EPSILON, exponential_of_entropy, rankme
from numpy.typing import NDArray

__all__ = ["RANKME_EPSILON", "lidar", "rankme"]

LIDAR_REGULARIZATION = 1e-4
"""Variance added to the within-scene variance of every direction, as a share of a direction's mean variance."""


def lidar(embedding: Floats, scenes: NDArray[np.integer[Any]]) -> float:
    """Return LiDAR (Thilak et al., 2024): the effective rank of the differences between scenes.

    It is the effective rank of the eigenvalues of S_w^(-1/2) S_b S_w^(-1/2), with S_b the covariance of the means of
    the scenes and S_w the mean covariance within a scene. The original takes augmentations of one image as views of a
    scene. Here a scene is a number of objects of one shape and colour, and its views show them at other places, which
    the dynamics redraw at every step. The regularisation of S_w is relative to the variance of the embeddings, so that
    LiDAR does not depend on their scale.

    Args:
        embedding: (n, d).
        scenes: (n,) the scene of each embedding, with equally many views of every scene.

    Returns:
        The effective rank, at most the smaller of d and the number of scenes; NaN if all embeddings coincide.
    """
    rows = embedding.astype(np.float64)
    if not np.isfinite(rows).all():
        return math.nan
    number, of_row = np.unique(scenes, return_inverse=True)
    means = np.zeros((len(number), rows.shape[1]))
    np.add.at(means, of_row, rows)
    means /= np.bincount(of_row)[:, None]
    centred, deviations = means - means.mean(0), rows - means[of_row]
    between, within = centred.T @ centred / len(means), deviations.T @ deviations / len(rows)
    variance = float(np.trace(between) + np.trace(within)) / rows.shape[1]
    if variance == 0:
        return math.nan
    values, directions = np.linalg.eigh(within)
    whitening = directions / np.sqrt(np.maximum(values, 0) + LIDAR_REGULARIZATION * variance)
    eigenvalues = np.linalg.eigvalsh(whitening.T @ between @ whitening)
    return exponential_of_entropy(np.maximum(eigenvalues, 0), RANKME_EPSILON)
