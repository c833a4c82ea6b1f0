"""The Gymnasium environment `CountingEnv-v0` (paper Section 2.3 and Appendix D)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from counting_env import drawing, rules
from counting_env.arguments import Arguments, ResetOptions
from counting_env.finite import FiniteWorld
from counting_env.window import Window


def action_space(discrete: bool) -> spaces.Box | spaces.Discrete:
    """Make `Box(-1, 1, (1,), float32)`, of which the sign counts, or `Discrete(2)`, 0 to remove and 1 to add."""
    return spaces.Discrete(2) if discrete else spaces.Box(-1.0, 1.0, (1,), np.float32)


def observation_space(size: int) -> spaces.Space[NDArray[np.uint8]]:
    """Make the space of images (size, size, 3) uint8."""
    return spaces.Box(0, 255, (size, size, 3), np.uint8)


class CountingEnv(gymnasium.Env[NDArray[np.uint8], Any]):
    """Show images of 0 to 8 objects. The sign of the action adds or removes one; the reward is 1 at the target count.

    One shape and one colour are drawn per episode. Positions are drawn anew at every step, so that only the count
    carries over. Objects never overlap.

    Args:
        render_mode: None, ``"rgb_array"`` or ``"human"``, a window that shows every observation (extra ``human``).
        target: the rewarded count n, 0..max_count.
        max_count: largest number of objects; at least 1, at most as many as always fit.
        image_size: side of the square image in pixels, at least 7.
        shapes: shapes an episode may draw, out of ``"triangle"``, ``"disk"``, ``"square"``, ``"bar"``.
        colors: RGB colours an episode may draw; None draws each channel uniformly from 30..225.
        gap: least number of black pixels between the 7x7 boxes of two objects.
        reward: ``"sparse"`` is 1 iff the count reached is `target`; ``"dense"`` falls linearly to 0 with distance.
        discrete_actions: ``Discrete(2)`` (1 adds, 0 removes) instead of ``Box(-1, 1, (1,))``.
        grace: the step taken *from* the target is the last of the episode (Appendix D); False ends it on arrival.
        layouts: None draws positions anew at every step; a number makes the world finite and deterministic, with that
            many layouts (see `counting_env.finite`), described by the attribute `world`.

    Raises:
        ValueError: an argument, reset option or action is not allowed; the message says what is.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 4}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(
        self,
        render_mode: str | None = None,
        target: int = 4,
        max_count: int = 8,
        image_size: int = 64,
        shapes: Sequence[str] = drawing.SHAPES,
        colors: Sequence[Sequence[int]] | None = None,
        gap: int = 1,
        reward: str = "sparse",
        discrete_actions: bool = False,
        grace: bool = True,
        layouts: int | None = None,
    ) -> None:
        self.arguments = Arguments(
            target, max_count, image_size, shapes, colors, gap, reward, discrete_actions, grace, layouts
        )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode={render_mode!r}: must be None or one of {self.metadata['render_modes']}")
        self.render_mode = render_mode
        self.action_space = action_space(discrete_actions)
        self.observation_space: spaces.Space[NDArray[np.uint8]] = observation_space(image_size)
        self.world = FiniteWorld(self.arguments) if layouts is not None else None
        self._placements = drawing.PlacementStream(max_count, image_size, gap)
        self._window = Window("CountingEnv-v0", self.metadata["render_fps"]) if render_mode == "human" else None
        self._count = -1  # no episode yet
        self._at = -1  # the observation of a finite world
        self._ended = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin an episode: a count uniform on 0..max_count, a shape and a colour.

        `options` may fix any of ``count``, ``shape``, ``color`` (RGB) and ``positions`` (k, 2), row and column of each
        centre, of this observation; in a finite world ``layout`` takes the place of ``positions``.
        """
        chosen = ResetOptions.parse(options, self.arguments)
        super().reset(seed=seed)
        if seed is not None:
            self._placements.restart()
        # Everything is drawn even if given, so that an option changes nothing else of the episode.
        count, shape, color = draw_episode(self.np_random, self.arguments)
        count = count if chosen.count is None else chosen.count
        shape = shape if chosen.shape is None else chosen.shape
        color = color if chosen.color is None else chosen.color
        self._ended = False
        if self.world is not None:
            self._enter(self.world.start(self.np_random, count, shape, color, chosen.layout))
        else:
            self._count, self._shape, self._color = count, shape, color
            self._sprite = one_sprite(shape, color)
        return self._observe(chosen.corners)

    def step(self, action: Any) -> tuple[NDArray[np.uint8], SupportsFloat, bool, bool, dict[str, Any]]:
        """Add an object where the action's value is >= 0, remove one where it is < 0."""
        code = parse_discrete(action) if self.arguments.discrete_actions else parse_continuous(action)
        if self._count < 0 or self._ended:
            raise gymnasium.error.ResetNeeded("call reset() before step(): no episode is running")
        count, arguments = self._count, self.arguments
        if self.world is not None:
            self._enter(int(self.world.successor[self._at, code]))
        else:
            self._count = rules.next_count(count, code, arguments.max_count)
        self._ended = rules.is_last(count, self._count, arguments.target, arguments.grace)
        observation, info = self._observe()
        return observation, self.reward_of(self._count), self._ended, False, info

    def render(self) -> NDArray[np.uint8] | None:
        """Copy the last observation, (image_size, image_size, 3) uint8.

        Returns None with ``"human"``, whose window is always up to date.
        """
        return self._observation.copy() if self.render_mode == "rgb_array" and self._count >= 0 else None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def action(self, code: int) -> Any:
        """Make an action of the action space from its code, 0 to remove and 1 to add."""
        return int(code) if self.arguments.discrete_actions else np.array([1.0 if code else -1.0], np.float32)

    def reward_of(self, count: int) -> float:
        """Return the reward r(o) of an observation with `count` objects, the paper's auxiliary value."""
        return rules.reward_of(count, self.arguments)

    def save_state(self) -> "CountingState":
        """Save what the next steps depend on, of this environment but not of wrappers such as `TimeLimit`.

        Raises:
            gymnasium.error.ResetNeeded: no episode was ever begun.
        """
        if self._count < 0:
            raise gymnasium.error.ResetNeeded("call reset() before save_state(): no episode is running")
        return CountingState(
            *(self._count, self._at, self._shape, self._color.copy(), self._ended, self._observation.copy()),
            *(copy.deepcopy(self.np_random.bit_generator.state), self._placements.state()),
        )

    def restore_state(self, state: "CountingState", rewind_random: bool = True) -> NDArray[np.uint8]:
        """Restore a saved state and return its observation.

        Args:
            state: from `save_state` of an environment with the same arguments.
            rewind_random: whether to restore the random generator too; otherwise new positions are drawn.
        """
        self._count, self._at, self._ended = state.count, state.at, state.ended
        self._shape, self._color = state.shape, state.color.copy()
        self._sprite = one_sprite(state.shape, state.color)
        if rewind_random:
            self.np_random.bit_generator.state = copy.deepcopy(state.generator)
            self._placements.set_state(state.placements, self.np_random)
        self._observation = state.observation.copy()
        return state.observation.copy()

    def _enter(self, at: int) -> None:
        """Move to an observation of the finite world."""
        world = self.world
        assert world is not None
        assert self.arguments.colors is not None
        self._at, self._count = at, int(world.count[at])
        self._shape = self.arguments.shapes[world.shape[at]]
        self._color = self.arguments.colors[world.color[at]]
        self._sprite = world.sprites(at)

    def _observe(self, corners: NDArray[np.int64] | None = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        if self.world is not None:
            placement = self.world.placement(self._at)
        else:
            placement = self._placements.take(self.np_random)
        positions = placement.centres.copy()  # of one shape whatever the count, so that vectors can stack them
        first = placement.first
        if corners is not None:
            positions[: self._count] = corners + drawing.RADIUS
            first = drawing.first_pixels(corners, self.arguments.image_size)
        positions[self._count :] = -1
        observation = drawing.black(self.arguments.image_size)
        drawing.blit(observation, first[: self._count], self._sprite)
        self._observation = observation if self.render_mode is None else observation.copy()
        if self._window is not None:
            self._window.show(observation)
        info = {"count": self._count, "shape": self._shape, "color": self._color.copy(), "positions": positions}
        return observation, info


@dataclass(frozen=True, eq=False)
class CountingState:
    """Hold a saved state of `CountingEnv`; it can be pickled."""

    count: int
    at: int
    shape: str
    color: NDArray[np.uint8]
    ended: bool
    observation: NDArray[np.uint8]
    generator: Mapping[str, Any]
    placements: tuple[NDArray[np.int16], int]


def one_sprite(shape: str, color: NDArray[np.uint8]) -> NDArray[np.void]:
    """Draw the (7,) rows of pixels of one object."""
    return drawing.sprites(np.array([drawing.SHAPES.index(shape)]), color[None])[0]


def draw_episode(rng: np.random.Generator, arguments: Arguments) -> tuple[int, str, NDArray[np.uint8]]:
    """Draw an episode's first count, its shape and its colour (3,) uint8."""
    uniform = rng.random(5).tolist()  # one call: three of `integers` take longer than a step
    count = int(uniform[0] * (arguments.max_count + 1))
    shape = arguments.shapes[int(uniform[1] * len(arguments.shapes))]
    if arguments.colors is None:
        levels = drawing.BRIGHTEST + 1 - drawing.DARKEST
        color = np.array([drawing.DARKEST + int(each * levels) for each in uniform[2:]], np.uint8)
    else:
        color = arguments.colors[int(uniform[2] * len(arguments.colors))]
    return count, shape, color


def parse_continuous(action: Any) -> int:
    """Return the code of a continuous action; raise `ValueError` unless it is (1,) real and in [-1, 1]."""
    value = action if type(action) is np.ndarray else np.asarray(action)
    if value.shape != (1,) or value.dtype.kind not in "fiu":
        raise ValueError(f"action must be a real array of shape (1,), got shape {value.shape} and dtype {value.dtype}")
    number = value.item()
    if not -1.0 <= number <= 1.0:  # also refuses NaN
        raise ValueError(f"action {number} is outside of [-1, 1]")
    return rules.ADD if number >= 0 else rules.REMOVE


def parse_discrete(action: Any) -> int:
    """Return the code of a discrete action; raise `ValueError` unless it is the integer 0 or 1."""
    value = np.asarray(action)
    if value.shape != () or value.dtype.kind not in "iu":
        raise ValueError(f"action must be the integer 0 or 1, got shape {value.shape} and dtype {value.dtype}")
    if value.item() not in (rules.REMOVE, rules.ADD):
        raise ValueError(f"action {value.item()} must be 0 (remove) or 1 (add)")
    return int(value.item())
