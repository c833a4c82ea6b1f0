"""Measure the effective rank of embeddings, the exponential of an entropy."""

import math

import numpy as np
from numpy.typing import NDArray

from bisim_theory.monitor.clusters import Floats

RANKME_EPSILON = 1e-7
"""Number added to every normalised singular value (Garrido et al., 2023)."""


def rankme(embedding: Floats) -> float:
    """Return RankMe (Garrido et al., 2023): exp of the entropy of the normalised singular values, in [1, min(n, d)].

    As in the original, embeddings are not centred: a mean far from the origin counts as a direction.

    Args:
        embedding: (n, d).

    Returns:
        The effective rank; NaN if all embeddings are zero, or one is not finite.
    """
    rows = embedding.astype(np.float64)
    if not np.isfinite(rows).all():
        return math.nan
    # The squared singular values, from the smaller of the two products: a tenth of the time of the decomposition.
    product = rows.T @ rows if rows.shape[1] <= rows.shape[0] else rows @ rows.T
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0))
    return exponential_of_entropy(singular, RANKME_EPSILON)


def exponential_of_entropy(values: NDArray[np.float64], epsilon: float) -> float:
    """Return exp of the entropy of values >= 0, normalised to sum 1; NaN if all are zero."""
    total = values.sum()
    if not total > 0:
        return math.nan
    share = values / total + epsilon
    return float(np.exp(-(share * np.log(share)).sum()))
