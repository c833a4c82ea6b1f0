"""Make the third-party environments, with fixed seeds, and play them with random actions.

What is not a dependency of this repository is imported where it is made.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

Make = Callable[[], gymnasium.Env[Any, Any]]
"""A function that makes an environment."""


class AnyStart(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Begin each episode of FrozenLake at a cell that is drawn from all that are neither hole nor goal."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and move to the cell drawn."""
        _, info = self.env.reset(seed=seed, options=options)
        lake: Any = self.unwrapped
        lake.s = int(lake.np_random.choice(np.flatnonzero(np.isin(lake.desc.ravel(), [b"S", b"F"]))))
        return lake.s, info


class Crafter(gymnasium.Env[np.ndarray, int]):
    """Give Crafter, which has the interface of the old gym, that of Gymnasium."""

    metadata = {"render_modes": []}  # noqa: RUF012 (as Gymnasium declares it)
    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(17)

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a new map, which the seed makes."""
        import crafter

        super().reset(seed=seed)
        self.game = crafter.Env(length=self.steps, seed=seed)
        return self.game.reset(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act; `discount` 0 is a death, and the end without it the limit of steps."""
        image, reward, done, info = self.game.step(int(action))
        return image, float(reward), bool(info["discount"] == 0), bool(done and info["discount"] != 0), {}


def gym(name: str, **arguments: Any) -> Make:
    """Return a function that makes an environment of Gymnasium."""
    return lambda: gymnasium.make(name, **arguments)


def frozen_lake_8x8() -> gymnasium.Env[Any, Any]:
    """Make the larger FrozenLake, not slippery, with episodes that begin anywhere."""
    return AnyStart(gymnasium.make("FrozenLake-v1", map_name="8x8", is_slippery=False))


def grid(name: str, tile: int = 8) -> Make:
    """Return a function that makes an environment of MiniGrid, seen whole as an image."""

    def make() -> gymnasium.Env[Any, Any]:
        from minigrid.wrappers import ImgObsWrapper, RGBImgObsWrapper

        return ImgObsWrapper(RGBImgObsWrapper(gymnasium.make(name), tile_size=tile))

    return make


def atari(name: str, stack: int, steps: int) -> Make:
    """Return a function that makes a game without sticky actions: 84 x 84 grey frames, one or a stack of them."""

    def make() -> gymnasium.Env[Any, Any]:
        import ale_py

        gymnasium.register_envs(ale_py)
        plain = gymnasium.make(name, frameskip=1, repeat_action_probability=0.0, max_episode_steps=steps)
        game: gymnasium.Env[Any, Any] = AtariPreprocessing(plain, noop_max=30)
        return FrameStackObservation(game, stack) if stack > 1 else game

    return make


def play(env: gymnasium.Env[Any, Any], episodes: int) -> "list[Played]":
    """Take random actions in episodes of the seeds 0, 1, ... and return what came of it."""
    env.action_space.seed(0)
    return [Played(env, seed) for seed in range(episodes)]


class Played:
    """One episode of random actions.

    Attributes:
        observations: T + 1.
        actions, rewards, terminated, truncated: T each.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        self.observations = [env.reset(seed=seed)[0]]
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.terminated: list[bool] = []
        self.truncated: list[bool] = []
        done = False
        while not done:
            self.actions.append(env.action_space.sample())
            observation, reward, ended, cut, _ = env.step(self.actions[-1])
            self.observations.append(observation)
            self.rewards.append(float(reward))
            self.terminated.append(bool(ended))
            self.truncated.append(bool(cut))
            done = ended or cut
