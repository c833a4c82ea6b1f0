"""Auxiliary functions p of labelled observations, as ``--auxiliary benchmarks.studies.auxiliaries:NAME`` takes them.

They are functions of the image: of one without objects, which shows neither shape nor colour, these are 0. What has no
order, such as a shape, has a component a value.
"""

from collections.abc import Mapping
from typing import Any

import counting_env
import gymnasium
import numpy as np
from bisim_theory.data.transitions import Frames
from counting_env.drawing import BRIGHTEST, DARKEST, SHAPES
from numpy.typing import NDArray

Labels = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]

MIDDLE = (DARKEST + BRIGHTEST) / 2
"""Where a channel of a colour is split into dark and bright."""

COLUMNS = 4
"""Cells in a row of FrozenLake."""

CODES = np.arange(len(SHAPES))

TINTS = np.array([[1.0, 1.0, 1.0], [1.0, 0.6, 0.6], [0.6, 1.0, 0.6], [0.6, 0.6, 1.0]])
"""Factors of the channels of FrozenLake's images, one row an episode's tint."""


def is_empty(frames: Frames, labels: Labels) -> Floats:
    """Return 1 where there is no object, else 0."""
    return (labels["count"] == 0).astype(np.float64)


def at_least_five(frames: Frames, labels: Labels) -> Floats:
    """Return 1 where there are five objects or more, else 0."""
    return (labels["count"] >= 5).astype(np.float64)


def parity(frames: Frames, labels: Labels) -> Floats:
    """Return 1 where the count is odd, else 0."""
    return (labels["count"] % 2).astype(np.float64)


def count_mod_3(frames: Frames, labels: Labels) -> Floats:
    """Return (F, 3), 1 in the component of the count modulo 3."""
    return (labels["count"][:, None] % 3 == np.arange(3)).astype(np.float64)


def shape(frames: Frames, labels: Labels) -> Floats:
    """Return (F, 4), 1 in the component of the shape."""
    return (labels["shape"][:, None] == CODES) * (labels["count"][:, None] > 0).astype(np.float64)


def reward_and_shape(frames: Frames, labels: Labels) -> Floats:
    """Return (F, 5): 1 where there are four objects, and the shape."""
    return np.column_stack([labels["count"] == 4, shape(frames, labels)]).astype(np.float64)


def colour(frames: Frames, labels: Labels) -> Floats:
    """Return (F, 3): 1 where a channel of the colour is bright, -1 where it is dark."""
    return np.where(labels["color"] > MIDDLE, 1.0, -1.0) * (labels["count"][:, None] > 0)


def constant(frames: Frames, labels: Labels) -> Floats:
    """Return 0 everywhere."""
    return np.zeros(len(next(iter(labels.values()))))


def column(frames: Frames, labels: Labels) -> Floats:
    """Return (F, 4), 1 in the component of the column of FrozenLake that the player is in."""
    return (labels["state"].reshape(-1, 1) % COLUMNS == np.arange(COLUMNS)).astype(np.float64)


class Numbered(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Say shape and colour of the counting world's objects as numbers, which become labels."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, see `gymnasium.Env.reset`."""
        observation, info = super().reset(**options)
        return observation, _numbered(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, see `gymnasium.Env.step`."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, _numbered(info)


def counting_world(**arguments: Any) -> gymnasium.Env[Any, Any]:
    """Make the counting world as if it were anybody's, so that p can be what the data says of a step."""
    assert counting_env.__all__  # its import registers the world
    return Numbered(gymnasium.make("CountingEnv-v0", **arguments))


class Tinted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Draw a tint per episode, which changes what is rendered and nothing else: the label ``tint``."""

    tint = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, see `gymnasium.Env.reset`."""
        observation, info = super().reset(**options)
        self.tint = int(self.np_random.integers(len(TINTS)))
        return observation, {**info, "tint": self.tint}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, see `gymnasium.Env.step`."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, {**info, "tint": self.tint}

    def render(self) -> Any:
        """Render in the tint of the episode."""
        return (np.asarray(super().render()) * TINTS[self.tint]).astype(np.uint8)


def frozen_lake(**arguments: Any) -> gymnasium.Env[Any, Any]:
    """Make FrozenLake 4x4 without slipping, in a tint per episode."""
    return Tinted(gymnasium.make("FrozenLake-v1", is_slippery=False, **arguments))


def _numbered(info: Mapping[str, Any]) -> dict[str, Any]:
    channels = dict(zip(("red", "green", "blue"), map(int, info["color"]), strict=True))
    return {"count": int(info["count"]), "shape": SHAPES.index(info["shape"]), **channels}
