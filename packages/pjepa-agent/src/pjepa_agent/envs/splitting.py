"""Episodes that are kept for measuring."""

from dataclasses import replace
from typing import Any

import numpy as np
from bisim_theory import DatasetError, TransitionDataset
from numpy.typing import NDArray

FEWEST = 2
"""Fewest episodes that are trained on, and that are kept for measuring."""

ROWS = ("source", "successor", "action", "auxiliary", "action_value", "reward", "terminated", "truncated", "episode")


def hold_out(data: TransitionDataset, share: float, seed: int) -> tuple[TransitionDataset, TransitionDataset]:
    """Split transitions by episode, so that no observation is in both parts.

    Episodes that have an observation in common stay together, such as one and the absorbing rows at its end.

    Args:
        data: transitions with episodes and observations.
        share: of the episodes that are kept for measuring, rounded, at least `FEWEST`.
        seed: fixes which.

    Returns:
        The transitions to train on and those to measure with, each with its own observations.

    Raises:
        DatasetError: there are too few episodes.
    """
    group = join_episodes(data)
    groups = np.unique(group)
    held = max(FEWEST, round(share * len(groups)))
    if len(groups) - held < FEWEST:
        raise DatasetError(
            f"collection.held_out={share}: needs {FEWEST} episodes to measure with and {FEWEST} to train on, and there "
            f"are {len(groups)} that share no observation; collect more (collection.transitions), or shorter ones "
            "(collection.max_episode_steps)"
        )
    chosen = np.random.default_rng([seed, 3]).permutation(groups)[:held]
    kept = np.isin(group, chosen)
    return select_rows(data, ~kept), select_rows(data, kept)


def join_episodes(data: TransitionDataset) -> NDArray[np.int64]:
    """Return for every transition (N,) the smallest episode that it is joined with by observations in common."""
    if data.episode is None:
        raise DatasetError("episode: is not in this dataset, and transitions are held out by episode")
    episodes, row = np.unique(data.episode, return_inverse=True)
    group = np.arange(len(episodes))
    while True:
        of_frame = np.full(data.frames, len(episodes))
        for ids in (data.source, data.successor):
            np.minimum.at(of_frame, ids, group[row])
        joined = group.copy()
        for ids in (data.source, data.successor):
            np.minimum.at(joined, row, of_frame[ids])
        if (joined == group).all():
            return episodes[group[row]]
        group = joined


def select_rows(data: TransitionDataset, rows: NDArray[np.bool_]) -> TransitionDataset:
    """Return some transitions (N,) with their observations alone, renumbered in order."""
    frames = np.unique(np.concatenate([data.source[rows], data.successor[rows]]))
    number = np.zeros(data.frames, np.int64)
    number[frames] = np.arange(len(frames))
    parts: dict[str, Any] = {}
    for name in ROWS:
        value = getattr(data, name)
        parts[name] = None if value is None else value[rows]
    parts |= {name: number[parts[name]] for name in ("source", "successor")}
    for name in ("observation", "observation_auxiliary", "observation_auxiliary_known"):
        value = getattr(data, name)
        parts[name] = None if value is None else value[frames]
    labels = {name: value[frames] for name, value in data.labels.items()}
    return replace(data, **parts, labels=labels, size=len(frames))
