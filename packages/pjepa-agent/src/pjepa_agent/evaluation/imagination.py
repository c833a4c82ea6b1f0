"""Measure how the error of T compounds: what is left of an observation after k imagined steps."""

import itertools
from typing import Any

import numpy as np
import torch
from bisim_theory import TransitionDataset
from counting_env.rules import next_count
from numpy.typing import NDArray
from torch import Tensor

from pjepa_agent.evaluation.clusters import clusters, pairwise_distances
from pjepa_agent.model import PJEPA

STEPS = 8
"""Largest number k of imagined steps."""

STARTS = 64
"""Observations of each count that imagination starts from."""

MAGNITUDES = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Bounds of |a| between which the accuracy of one step is measured."""

Floats = NDArray[np.floating[Any]]


def imagine_counts(
    model: PJEPA, reference: Floats, reference_counts: NDArray[Any], embedding: Floats, counts: NDArray[Any], seed: int
) -> dict[str, Any]:
    """Measure imagination in the counting world, whose rules tell the count after any actions.

    Args:
        model: whose T is applied.
        reference: (n, d) embeddings that make the centroids.
        reference_counts: (n,) their counts.
        embedding: (m, d) embeddings to start from, of which at most `STARTS` of each count are taken.
        counts: (m,) their counts.
        seed: fixes the actions.

    Returns:
        For actions that are uniform in [-1, 1] and for those of magnitude 1, by name: ``accuracy``, the share of
        embeddings after k = 1..8 imagined steps whose nearest centroid is that of the true count; ``error``, the mean
        squared distance to that centroid over the variance of the centroids; and ``magnitude``, the mean of |a|. Then
        ``one_step_by_magnitude``: the accuracy of one step for each range of |a|. T is smooth in a and the world is
        not, so that small actions are the hardest.
    """
    classes, centroids, _ = clusters(reference, reference_counts)
    chosen = np.concatenate([np.flatnonzero(counts == count)[:STARTS] for count in np.unique(counts)])
    start, count = torch.from_numpy(np.asarray(embedding[chosen], np.float32)), counts[chosen]
    uniform = np.random.default_rng([seed, 4]).uniform(-1, 1, (len(start), STEPS, 1)).astype(np.float32)
    found: dict[str, Any] = {}
    for name, action in (("uniform_actions", uniform), ("largest_actions", np.where(uniform >= 0, 1, -1))):
        true = _counts_after(count, action[..., 0] >= 0, int(classes.max()))
        predicted = _rollout(model, start, torch.from_numpy(action.astype(np.float32)))
        nearest = classes[_nearest(predicted, centroids)]
        found[name] = {
            "accuracy": (nearest == true).mean(0).tolist(),
            "error": _relative_error(predicted, centroids[np.searchsorted(classes, true)], centroids),
            "magnitude": float(np.abs(action).mean()),
        }
        if name == "uniform_actions":
            by_magnitude = _by_magnitude(np.abs(action[:, 0, 0]), nearest[:, 0] == true[:, 0])
    return found | {"one_step_by_magnitude": by_magnitude}


def imagine_transitions(
    model: PJEPA, data: TransitionDataset, embedding: Floats, labels: NDArray[np.int64] | None
) -> dict[str, Any]:
    """Measure imagination along the actions of held-out episodes of any world.

    Args:
        model: whose T is applied.
        data: transitions with action values.
        embedding: (F, d) embeddings of its observations.
        labels: (F,) labels as numbers, -1 where there is none; None without any.

    Returns:
        ``error``, the mean squared error after k = 1..8 steps over the variance of the embeddings that are reached, and
        with labels ``accuracy``, the share whose nearest centroid is that of the label; None at steps that no episode
        is long enough for. ``number`` counts the sequences of each length, and ``magnitude`` is the mean of |a| as T
        is given it.
    """
    assert data.action_value is not None
    rows = _following(data)
    known = rows >= 0
    safe = np.maximum(rows, 0)
    actions = torch.from_numpy(data.action_value[safe].astype(np.float32))
    predicted = _rollout(model, torch.from_numpy(np.asarray(embedding[data.source], np.float32)), actions)
    successor = data.successor[safe]
    found: dict[str, Any] = {"number": known.sum(0).tolist(), "error": [], "magnitude": _magnitude(model, data)}
    for step in range(STEPS):
        chosen = known[:, step]
        reached = embedding[successor[chosen, step]].astype(np.float64)
        found["error"].append(_mean_error(predicted[chosen, step], reached, reached))
    if labels is not None and (labels >= 0).any():
        found["accuracy"] = _label_accuracy(predicted, embedding, labels, successor, known)
    return found


def _label_accuracy(
    predicted: Floats, embedding: Floats, labels: NDArray[Any], successor: NDArray[Any], known: NDArray[np.bool_]
) -> list[float | None]:
    labelled = labels >= 0
    classes, centroids, _ = clusters(embedding[labelled], labels[labelled])
    found: list[float | None] = []
    for step in range(STEPS):
        chosen = known[:, step] & labelled[successor[:, step]]
        right = classes[_nearest(predicted[chosen, step], centroids)] == labels[successor[chosen, step]]
        found.append(float(right.mean()) if chosen.any() else None)
    return found


def _following(data: TransitionDataset) -> NDArray[np.int64]:
    """Return (N, 8): the row of the k-th step that begins with each row, -1 where its episode is over."""
    number = len(data)
    follows = np.zeros(number, bool)
    follows[:-1] = data.source[1:] == data.successor[:-1]
    if data.episode is not None:
        follows[:-1] &= data.episode[1:] == data.episode[:-1]
    rows = np.full((number, STEPS), -1)
    rows[:, 0] = np.arange(number)
    for step in range(1, STEPS):
        before = rows[:, step - 1]
        goes_on = (before >= 0) & follows[np.maximum(before, 0)]
        rows[goes_on, step] = before[goes_on] + 1
    return rows


def _counts_after(count: NDArray[Any], adds: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Return the counts (n, 8) after actions (n, 8) by the rules."""
    after = []
    for code in adds.T.astype(np.int64):
        count = next_count(count, code, most)
        after.append(count)
    return np.stack(after, 1)


@torch.no_grad()
def _rollout(model: PJEPA, start: Tensor, actions: Tensor) -> NDArray[np.float32]:
    """Return imagined embeddings (n, 8, d)."""
    training = model.training
    model.eval()
    try:
        device = model.device
        return model.rollout(start.to(device), actions.to(device)).cpu().numpy()
    finally:
        model.train(training)


def _nearest(embedding: Floats, centroids: Floats) -> NDArray[np.int64]:
    """Return the number (...) of the nearest centroid of embeddings (..., d)."""
    flat = embedding.reshape(-1, embedding.shape[-1])
    if not len(flat):
        return np.zeros(embedding.shape[:-1], np.int64)
    return pairwise_distances(flat, centroids).argmin(1).reshape(embedding.shape[:-1])


def _relative_error(predicted: Floats, expected: Floats, all_centroids: Floats) -> list[float | None]:
    """Return the mean squared error of each step over the variance of the centroids."""
    return [_mean_error(predicted[:, step], expected[:, step], all_centroids) for step in range(STEPS)]


def _mean_error(predicted: Floats, expected: Floats, spread: Floats) -> float | None:
    """Return the mean squared error over the variance of rows `spread` (n, d); None where nothing varies."""
    if not len(spread):
        return None
    variance = np.square(spread - spread.mean(0)).sum(1).mean()
    error = np.square(predicted.astype(np.float64) - expected).sum(-1).mean()
    return float(error / variance) if variance > 0 else None


def _magnitude(model: PJEPA, data: TransitionDataset) -> float:
    """Return the mean of |a|, scaled as T is given it."""
    values = torch.from_numpy(np.asarray(data.action_value, np.float32)).to(model.device)
    return float(model.given(values).abs().mean())


def _by_magnitude(magnitude: Floats, right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    found = []
    for low, high in itertools.pairwise(MAGNITUDES):
        chosen = (magnitude >= low) & (magnitude < high)
        accuracy = float(right[chosen].mean()) if chosen.any() else None
        found.append({"from": low, "to": high, "number": int(chosen.sum()), "accuracy": accuracy})
    return found
