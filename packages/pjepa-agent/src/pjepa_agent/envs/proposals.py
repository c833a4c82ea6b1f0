"""Propose how an environment can be observed, by the kind of its space, where it cannot be as it is."""

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from bisim_theory.data.transitions import MOST_CHANNELS
from gymnasium import spaces

from pjepa_agent.envs.base import LARGEST_SIZE

FIRST_CHANNELS = (1, 3, 4)
"""Numbers of channels by which an image is known that has them first."""

ANY_WRAPPER = (
    "name a module:function that returns the environment with an image (H, W, C) uint8 or a vector, as "
    "gymnasium.wrappers.TransformObservation makes one"
)
"""What to do with observations of any kind."""

Space = gymnasium.Space[Any]


def is_image(space: Space) -> bool:
    """Return whether observations of a space are images: uint8 of two or three axes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def vector_length(space: Space) -> int | None:
    """Return of how many numbers the vector of a space is; None where it has none, or one that is too long."""
    try:
        flat = spaces.flatten_space(space)
    except (NotImplementedError, ValueError, TypeError):  # Gymnasium's answers for spaces without a fixed size
        return None
    if not isinstance(flat, spaces.Box) or len(flat.shape) != 1:
        return None
    return flat.shape[0] if 1 <= flat.shape[0] <= LARGEST_SIZE else None


def with_float_boxes(space: Space) -> Space:
    """Return a space whose numbers are float64, so that flattening an observation of another type loses nothing."""
    if isinstance(space, spaces.Box):
        return spaces.Box(-np.inf, np.inf, space.shape, np.float64)
    if isinstance(space, spaces.Dict):
        return spaces.Dict({name: with_float_boxes(part) for name, part in space.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([with_float_boxes(part) for part in space])
    return space


class _View(NamedTuple):
    """Python text that observes a part of an environment.

    Attributes:
        rank: 0 for an image, 1 for what becomes one, 2 for a vector or a choice.
        value: of an observation ``seen``.
        space: of these values.
    """

    rank: int
    value: str
    space: str


def propose_wrapper(space: Space) -> str:
    """Propose to wrap an environment so that it can be observed: with the wrapper, where the space tells it."""
    view = _find_view(space, "seen", "env.observation_space")
    if view is None or view.value == "seen":
        return ANY_WRAPPER
    return f"name a module:function that returns {_wrapped(view)}"


def _wrapped(view: _View) -> str:
    return f"gymnasium.wrappers.TransformObservation(env, lambda seen: {view.value}, {view.space})"


def _find_view(space: Space, value: str, name: str) -> _View | None:
    """Find what can be observed of a space: an image before numbers, and of several the first."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        found = [_find_view(part, f"{value}[{key!r}]", f"{name}[{key!r}]") for key, part in parts]
        return min((view for view in found if view is not None), key=lambda view: view.rank, default=None)
    if isinstance(space, spaces.Box) and len(space.shape) == 3 and 0 not in space.shape:
        return _find_picture(space, value, name)
    if is_image(space):
        return _View(0, value, name)
    flat = isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box)
    return _View(2, value, name) if flat and vector_length(space) else None


def _find_picture(space: spaces.Box, value: str, name: str) -> _View | None:
    """Find how observations (H, W, C) or (C, H, W) of any type become an image (H, W, C) uint8."""
    shape, dtype = space.shape, "'uint8'"
    if space.dtype == np.uint8 and shape[2] <= MOST_CHANNELS:
        return _View(0, value, name)
    scaled = _to_bytes(space, value)
    if scaled is not None and shape[2] > MOST_CHANNELS and shape[0] in FIRST_CHANNELS:
        shape, scaled = (*shape[1:], shape[0]), f"{scaled}.transpose(1, 2, 0)"
    if scaled is None or shape[2] > MOST_CHANNELS:
        return None
    return _View(1, scaled, f"gymnasium.spaces.Box(0, 255, {tuple(map(int, shape))}, {dtype})")


def _to_bytes(space: spaces.Box, value: str) -> str | None:
    """Write how numbers become bytes from 0 to 255, judged by their bounds; None where these do not tell."""
    if space.dtype == np.uint8:
        return value
    low, high = float(space.low.min()), float(space.high.max())
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return None
    if low >= 0 and 1 < high <= 255:
        return f"{value}.astype('uint8')"
    if low >= 0 and high <= 1:
        return f"(255 * {value}).astype('uint8')"
    return f"(({value} - {low:g}) * {255 / (high - low):.8g}).astype('uint8')"
