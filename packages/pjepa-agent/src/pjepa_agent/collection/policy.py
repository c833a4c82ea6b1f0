"""Transitions of a random policy in a registered environment, and balanced observations to evaluate on."""

import importlib
from collections import defaultdict
from typing import Any

import counting_env
import gymnasium
import numpy as np
from bisim_theory import TransitionDataset
from counting_env.drawing import SHAPES
from numpy.typing import NDArray

from pjepa_agent.config.schema import CollectionConfig


def make_environment(config: CollectionConfig) -> gymnasium.Env[Any, Any]:
    """The environment of a configuration, through Gymnasium's registry."""
    importlib.import_module(counting_env.__name__)  # registers it
    return gymnasium.make(config.environment, max_episode_steps=config.max_episode_steps, target=config.target)


class RandomPolicy:
    """Uniformly random actions in an environment, each held for `config.action_repeat` steps of an episode.

    What it does next depends on the seed and on what it has done, never on a model.

    Args:
        config: environment and episode length.
        seed: fixes the environment and the policy.
    """

    def __init__(self, config: CollectionConfig, seed: int) -> None:
        self._config = config
        self._environment = make_environment(config)
        self._random = np.random.default_rng([seed, 1])
        self._seed: int | None = seed
        self._observation: tuple[NDArray[np.uint8], dict[str, Any]] | None = None
        self._episode, self._step = -1, 0
        self._action = np.zeros(1, np.float32)

    @property
    def in_episode(self) -> bool:
        """Whether the next transition starts where the last one ended."""
        return self._observation is not None

    def collect(self, transitions: int, images: NDArray[np.uint8] | None = None) -> TransitionDataset:
        """The next transitions, as of `collect`; in the middle of an episode their first frame was the last before."""
        frames = _Frames(2 * transitions, self._environment, images)
        rows: dict[str, list[Any]] = defaultdict(list)
        source = -1 if self._observation is None else frames.keep(*self._observation)
        for _ in range(transitions):
            if self._observation is None:
                self._begin()
                assert self._observation is not None
                source = frames.keep(*self._observation)
            row = self._act()
            successor = frames.keep(*row.pop("observed"))
            for name, value in (row | {"source": source, "successor": successor}).items():
                rows[name].append(value)
            source = successor
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in rows.items()}
        labels = frames.labels()
        reward_of = self._environment.unwrapped.reward_of  # type: ignore[attr-defined]
        rewards = np.array([reward_of(count) for count in range(labels["count"].max() + 1)])
        auxiliary = rewards[labels["count"]][arrays["source"]]
        return TransitionDataset(**arrays, auxiliary=auxiliary, observation=frames.images(), labels=labels)

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()

    def _begin(self) -> None:
        self._observation = self._environment.reset(seed=self._seed)
        self._seed = None
        self._episode += 1
        self._step = 0

    def _act(self) -> dict[str, Any]:
        """One step: a row of the dataset, with what was observed after it."""
        if self._step % self._config.action_repeat == 0:
            space = self._environment.action_space
            assert isinstance(space, gymnasium.spaces.Box)
            self._action = self._random.uniform(space.low, space.high).astype(np.float32)
        observation, reward, terminated, truncated, info = self._environment.step(self._action)
        self._step += 1
        self._observation = None if terminated or truncated else (observation, info)
        return {
            "observed": (observation, info),
            "action": int(self._action[0] >= 0),
            "action_value": self._action,
            "reward": float(reward),
            "terminated": terminated,
            "truncated": truncated,
            "episode": self._episode,
        }


class _Frames:
    """Frames with their labels, each kept once."""

    def __init__(
        self, most: int, environment: gymnasium.Env[Any, Any], images: NDArray[np.uint8] | None = None
    ) -> None:
        shape = environment.observation_space.shape
        assert shape is not None
        # Memory that was never written is not taken: allocate generously. NumPy asks for large pages for what it does
        # not clear, and most of the time of a collection would else go by in page faults.
        self._images = np.empty((most + 1, *shape), np.uint8) if images is None else images
        self._labels: dict[str, list[Any]] = defaultdict(list)

    def keep(self, observation: NDArray[np.uint8], info: dict[str, Any]) -> int:
        index = len(self._labels["count"])
        self._images[index] = observation
        self._labels["count"].append(info["count"])
        self._labels["shape"].append(SHAPES.index(info["shape"]))
        self._labels["color"].append(info["color"])
        self._labels["positions"].append(info["positions"].ravel())
        return index

    def images(self) -> NDArray[np.uint8]:
        return self._images[: len(self._labels["count"])]

    def labels(self) -> dict[str, NDArray[Any]]:
        return {name: np.asarray(value) for name, value in self._labels.items()}


def most_frames(config: CollectionConfig) -> tuple[int, ...]:
    """Shape (F, H, W, C) of the images of a collection if every transition were an episode of its own."""
    environment = make_environment(config)
    shape = environment.observation_space.shape
    environment.close()
    assert shape is not None
    return (2 * config.transitions + 1, *shape)


def collect(config: CollectionConfig, seed: int, images: NDArray[np.uint8] | None = None) -> TransitionDataset:
    """Collect transitions with uniformly random actions, each held for `config.action_repeat` steps of an episode.

    Args:
        config: environment, episode length and number of transitions.
        seed: fixes the environment and the policy.
        images: where to put the images, of the shape `most_frames`; in new memory if None.

    Returns:
        A dataset in which every frame is kept once. The auxiliary value is the reward of the source itself, r(o_t);
        the action code is 1 where the value is >= 0 (adds an object) and 0 where it is < 0 (removes one). Labels per
        frame: ``count``, ``shape`` (index), ``color`` (3,), ``positions`` (8, 2) flattened, -1 where there is none.
    """
    policy = RandomPolicy(config, seed)
    data = policy.collect(config.transitions, images)
    policy.close()
    return data


def balanced_observations(
    config: CollectionConfig, per_count: int, seed: int
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """First observations of fresh episodes, `per_count` of every count.

    Returns:
        Images (n, H, W, 3), sorted by count, and their labels as of `collect`.
    """
    environment = make_environment(config)
    environment.reset(seed=seed)
    counts = np.repeat(np.arange(_most(environment) + 1), per_count)
    frames = _Frames(len(counts), environment)
    for count in counts:
        frames.keep(*environment.reset(options={"count": int(count)}))
    environment.close()
    return frames.images(), frames.labels()


def redrawn_scenes(
    config: CollectionConfig, per_count: int, views: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Scenes, each a number of objects of one random shape and colour, shown at several places.

    Args:
        config: environment.
        per_count: scenes of every count from 1, for an image without objects has no places.
        views: images of every scene.
        seed: fixes them.

    Returns:
        Images (n, H, W, 3), and the number (n,) of the scene of each.
    """
    environment = make_environment(config)
    environment.reset(seed=seed)
    counts = np.repeat(np.arange(1, _most(environment) + 1), per_count)
    frames = _Frames(len(counts) * views, environment)
    for count in counts:
        first = environment.reset(options={"count": int(count)})
        frames.keep(*first)
        scene = {name: first[1][name] for name in ("count", "shape", "color")}
        for _ in range(views - 1):
            frames.keep(*environment.reset(options=scene))
    environment.close()
    return frames.images(), np.repeat(np.arange(len(counts)), views)


def _most(environment: gymnasium.Env[Any, Any]) -> int:
    most: int = environment.unwrapped.arguments.max_count  # type: ignore[attr-defined]
    return most
