"""Observe a Gymnasium environment: its image, what it renders, or its vector."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, TransformObservation
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.envs.environment import CannotRenderError, Environment, Maker, is_image, render_first, render_image

logger = logging.getLogger("pjepa_agent")

MOST_CHANNELS = 12
"""Largest number of channels of an image, or of a stack of images."""


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
        self.reason = ""
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
        kind = self._config.observation
        if kind == "image" and not is_image(self._space):
            raise ConfigError(
                f"{self._maker.name}: has no image to observe but {_describe(self._space)}; {self._advice}"
            )
        if kind in ("auto", "image") and is_image(self._space):
            return "image"
        if kind in ("auto", "render"):
            try:
                self._rendered = render_first(self._maker, self._modes)
                return "render"
            except CannotRenderError as error:
                self.reason = str(error)
            if kind == "render":
                raise ConfigError(
                    f"{self._maker.name}: cannot be rendered ({self.reason}); choose collection.observation=vector, or "
                    "give it what it needs, such as a display (xvfb-run) or MUJOCO_GL=egl"
                )
        if kind == "auto":
            self._check_vector_is_meant()
            _warn_once(f"{self._maker.name} cannot be rendered ({self.reason}), so its vector is observed")
        return "vector"

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

    @property
    def _advice(self) -> str:
        return (
            "choose collection.observation=render, or =vector to flatten it, or name a module:function that returns "
            "the environment in a wrapper, as gymnasium.wrappers has them"
        )

    def _check_vector_is_meant(self) -> None:
        space = self._space
        flat = isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        if not flat and not (isinstance(space, spaces.Box) and len(space.shape) <= 2):
            raise ConfigError(
                f"{self._maker.name}: observes {_describe(space)} and cannot be rendered ({self.reason}); "
                f"{self._advice}"
            )

    def _vector_space(self) -> spaces.Box:
        try:
            flat = spaces.flatten_space(self._space)
        except NotImplementedError:  # Gymnasium's answer for spaces without a fixed size
            flat = None
        if not isinstance(flat, spaces.Box) or flat.shape == (0,):
            raise ConfigError(f"{self._maker.name}: {_describe(self._space)} has no vector; {self._advice}")
        return spaces.Box(-np.inf, np.inf, flat.shape, np.float32)

    def _vector(self, observation: Any) -> NDArray[np.float32]:
        flat = np.asarray(spaces.flatten(self._space, observation))
        expected = self._vector_space().shape
        if flat.shape != expected:
            raise ObservationError(f"observed {flat.shape[0]} numbers where its space has {expected[0]}")
        with np.errstate(over="ignore"):
            vector = flat.astype(np.float32)
        if not np.isfinite(vector).all():
            raise ObservationError("observed a number that is not finite, or too large for float32")
        return vector

    def _picture(self, environment: Environment) -> Callable[[Any], NDArray[np.uint8]]:
        size = self._config.size
        if self.kind == "render":
            return lambda observation: as_image(render_image(environment), size)
        return lambda observation: as_image(observation, size)

    def _image_shape(self, picture: Callable[[Any], NDArray[np.uint8]]) -> tuple[int, ...]:
        """Return the shape (H, W, C) of the first image; later ones are held against it."""
        if self.kind == "image":
            assert self._space.shape is not None
            return picture(np.zeros(self._space.shape, np.uint8)).shape
        assert self._rendered is not None
        try:
            return as_image(self._rendered, self._config.size).shape
        except ObservationError as error:
            raise ConfigError(f"{self._maker.name}: cannot be rendered ({error})") from error

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
                f"{MOST_CHANNELS} are allowed; set collection.stack or collection.grayscale, or if the channels come "
                "first, name a module:function that returns the environment with them last"
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
        raise ObservationError(
            f"observed {image.shape} {image.dtype}, and images must be uint8 from 0 to 255; choose "
            "collection.observation=vector, or name a module:function that returns the environment with such images"
        )
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
            raise ObservationError(
                f"observed {result.shape} where it began with {space.shape}; set collection.size, or name a "
                "module:function that returns the environment with observations of one shape"
            )
        return result

    return TransformObservation(environment, checked, space)


def _describe(space: gymnasium.Space[Any]) -> str:
    name = type(space).__name__
    kind = f"a {name} space"
    return f"{kind} of {space.shape} {space.dtype}" if isinstance(space, spaces.Box) else kind
