"""Parts of transitions: some rows, the frames that they need, and whole episodes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids, TransitionDataset

COLUMNS = ("source", "action", "successor", "auxiliary", "action_value", "reward", "terminated", "truncated", "episode")
"""Fields of a dataset with a row per transition."""

FRAME_COLUMNS = ("observation_auxiliary", "observation_auxiliary_known")
"""Fields of a dataset with a row per observation, besides observations and labels."""


def join_episodes(data: TransitionDataset) -> Ids:
    """Return for every transition (N,) the smallest episode that it is joined with by observations in common."""
    row = episode_of_rows(data)
    number = int(row.max()) + 1
    group = np.arange(number)
    while True:
        of_frame = np.full(data.frames, number)
        for ids in (data.source, data.successor):
            np.minimum.at(of_frame, ids, group[row])
        joined = group.copy()
        for ids in (data.source, data.successor):
            np.minimum.at(joined, row, of_frame[ids])
        if (joined == group).all():
            return group[row] if data.episode is None else np.unique(data.episode)[group[row]]
        group = joined


def episode_of_rows(data: TransitionDataset) -> Ids:
    """Return (N,) the episode of every transition, 0, 1, ...; unsaid, rows belong together that continue each other."""
    if data.episode is not None:
        return np.unique(data.episode, return_inverse=True)[1].reshape(-1).astype(np.int64)
    begins = np.concatenate([[False], data.source[1:] != data.successor[:-1]])
    return np.asarray(np.cumsum(begins))


def take_rows(data: TransitionDataset, rows: NDArray[Any]) -> TransitionDataset:
    """Keep some transitions, by a mask (N,) or their numbers. Frames, and what is known of them, stay."""
    columns: Mapping[str, Any] = {
        name: None if getattr(data, name) is None else getattr(data, name)[rows] for name in COLUMNS
    }
    return replace(data, size=data.frames, **columns)


def take_frames(data: TransitionDataset) -> TransitionDataset:
    """Keep the frames that occur in a transition, numbered anew in their order, and read them into memory."""
    used = np.unique(np.concatenate([data.source, data.successor]))
    number = np.full(data.frames, -1)
    number[used] = np.arange(len(used))
    columns: Mapping[str, Any] = {
        name: None if getattr(data, name) is None else getattr(data, name)[used] for name in FRAME_COLUMNS
    }
    frames: Any = data.observation
    return replace(
        data,
        source=number[data.source],
        successor=number[data.successor],
        observation=None if frames is None else np.asarray(frames[used]),
        labels={name: label[used] for name, label in data.labels.items()},
        size=len(used),
        **columns,
    )


def first_episodes(data: TransitionDataset, transitions: int) -> TransitionDataset:
    """Keep the first whole episodes with at most so many transitions, but at least one episode."""
    episode = np.unique(join_episodes(data), return_inverse=True)[1].reshape(-1)
    lengths = np.bincount(episode)
    fits = np.cumsum(lengths) <= transitions
    fits[0] = True
    return take_rows(data, fits[episode])
