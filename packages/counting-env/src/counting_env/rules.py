"""What an action does to the count, and what a count is worth (paper Section 2.3, Appendices C and D).

Every function takes Python numbers or NumPy arrays of them and returns the same kind, so that one environment and a
batch of environments follow one set of rules.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from counting_env.arguments import Arguments

REMOVE, ADD = 0, 1
"""Action codes: the sign of the action's value, as an integer."""

Number = TypeVar("Number", int, float, NDArray[np.int64])


def next_count(count: Number, code: Number, maximum: int) -> Number:
    """Count after an action: one more for `ADD`, one less for `REMOVE`, never below 0 nor above `maximum`.

    Source: Appendix C, ``f(o, inc) in G_min(k+1, 8)`` and ``f(o, dec) in G_max(k-1, 0)``.
    """
    return count + code * (count < maximum) - (1 - code) * (count > 0)


def sparse_reward(count: Number, target: int) -> Any:
    """Reward of an observation with `count` objects: 1.0 iff it equals `target`, else 0.0 (Section 2.3)."""
    return 1.0 * (count == target)


def dense_reward(count: Number, target: int, maximum: int) -> Any:
    """Reward in [0, 1] that falls linearly with the distance to `target`: 1 at the target, 0 at the farthest count."""
    return 1.0 - abs(count - target) / max(target, maximum - target)


def reward_of(count: Number, arguments: Arguments) -> Any:
    """Reward of observations with `count` objects, sparse or dense as the arguments say."""
    if arguments.reward == "dense":
        return dense_reward(count, arguments.target, arguments.max_count)
    return sparse_reward(count, arguments.target)


def is_last(count: Number, successor_count: Number, target: int, grace: bool) -> Any:
    """Whether the step from `count` to `successor_count` ends the episode.

    With the one-step grace of Appendix D it is the step taken *from* an observation at the target, so that the
    reward of 1 belongs to an observation that acts as a source. Without it, the step that reaches the target.
    """
    return (count if grace else successor_count) == target
