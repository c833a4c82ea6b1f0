"""Split transitions into those to train on and those to measure with, and give each the numbers of its action."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from bisim_theory import DatasetError, TransitionDataset
from bisim_theory.data.parts import join_episodes, take_frames, take_rows

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


def with_action_values(data: TransitionDataset, codes: Sequence[int] | None = None) -> TransitionDataset:
    """Give every transition the numbers that T is given: those of a continuous action, else its one-hot code.

    Codes that no transition has get no place; ``metadata["one_hot_codes"]`` names those that have, in order.

    Args:
        data: transitions.
        codes: those that have a place, in order; None takes those of the data.

    Raises:
        DatasetError: the data has another code.
    """
    if data.action_value is not None:
        return replace(data, action_value=data.action_value.astype(np.float32), size=data.frames)
    places = np.unique(data.action) if codes is None else np.asarray(codes)
    other = np.setdiff1d(data.action, places)
    if len(other):
        raise DatasetError(
            f"action: holds {int(other[0])}, and the transitions that are trained on hold {places.tolist()} alone; "
            "train on every action that is measured"
        )
    value = (data.action[:, None] == places).astype(np.float32)
    return replace(
        data, action_value=value, size=data.frames, metadata={**data.metadata, "one_hot_codes": places.tolist()}
    )
