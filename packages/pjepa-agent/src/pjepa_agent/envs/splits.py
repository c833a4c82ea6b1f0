"""Split transitions into those to train on and those to measure with, and give each the numbers of its action."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from bisim_theory import DatasetError, TransitionDataset
from bisim_theory.data.parts import join_episodes, take_frames, take_rows
from numpy.typing import NDArray

FEWEST = 2
"""Fewest episodes that are trained on, and that are kept for measuring."""


def hold_out(data: TransitionDataset, share: float, seed: int) -> tuple[TransitionDataset, TransitionDataset]:
    """Split transitions by episode, so that no observation is in both parts.

    Episodes that have an observation in common stay together, such as one and the absorbing rows at its end. Of those
    that terminate, which may be few and all that p tells apart, the same share is kept as of the others.

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
            f"are {len(groups)} that share no observation; collect more or shorter ones (collection.transitions, "
            "collection.max_episode_steps), or, where data is given, store the observations of every step by themselves"
        )
    kept = np.isin(group, _choose(groups, np.isin(groups, group[_terminated(data)]), held, seed))
    train = take_rows(data, ~kept)
    in_memory = isinstance(data.observation, np.ndarray)
    return take_frames(train) if in_memory else train, take_frames(take_rows(data, kept))


def _terminated(data: TransitionDataset) -> NDArray[np.bool_]:
    """Return (N,) which transitions terminate; none where the data does not say."""
    return np.zeros(len(data), bool) if data.terminated is None else np.asarray(data.terminated, bool)


def _choose(groups: NDArray[Any], ending: NDArray[np.bool_], held: int, seed: int) -> NDArray[Any]:
    """Choose `held` of the groups of episodes, of those that terminate in proportion.

    Of several that terminate at least one is chosen and one is left.
    """
    order = np.random.default_rng([seed, 3]).permutation(len(groups))
    of_ending, others = order[ending[order]], order[~ending[order]]
    number = round(held * len(of_ending) / len(groups))
    if len(of_ending) > 1:
        number = int(np.clip(number, 1, len(of_ending) - 1))
    number = max(number, held - len(others))
    return groups[np.concatenate([of_ending[:number], others[: held - number]])]


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
