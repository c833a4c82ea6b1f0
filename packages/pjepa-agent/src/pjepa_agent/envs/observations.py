"""Observe a Gymnasium environment: its image, what it renders, or its vector."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from bisim_theory.data.transitions import MOST_CHANNELS
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, TransformObservation
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.envs.base import LARGEST_SIZE
from pjepa_agent.envs.environment import CannotRenderError, Environment, Maker, render_first, render_image
from pjepa_agent.envs.proposals import ANY_WRAPPER, is_image, propose_wrapper, vector_length, with_float_boxes

logger = logging.getLogger("pjepa_agent")


class ObservationError(ValueError):
    """An observation cannot be used; the message says why, but not of which environment."""


class Observer:
    """Turn the observations of an environment into images (H, W, C) uint8 or vectors (k,) float32.

    Args:
        maker: makes the environment.

    Attributes:
        kind: ``image``, ``render`` or ``vector``.
        reason: why the environment does not render; empty where it does, or where nobody asked.

    Raises:
        ConfigError: the environment has no such observations.
    """

    def __init__(self, maker: Maker) -> None:
        self._maker, self._config = maker, maker.config
        plain = maker.make()
        self._space, self._modes = plain.observation_space, plain.metadata.get("render_modes") or []
        plain.close()
        self._floats, self._length = with_float_boxes(self._space), vector_length(self._space)
        self.reason, self._remedy = "", ""
        self._rendered: NDArray[Any] | None = None
        self.kind = self._choose_kind()
        if self.kind == "vector":
            self._check_nothing_is_of_images()

    @property
    def shows_state(self) -> bool:
        """True where the environment's own observation is small and something else is observed."""
        discrete = isinstance(self._space, spaces.Discrete)
        vector = isinstance(self._space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary)
        return discrete or (self.kind == "render" and vector and not is_image(self._space))

    def make(self, wrap: Callable[[Environment], Environment] | None = None) -> Environment:
        """Make an environment with the observations that are asked for.

        Args:
            wrap: put around the environment itself, before anything is done to its observations.
        """
        environment = self._maker.make(render=self.kind == "render")
        environment = wrap(environment) if wrap else environment
        if self.kind == "vector":
            return self._stacked(_transformed(environment, self._vector, self._vector_space()))
        picture = self._picture(environment)
        environment = _transformed(environment, picture, spaces.Box(0, 255, self._image_shape(picture), np.uint8))
        return self._stacked(self._gray(environment))

    def _choose_kind(self) -> str:
        kind, name = self._config.observation, self._maker.name
        if kind in ("auto", "image") and is_image(self._space):
            return "image"
        if kind == "image":
            raise ConfigError(f"{name}: has no image to observe but {_describe(self._space)}; {self._proposals()}")
        if kind in ("auto", "render"):
            if self._renders():
                return "render"
            if kind == "render":
                raise ConfigError(f"{name}: cannot be rendered ({self.reason}); {self._proposals()}")
        if kind == "auto" and not _is_flat(self._space):
            raise ConfigError(
                f"{name}: observes {_describe(self._space)} and cannot be rendered ({self.reason}); {self._proposals()}"
            )
        if self._length is None:
            raise ConfigError(
                f"{name}: {_describe(self._space)} has no vector of at most {LARGEST_SIZE} numbers; {self._proposals()}"
            )
        if kind == "auto":
            _warn_once(f"{name} cannot be rendered ({self.reason}), so its vector is observed")
        return "vector"

    def _renders(self) -> bool:
        """Try whether the environment renders an image, and if it does not, keep the reason."""
        try:
            rendered = render_first(self._maker, self._modes)
            as_image(rendered, self._config.size)
        except (CannotRenderError, ObservationError) as error:
            self.reason = str(error)
            self._remedy = getattr(error, "remedy", "make its render() return uint8 from 0 to 255")
            return False
        self._rendered = rendered
        return True

    def _proposals(self) -> str:
        """Say what would work in place of what is configured, each of which is tried or read off the space."""
        asked, found = self._config.observation, []
        shape = self._space.shape or ()
        if is_image(self._space) and asked != "image" and (len(shape) == 2 or shape[2] <= MOST_CHANNELS):
            found.append("choose collection.observation=image")
        if asked in ("image", "vector") and self._renders():
            found.append("choose collection.observation=render")
        if self._length is not None and asked != "vector":
            found.append(f"choose collection.observation=vector, of {self._length} numbers")
        if asked != "vector" and self._remedy:
            found.append(self._remedy)
        wrapper = propose_wrapper(self._space)
        return ", or ".join(found if found and wrapper == ANY_WRAPPER else [*found, wrapper])

    def _check_nothing_is_of_images(self) -> None:
        """Raise `ConfigError` where a setting asks for something that only images have."""
        for name in ("size", "grayscale"):
            value = getattr(self._config, name)
            if value:
                raise ConfigError(
                    f"collection.{name}={value}: is of images, and a vector of {self._maker.name} is observed"
                    f"{f' since it cannot be rendered ({self.reason})' if self.reason else ''}; leave it out, or "
                    "choose collection.observation=render"
                )

    def _vector_space(self) -> spaces.Box:
        assert self._length is not None
        return spaces.Box(-np.inf, np.inf, (self._length,), np.float32)

    def _vector(self, observation: Any) -> NDArray[np.float32]:
        flat = np.asarray(spaces.flatten(self._floats, observation))
        if flat.shape != (self._length,):
            raise ObservationError(f"observed {flat.shape[0]} numbers where its space has {self._length}")
        with np.errstate(over="ignore"):
            vector = flat.astype(np.float32)
        if not np.isfinite(vector).all():
            raise ObservationError(
                "observed a number that is not finite, or too large for float32; name a module:function that returns "
                "the environment in gymnasium.wrappers.TransformObservation, which clips such numbers"
            )
        return vector

    def _picture(self, environment: Environment) -> Callable[[Any], NDArray[np.uint8]]:
        size = self._config.size
        if self.kind == "render":
            return lambda observation: as_image(render_image(environment), size)

        def image(observation: Any) -> NDArray[np.uint8]:
            try:
                return as_image(observation, size)
            except ObservationError as error:
                raise ObservationError(f"{error}{_mend_type(np.asarray(observation))}") from None

        return image

    def _image_shape(self, picture: Callable[[Any], NDArray[np.uint8]]) -> tuple[int, ...]:
        """Return the shape (H, W, C) of the first image; later ones are held against it."""
        if self.kind == "image":
            assert self._space.shape is not None
            return picture(np.zeros(self._space.shape, np.uint8)).shape
        assert self._rendered is not None
        return as_image(self._rendered, self._config.size).shape

    def _gray(self, environment: Environment) -> Environment:
        shape = environment.observation_space.shape
        if not self._config.grayscale or (shape and shape[2] == 1):
            return environment
        if shape is None or shape[2] != 3:
            raise ConfigError(f"collection.grayscale=True: needs images of 3 channels, {self._maker.name} has {shape}")
        return GrayscaleObservation(environment, keep_dim=True)

    def _stacked(self, environment: Environment) -> Environment:
        """Join the latest observations, oldest first; at a reset, the first one is repeated."""
        stack, shape = self._config.stack, environment.observation_space.shape
        assert shape is not None
        if len(shape) == 3 and shape[2] * stack > MOST_CHANNELS:
            raise ConfigError(
                f"{self._maker.name}: images {shape} in a stack of {stack} have {shape[2] * stack} channels, at most "
                f"{MOST_CHANNELS} are allowed; {self._propose_fewer(shape[2])}"
            )
        if stack == 1:
            return environment
        joined = (*shape[:-1], shape[-1] * stack)
        space = environment.observation_space
        assert isinstance(space, spaces.Box)
        low, high = float(space.low.min()), float(space.high.max())
        stacked = FrameStackObservation(environment, stack)
        return TransformObservation(
            stacked,
            lambda frames: np.moveaxis(frames, 0, -2).reshape(joined),
            spaces.Box(low, high, joined, space.dtype),
        )

    def _propose_fewer(self, channels: int) -> str:
        """Say how an image, or a stack of images, gets fewer channels."""
        stack = self._config.stack
        if channels > MOST_CHANNELS:  # of one image
            return propose_wrapper(self._space) if self.kind == "image" else ANY_WRAPPER
        fewer = f"choose collection.stack={MOST_CHANNELS // channels}"
        gray = channels == 3 and stack <= MOST_CHANNELS
        return f"{fewer}, or collection.grayscale=true" if gray else fewer


@functools.cache
def _warn_once(text: str) -> None:
    logger.warning(text)


def as_image(value: Any, size: int) -> NDArray[np.uint8]:
    """Return an image (H, W, C) uint8, resized to a square unless the size is 0.

    Raises:
        ObservationError: it is no image.
    """
    image = np.asarray(value)
    if image.dtype != np.uint8:
        raise ObservationError(f"observed {image.shape} {image.dtype}, and images must be uint8 from 0 to 255")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or 0 in image.shape:
        raise ObservationError(f"observed {image.shape}, and images must be (H, W) or (H, W, C)")
    return resize(image, size) if size else image


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize an image (H, W, C) to (size, size, C): each pixel is the mean of the area that it covers."""
    if image.shape[:2] == (size, size):
        return image
    from PIL import Image  # only where it is asked for

    def resized(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX))

    if image.shape[2] == 3:
        return resized(np.ascontiguousarray(image))
    return np.stack([resized(np.ascontiguousarray(image[..., each])) for each in range(image.shape[2])], -1)


def _transformed(environment: Environment, function: Callable[[Any], NDArray[Any]], space: spaces.Box) -> Environment:
    def checked(observation: Any) -> NDArray[Any]:
        result = function(observation)
        if result.shape != space.shape:
            sized = "set collection.size, or " if len(result.shape) == 3 and result.shape[2:] == space.shape[2:] else ""
            raise ObservationError(
                f"observed {result.shape} where it began with {space.shape}; {sized}name a module:function that "
                "returns the environment with observations of one shape"
            )
        return result

    return TransformObservation(environment, checked, space)


def _is_flat(space: gymnasium.Space[Any]) -> bool:
    """Return whether observations are plain numbers, of which a vector is meant where nothing is rendered."""
    flat = isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
    return flat or (isinstance(space, spaces.Box) and len(space.shape) <= 2)


def _mend_type(image: NDArray[Any]) -> str:
    """Say what to do with an image of another type than its space says; nothing of one of that type."""
    if image.dtype == np.uint8:
        return ""
    numbers = image.dtype.kind in "iufb" and image.size > 0
    if not numbers or image.min() < 0 or image.max() > 255:
        return ", as its observation_space says; make it return such images"
    seen = "(255 * seen)" if image.max() <= 1 else "seen"
    return (
        ", as its observation_space says; name a module:function that returns gymnasium.wrappers.TransformObservation("
        f"env, lambda seen: {seen}.astype('uint8'), env.observation_space)"
    )


def _describe(space: gymnasium.Space[Any]) -> str:
    name = type(space).__name__
    kind = f"a {name} space"
    return f"{kind} of {space.shape} {space.dtype}" if isinstance(space, spaces.Box) else kind
