"""Parts of transitions: episodes, those that are held out for measuring, and the frames that a part needs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from bisim_theory import DatasetError, TransitionDataset
from numpy.typing import NDArray

COLUMNS = ("source", "action", "successor", "auxiliary", "action_value", "reward", "terminated", "truncated", "episode")
"""Fields of a dataset with a row per transition."""

FRAME_COLUMNS = ("observation_auxiliary", "observation_auxiliary_known")
"""Fields of a dataset with a row per observation, besides observations and labels."""


FEWEST = 2
"""Fewest episodes that are trained on, and that are kept for measuring."""


def hold_out(data: TransitionDataset, share: float, seed: int) -> tuple[TransitionDataset, TransitionDataset]:
    """Split transitions by episode, so that no observation is in both parts.

    Episodes that have an observation in common stay together, such as one and the absorbing rows at its end.

    Args:
        data: transitions with observations.
        share: of the episodes that are kept for measuring, rounded, at least `FEWEST`.
        seed: fixes which.

    Returns:
        The transitions to train on, and those to measure with. Frames in memory are those of each part alone. Frames in
        a file stay there, and are read for the second part.

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
    train = take_rows(data, ~kept)
    in_memory = isinstance(data.observation, np.ndarray)
    return take_frames(train) if in_memory else train, take_frames(take_rows(data, kept))


def join_episodes(data: TransitionDataset) -> NDArray[np.int64]:
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


def episode_of_rows(data: TransitionDataset) -> NDArray[np.int64]:
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


def with_action_values(data: TransitionDataset) -> TransitionDataset:
    """Give every transition the numbers that T is given: those of a continuous action, else its one-hot code.

    Codes that no transition has get no place; ``metadata["one_hot_codes"]`` names those that have, in order.
    """
    if data.action_value is not None:
        return replace(data, action_value=data.action_value.astype(np.float32), size=data.frames)
    codes, place = np.unique(data.action, return_inverse=True)
    value = np.zeros((len(data), len(codes)), np.float32)
    value[np.arange(len(data)), place.reshape(-1)] = 1
    return replace(
        data, action_value=value, size=data.frames, metadata={**data.metadata, "one_hot_codes": codes.tolist()}
    )
