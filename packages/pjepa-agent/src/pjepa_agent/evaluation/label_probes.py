"""Probe embeddings of held-out episodes for their labels with linear models."""

from typing import Any

import numpy as np
from bisim_theory import TransitionDataset
from bisim_theory.data.labels import BOOKKEEPING
from bisim_theory.data.parts import join_episodes
from numpy.typing import NDArray

from pjepa_agent.envs.base import Labels
from pjepa_agent.evaluation.clusters import Floats
from pjepa_agent.evaluation.probes import accuracy_of, explained_by

MOST_CLASSES = 64
"""Most different integers that are classes; of more, a label is a number."""


def probe_labels(embedding: Floats, labels: Labels, fit: NDArray[np.bool_]) -> dict[str, Any]:
    """Fit a linear probe for every label on some observations and score it on the others.

    All dimensions are standardised first. Integers of at most 64 values are classified, other numbers regressed. Labels
    that are constant in either part, and those that number steps or episodes, have no probe.

    Args:
        embedding: (F, d).
        labels: (F,) or (F, k) numbers by name.
        fit: (F,) True where the probe is fitted.

    Returns:
        ``linear_probe``, ``chance`` and ``probe_score`` by label: the score of the probe, that of the most frequent
        class or of the mean, and whether they are an accuracy or an R^2, the mean over components that vary.
    """
    centre, spread = embedding[fit].mean(0), embedding[fit].std(0)
    rows = (embedding - centre) / np.where(spread > 0, spread, 1)
    found: dict[str, Any] = {"linear_probe": {}, "chance": {}, "probe_score": {}}
    for name, value in labels.items():
        if name in BOOKKEEPING:
            continue
        target: NDArray[Any] = (value[:, None] if value.ndim == 1 else value).astype(np.float64)
        target = target[:, (np.ptp(target[fit], axis=0) > 0) & (np.ptp(target[~fit], axis=0) > 0)]
        if not target.shape[1]:
            continue
        whole = value.ndim == 1 and value.dtype.kind in "iub" and len(np.unique(value)) <= MOST_CLASSES
        target = np.unique(value, return_inverse=True)[1].reshape(-1) if whole else target
        score = accuracy_of if whole else explained_by
        split = rows[fit], target[fit], rows[~fit], target[~fit]
        found["linear_probe"][name], found["chance"][name] = score("linear", *split), score("chance", *split)
        found["probe_score"][name] = "accuracy" if whole else "R^2"
    return found


def every_other_episode(data: TransitionDataset) -> NDArray[np.bool_]:
    """Return (F,) whether an observation is of the first, third, ... episode, on which probes are fitted."""
    group = np.unique(join_episodes(data), return_inverse=True)[1].reshape(-1)
    fit = np.zeros(data.frames, bool)
    for ids in (data.source, data.successor):
        fit[ids] = group % 2 == 0
    return fit
