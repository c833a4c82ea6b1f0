"""The batched environment behind `gymnasium.make_vec("CountingEnv-v0", num_envs=...)`."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from counting_env import drawing, rules
from counting_env.arguments import Arguments, ResetOptions, parse_integer
from counting_env.env import action_space, draw_episode, observation_space
from counting_env.finite import FiniteWorld

Bools = NDArray[np.bool_]
Images = NDArray[np.uint8]


class CountingVectorEnv(VectorEnv[Images, NDArray[Any], NDArray[Any]]):
    """Step a batch of independent `CountingEnv`, with the same images as single ones of the same seeds.

    Each sub-environment has its own random generator: ``reset(seed=s)`` seeds sub-environment i with s + i, and a
    sequence of seeds seeds them one by one, except where it is None.

    With ``AutoresetMode.SAME_STEP`` the observation after the end of an episode is the first of the next one; the
    successor of the last action is ``info["final_obs"][i]``, which is what has to be stored. With ``NEXT_STEP`` (the
    default, as for all of Gymnasium) it is returned as usual, and the following step ignores the action, resets and
    returns reward 0. With ``DISABLED`` ended sub-environments must be reset by ``options={"reset_mask": ended}``.

    Args:
        num_envs: number of sub-environments.
        max_episode_steps: steps after which an episode is truncated.
        autoreset_mode: when an ended sub-environment is reset.
        render_mode: None or ``"rgb_array"``.
        target, max_count, image_size, shapes, colors, gap, reward, discrete_actions, grace, layouts: see
            `CountingEnv`.

    Raises:
        ValueError: an argument, option or action is not allowed; the message says what is.
    """

    metadata = {  # noqa: RUF012 - Gymnasium declares it so
        "render_modes": ["rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 16,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
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
        self.num_envs = parse_integer("num_envs", num_envs, 1)
        if max_episode_steps is not None:
            parse_integer("max_episode_steps", max_episode_steps, 1)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r}: must be None or one of {self.metadata['render_modes']}")
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_action_space = action_space(discrete_actions)
        self.single_observation_space = observation_space(image_size)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

        self.world = FiniteWorld(self.arguments) if layouts is not None else None
        self._at = np.full(num_envs, -1)  # the observation of a finite world
        self._streams = [drawing.PlacementStream(max_count, image_size, gap) for _ in range(num_envs)]
        self._generators: list[np.random.Generator] = []
        self._sprites = drawing.sprites(np.zeros(num_envs, np.int64), np.zeros((num_envs, 3), np.uint8))
        # Placements that each stream has sampled ahead, their number, and the number of used ones.
        ahead = (num_envs, drawing.PlacementStream.LARGEST_BLOCK if layouts is None else 0, max_count, 2)
        self._ahead = np.empty(ahead, np.int16)
        self._available, self._used = np.zeros((2, num_envs), np.int64)
        self._count = np.full(num_envs, -1)  # no episode yet
        self._shape = np.empty(num_envs, f"<U{max(map(len, drawing.SHAPES))}")
        self._color = np.zeros((num_envs, 3), np.uint8)
        self._corners = np.zeros((num_envs, max_count, 2), np.int64)
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, bool)
        self._rendered: Images | None = None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Images, dict[str, Any]]:
        """Begin an episode everywhere, or where ``options["reset_mask"]``, (num_envs,) bool, is set.

        The other options are those of `CountingEnv.reset`, for every sub-environment that is reset.
        """
        options = dict(options or {})
        chosen = self._parse_mask(options.pop("reset_mask", None))
        parsed = ResetOptions.parse(options, self.arguments)
        self._seed(self._parse_seeds(seed), chosen)
        self._begin(chosen, parsed)
        return self._observe(), self._info(chosen)

    def step(self, actions: NDArray[Any]) -> tuple[Images, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Act in every sub-environment, and reset ended ones by the autoreset mode."""
        codes = self._parse_actions(actions)
        restart = self._ended
        if (self._count < 0).any() or (self.autoreset_mode is AutoresetMode.DISABLED and restart.any()):
            raise gymnasium.error.ResetNeeded(
                'call reset() before step(), with options={"reset_mask": ended} where only some episodes have ended'
            )
        acting = ~restart
        arguments, before = self.arguments, self._count
        after = np.where(acting, rules.next_count(before, codes, arguments.max_count), before)
        self._count = after
        if self.world is not None:
            self._enter(np.flatnonzero(acting), self.world.successor[self._at, codes][acting])
        self._steps += acting
        reward = np.where(acting, rules.reward_of(after, arguments), 0.0)
        terminated = acting & rules.is_last(before, after, arguments.target, arguments.grace)
        truncated = acting & (self._steps >= (self.max_episode_steps or np.inf))
        self._ended = terminated | truncated

        self._place(acting)
        final: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._ended.any():
            restart = self._ended
            final = self._final(restart)
        if restart.any():
            self._begin(restart, ResetOptions())
        return self._observe(), reward, terminated, truncated, self._info(np.ones(self.num_envs, bool)) | final

    def render(self) -> tuple[Images, ...] | None:
        """Copy the last observations, one per sub-environment."""
        return None if self._rendered is None else tuple(self._rendered.copy())

    def _parse_actions(self, actions: Any) -> NDArray[np.int64]:
        shape, kinds = ((self.num_envs,), "iu") if self.arguments.discrete_actions else ((self.num_envs, 1), "fiu")
        values = np.asarray(actions)
        if values.shape != shape or values.dtype.kind not in kinds:
            kind = "integers" if self.arguments.discrete_actions else "real numbers"
            raise ValueError(f"actions must be {kind} of shape {shape}, got shape {values.shape} and {values.dtype}")
        if self.arguments.discrete_actions:
            allowed, codes = (values == rules.REMOVE) | (values == rules.ADD), values
        else:
            allowed, codes = (abs(values[:, 0]) <= 1), values[:, 0] >= 0  # a comparison with NaN is False
        if not allowed.all():
            worst = int(np.flatnonzero(~allowed)[0])
            bounds = "0 or 1" if self.arguments.discrete_actions else "in [-1, 1]"
            raise ValueError(f"actions[{worst}] is {values[worst].tolist()}: must be {bounds}")
        return codes.astype(np.int64)

    def _parse_mask(self, mask: Any) -> Bools:
        if mask is None:
            return np.ones(self.num_envs, bool)
        chosen = np.asarray(mask)
        if chosen.shape != (self.num_envs,) or chosen.dtype != np.bool_ or not chosen.any():
            raise ValueError(f"options['reset_mask'] must be bool of shape ({self.num_envs},) with a True in it")
        if (self._count[~chosen] < 0).any():
            raise ValueError("options['reset_mask']: the first reset must be of all sub-environments")
        return chosen

    def _parse_seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"seed must be an integer or {self.num_envs} of them, got {len(seed)}")
        return seed

    def _seed(self, seeds: Sequence[int | None], chosen: Bools) -> None:
        first = not self._generators
        if first:
            self._generators = [seeding.np_random(seed)[0] for seed in seeds]
        for i in np.flatnonzero(chosen).tolist():
            if seeds[i] is not None and not first:
                self._generators[i] = seeding.np_random(seeds[i])[0]
                self._streams[i].restart()
                self._available[i] = self._used[i] = 0

    def _begin(self, chosen: Bools, options: ResetOptions) -> None:
        """Begin an episode in the chosen sub-environments, drawing in the order of the single environment."""
        for i in np.flatnonzero(chosen).tolist():
            count, shape, color = draw_episode(self._generators[i], self.arguments)
            count = count if options.count is None else options.count
            shape = shape if options.shape is None else options.shape
            color = color if options.color is None else options.color
            if self.world is not None:
                start = self.world.start(self._generators[i], count, shape, color, options.layout)
                self._enter(np.array([i]), np.array([start]))
            else:
                self._count[i], self._shape[i], self._color[i] = count, shape, color
        if self.world is None:
            shapes = np.array([drawing.SHAPES.index(shape) for shape in self._shape[chosen].tolist()])
            self._sprites[chosen] = drawing.sprites(shapes, self._color[chosen])
        self._steps[chosen] = 0
        self._ended = self._ended & ~chosen
        self._place(chosen)
        if options.corners is not None:
            self._corners[chosen, : len(options.corners)] = options.corners

    def _enter(self, indices: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        """Move sub-environments to observations of the finite world."""
        world = self.world
        assert world is not None
        self._at[indices], self._count[indices] = at, world.count[at]
        self._shape[indices] = np.array(self.arguments.shapes)[world.shape[at]]
        self._color[indices] = np.array(self.arguments.colors)[world.color[at]]
        self._sprites[indices] = world.sprites(at)

    def _place(self, chosen: Bools) -> None:
        if self.world is not None:
            self._corners[chosen] = self.world.placements[self.world.layout[self._at[chosen]]]
            return
        for i in np.flatnonzero(chosen & (self._used == self._available)).tolist():
            block = self._streams[i].next_block(self._generators[i])
            self._ahead[i, : len(block)] = block
            self._available[i], self._used[i] = len(block), 0
        self._corners[chosen] = self._ahead[chosen, self._used[chosen]]
        self._used += chosen

    def _paint(self, chosen: NDArray[np.int64]) -> Images:
        """Draw the images of some sub-environments from their counts, sprites and corners."""
        size = self.arguments.image_size
        images = drawing.black(size, len(chosen))
        which, number = np.nonzero(np.arange(self.arguments.max_count) < self._count[chosen, None])
        first = drawing.first_pixels(self._corners[chosen[which], number], size) + which * size * size
        drawing.blit(images, first, self._sprites[chosen[which]])
        return images

    def _observe(self) -> Images:
        images = self._paint(np.arange(self.num_envs))
        if self.render_mode is not None:
            self._rendered = images.copy()
        return images

    def _info(self, chosen: Bools) -> dict[str, Any]:
        """Batch the infos of single environments as Gymnasium does, with a mask of the chosen ones."""
        visible = np.arange(self.arguments.max_count) < self._count[:, None]
        values = {
            "count": self._count.copy(),
            "shape": self._shape.copy(),
            "color": self._color.copy(),
            "positions": np.where(visible[..., None], self._corners + drawing.RADIUS, -1),
        }
        info: dict[str, Any] = {}
        for name, value in values.items():
            info[name], info[f"_{name}"] = value, chosen.copy()
        return info

    def _final(self, chosen: Bools) -> dict[str, Any]:
        """Return the last observations and infos of ended episodes, in Gymnasium's form."""
        observations = np.full(self.num_envs, None, dtype=object)
        ended = np.flatnonzero(chosen)
        for i, image in zip(ended, self._paint(ended), strict=True):
            observations[i] = image
        return {
            "final_obs": observations,
            "_final_obs": chosen.copy(),
            "final_info": self._info(chosen),
            "_final_info": chosen.copy(),
        }
