"""Dynamics, reward and termination as functions of the count (paper Section 2.3, Appendices C and D).

Every function takes Python numbers or NumPy arrays and returns the same kind, so that single and batched environments
share them.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from counting_env.arguments import Arguments

REMOVE, ADD = 0, 1
"""Action codes: the sign of the action's value, as an integer."""

Number = TypeVar("Number", int, float, NDArray[np.int64])


def next_count(count: Number, code: Number, maximum: int) -> Number:
    """Return the count after an action: one more for `ADD`, one less for `REMOVE`, within 0..`maximum`.

    Source: Appendix C, ``f(o, inc) in G_min(k+1, 8)`` and ``f(o, dec) in G_max(k-1, 0)``.
    """
    return count + code * (count < maximum) - (1 - code) * (count > 0)


def sparse_reward(count: Number, target: int) -> Any:
    """Return the reward of an observation with `count` objects: 1.0 iff it equals `target`, else 0.0 (Section 2.3)."""
    return 1.0 * (count == target)


def dense_reward(count: Number, target: int, maximum: int) -> Any:
    """Return a reward in [0, 1] that falls linearly from 1 at the target to 0 at the farthest count."""
    return 1.0 - abs(count - target) / max(target, maximum - target)


def reward_of(count: Number, arguments: Arguments) -> Any:
    """Return the configured reward, sparse or dense, of observations with `count` objects."""
    if arguments.reward == "dense":
        return dense_reward(count, arguments.target, arguments.max_count)
    return sparse_reward(count, arguments.target)


def is_last(count: Number, successor_count: Number, target: int, grace: bool) -> Any:
    """Tell whether the step from `count` to `successor_count` ends the episode.

    With the one-step grace of Appendix D, the step taken *from* the target is the last, so that the rewarded
    observation is the source of a transition. Without it, the step that reaches the target is the last.
    """
    return (count if grace else successor_count) == target
