"""Making the Gymnasium environment that a configuration names, and seeing what it can show."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from bisim_theory.data.imported import describe_error
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.imports import import_function, import_module
from pjepa_agent.config.schema import CollectionConfig

Environment = gymnasium.Env[Any, Any]

PURPOSE = "collection.environment"
"""Beginning of every message about an environment."""

NO_ARGUMENT = ("render_mode", "takes no arguments", "takes no keyword arguments")
"""Parts of Python's messages by which a constructor is known that takes no render mode."""

DISPLAY = "give it what it needs, such as a display (xvfb-run) or MUJOCO_GL=egl"
"""What helps many environments to draw."""


FIVE_VALUES = (
    "Gymnasium's step returns five values: observation, reward, terminated, truncated, info; four of old are converted "
    "by gymnasium.utils.step_api_compatibility.step_api_compatibility"
)
"""What is said where five values were not found."""

TWO_VALUES = "Gymnasium's reset(seed=None, options=None) returns two values: observation, info"
"""What is said where two values were not found."""


class Maker:
    """Make environments as configured, without what is done to their observations.

    Args:
        config: names the environment, its arguments, and the steps after which an episode is truncated.

    Raises:
        ConfigError: there is no such environment, or its module cannot be imported.
    """

    def __init__(self, config: CollectionConfig) -> None:
        self.config = config
        self.name = f"{PURPOSE}={config.environment!r}"
        if "render_mode" in config.arguments:
            raise ConfigError("collection.arguments: leave out render_mode; collection.observation=render renders")
        self._function = _find_function(config.environment)

    def make(self, render: bool = False) -> Environment:
        """Make an environment, for rendering images or not.

        Raises:
            ConfigError: it cannot be made.
        """
        arguments = dict(self.config.arguments)
        draw_without_display()
        try:
            if not render:
                return self._called(arguments)
            try:
                return self._called(arguments | {"render_mode": "rgb_array"})
            except TypeError as error:
                if not any(part in str(error) for part in NO_ARGUMENT):
                    raise
                return self._called(arguments)  # its constructor does not take the mode; `render` may know what to do
        except ConfigError:
            raise
        except gymnasium.error.UnregisteredEnv as error:
            module, colon, attribute = self.config.environment.rpartition(":")
            if colon and "-" not in attribute:
                raise ConfigError(
                    f"{self.name}: {module} has no {attribute!r}, and no environment of that name is registered"
                ) from error
            raise ConfigError(
                f"{self.name}: is not registered ({_line(error)}); name its module too, as in "
                "minigrid:MiniGrid-Empty-5x5-v0, or a module:function that returns an environment"
            ) from error
        except (Exception, SystemExit) as error:  # an environment can raise anything
            given = f" with collection.arguments={arguments}" if arguments else ""
            raise ConfigError(f"{self.name}: cannot be made{given} ({describe_error(error)})") from error

    def _called(self, arguments: Mapping[str, Any]) -> Environment:
        limit = self.config.max_episode_steps
        if self._function is None:
            # What the checker warns of is checked here where it matters, in words for who did not write the world.
            more: dict[str, Any] = {"max_episode_steps": limit} if limit else {}
            return gymnasium.make(
                _registered_name(self.config.environment), disable_env_checker=True, **more, **arguments
            )
        environment = self._function(**arguments)
        if not isinstance(environment, gymnasium.Env):
            raise ConfigError(
                f"{self.name}: returned a {type(environment).__name__}, must return a gymnasium.Env, one at a time"
            )
        return gymnasium.wrappers.TimeLimit(environment, limit) if limit else environment


def draw_without_display() -> None:
    """Let SDL, with which many environments draw, look for no display where there is none.

    It would write lines that begin with ``error:`` for every environment. Only arrays are wanted of it.
    """
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def _registered_name(name: str) -> str:
    return name.rpartition(":")[2]


def _find_function(name: str) -> Callable[..., Any] | None:
    """Return the function that a name ``module:function`` means, or None for the name of a registered environment.

    Raises:
        ConfigError: the module cannot be imported, or has nothing callable by that name.
    """
    _, colon, attribute = name.rpartition(":")
    if not colon:
        return None
    module = import_module(name, PURPOSE)
    looks_registered = "-" in attribute or "/" in attribute
    if attribute in gymnasium.registry or looks_registered or not hasattr(module, attribute.partition(".")[0]):
        return None
    return import_function(name, PURPOSE)


def describe_raised(error: BaseException) -> str:
    """Say what an environment raised, and how Gymnasium's interface is where another one seems to be spoken."""
    said, text = f"raised {describe_error(error)}", str(error)
    if isinstance(error, ValueError) and "unpack (expected 5" in text:
        return f"{said}; {FIVE_VALUES}"
    if isinstance(error, ValueError) and "unpack (expected 2" in text:
        return f"{said}; {TWO_VALUES}"
    return said


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


class CannotRenderError(Exception):
    """An environment renders no images, or not on this machine.

    Attributes:
        remedy: what may help; empty where nothing is known.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


def render_image(environment: Environment) -> NDArray[Any]:
    """Return what an environment renders.

    Raises:
        TypeError: it renders something else than an array.
    """
    rendered: Any = environment.render()
    if not isinstance(rendered, np.ndarray):
        raise TypeError(f"render() returned {type(rendered).__name__}, not an array")
    return rendered


def render_first(maker: Maker, modes: Sequence[str]) -> NDArray[Any]:
    """Make an environment and render its first observation.

    Args:
        maker: makes the environment.
        modes: render modes that the environment names, if it names any.

    Raises:
        CannotRenderError: it does not render images, or not here; the message says why.
    """
    if modes and "rgb_array" not in modes:
        raise CannotRenderError(f"it has the render modes {', '.join(map(str, modes))}, and rgb_array is needed")
    try:
        environment = maker.make(render=True)
        environment.reset(seed=0)
    except ConfigError as error:
        raise CannotRenderError(str(error).removeprefix(f"{maker.name}: "), DISPLAY) from error
    except (Exception, SystemExit) as error:  # graphics libraries raise what they like where there is no display
        raise CannotRenderError(describe_error(error), DISPLAY) from error
    try:
        image = render_image(environment)
        environment.close()
    except TypeError as error:
        raise CannotRenderError(describe_error(error)) from error
    except NotImplementedError as error:  # Gymnasium's own render() says nothing
        raise CannotRenderError(describe_error(error) if str(error) else "it has no render()") from error
    except (Exception, SystemExit) as error:
        raise CannotRenderError(describe_error(error), DISPLAY) from error
    return image
