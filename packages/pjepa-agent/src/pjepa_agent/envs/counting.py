"""The counting world (paper Section 2.2): transitions of a random policy, and observations to evaluate on."""

import importlib
from collections import defaultdict
from typing import Any

import counting_env
import gymnasium
import numpy as np
from bisim_theory import TransitionDataset
from bisim_theory.data.action_codes import ActionCodes
from counting_env import rules
from counting_env.arguments import Arguments
from counting_env.drawing import SHAPES
from numpy.typing import NDArray

from pjepa_agent.config.schema import COUNTING, CollectionConfig, ObjectiveConfig
from pjepa_agent.envs.base import Function, Spec

SPEC = Spec((64, 64, 3), "uint8", 1, action_codes=ActionCodes(signs=1))
"""Shapes of the counting world. Runs of version 0.1, which had no other world, have no file that says so."""


class CountingDomain:
    """The counting environment and its random policy.

    Args:
        config: target, episode length, and number of transitions to collect.
    """

    def __init__(self, config: CollectionConfig) -> None:
        self.config = config

    @property
    def spec(self) -> Spec:
        """Return the shapes of observations and actions."""
        return SPEC

    @property
    def most_frames(self) -> tuple[int, ...]:
        """Largest shape (F, H, W, C) of a collection's images: every transition an episode of its own."""
        return (2 * self.config.transitions + 1, *self.spec.observation_shape)

    def make_environment(self) -> gymnasium.Env[Any, Any]:
        """Make the environment through Gymnasium's registry."""
        importlib.import_module(counting_env.__name__)  # registers it
        config = self.config
        return gymnasium.make(COUNTING, max_episode_steps=config.max_episode_steps, target=config.target)

    def collector(self, seed: int) -> "RandomPolicy":
        """Return a random policy that collects; the seed fixes environment and policy."""
        return RandomPolicy(self, seed)

    def collect(self, seed: int, images: NDArray[np.uint8] | None = None) -> TransitionDataset:
        """Collect transitions with uniformly random actions, each held for `action_repeat` steps of an episode.

        Args:
            seed: fixes the environment and the policy.
            images: memory for the images, of shape `most_frames`; None allocates it.

        Returns:
            A dataset with every frame once. The auxiliary value is the reward of the source, r(o_t). The action code is
            1 where the value is >= 0 (adds an object) and 0 where it is < 0 (removes one). Labels per frame are
            ``count``, ``shape`` (index), ``color`` (3,) and ``positions`` (8, 2) flattened, -1 where there is no
            object.
        """
        policy = self.collector(seed)
        data = policy.collect(self.config.transitions, images)
        policy.close()
        return data

    def function(self, name: str, objective: ObjectiveConfig) -> Function | None:
        """Return ``reward``, r(o) of the observation itself, or ``q``, the mean of `action_values` over actions."""
        if name == "reward":
            arguments = Arguments(target=self.config.target)
            return lambda frames, labels: np.asarray(rules.reward_of(labels["count"], arguments))
        if name == "q":
            values = self.action_values(objective.discount).mean(1)
            return lambda frames, labels: values[labels["count"]]
        return None

    def action_values(self, discount: float) -> NDArray[np.float64]:
        """Compute Q(o, a) of the uniformly random policy, by the number of objects in o.

        Solves Q(o, a) = r(o') + discount (1 - terminated) mean_a' Q(o', a') exactly on the rules of the counting world:
        the limit of TD learning with a target network, without its noise. A return in the data would be no function of
        the observation: it depends on the action that is held and on the steps left before truncation, which Q ignores.
        The auxiliary function ``q`` is the mean over actions, since p is a function of the observation alone.

        Args:
            discount: of the next step, below 1.

        Returns:
            (largest count + 1, 2): one row per count, one column per action code.
        """
        arguments = Arguments(target=self.config.target)
        most = arguments.max_count
        count, code = np.indices((most + 1, 2))
        successor = rules.next_count(count, code, most)
        goes_on = discount * ~rules.is_last(count, successor, arguments.target, arguments.grace)
        # V = mean_a (r + goes_on V[successor]) is a linear system in V, the mean of Q over the actions.
        reward = np.asarray(rules.reward_of(successor, arguments))
        follow = np.zeros((most + 1, most + 1))
        np.add.at(follow, (count, successor), goes_on / 2)
        value = np.linalg.solve(np.eye(most + 1) - follow, reward.mean(1))
        values: NDArray[np.float64] = reward + goes_on * value[successor]
        return values

    def balanced_observations(self, per_count: int, seed: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """Collect first observations of new episodes, `per_count` of every count.

        Returns:
            Images (n, H, W, 3), sorted by count, and their labels, see `collect`.
        """
        environment = self.make_environment()
        environment.reset(seed=seed)
        counts = np.repeat(np.arange(_max_count(environment) + 1), per_count)
        frames = _Frames(len(counts), environment)
        for count in counts:
            frames.keep(*environment.reset(options={"count": int(count)}))
        environment.close()
        return frames.images(), frames.labels()

    def redrawn_scenes(self, per_count: int, views: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Draw scenes, each a count, a random shape and a random colour, several times at different positions.

        Args:
            per_count: scenes of every count from 1; an image without objects has no positions.
            views: images of every scene.
            seed: fixes scenes and positions.

        Returns:
            Images (n, H, W, 3) and the number (n,) of each one's scene.
        """
        environment = self.make_environment()
        environment.reset(seed=seed)
        counts = np.repeat(np.arange(1, _max_count(environment) + 1), per_count)
        frames = _Frames(len(counts) * views, environment)
        for count in counts:
            first = environment.reset(options={"count": int(count)})
            frames.keep(*first)
            scene = {name: first[1][name] for name in ("count", "shape", "color")}
            for _ in range(views - 1):
                frames.keep(*environment.reset(options=scene))
        environment.close()
        return frames.images(), np.repeat(np.arange(len(counts)), views)


class RandomPolicy:
    """Act uniformly at random, holding each action for `config.action_repeat` steps of an episode.

    Its actions depend on the seed alone, never on a model.

    Args:
        domain: environment and episode length.
        seed: fixes the environment and the policy.
    """

    def __init__(self, domain: CountingDomain, seed: int) -> None:
        self._config = domain.config
        self._environment = domain.make_environment()
        self._random = np.random.default_rng([seed, 1])
        self._seed: int | None = seed
        self._observation: tuple[NDArray[np.uint8], dict[str, Any]] | None = None
        self._episode, self._step = -1, 0
        self._action = np.zeros(1, np.float32)

    @property
    def in_episode(self) -> bool:
        """Tell whether the next transition starts where the last one ended."""
        return self._observation is not None

    def collect(self, transitions: int, images: NDArray[np.uint8] | None = None) -> TransitionDataset:
        """Collect the next transitions. Within an episode the current frame is repeated as their first."""
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
        """Take a step and return a row of the dataset, with the observation and info after it as ``observed``."""
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
    """Keep frames and their labels, each once."""

    def __init__(
        self, capacity: int, environment: gymnasium.Env[Any, Any], images: NDArray[np.uint8] | None = None
    ) -> None:
        shape = environment.observation_space.shape
        assert shape is not None
        # Pages that are never written take no memory, so the upper bound is allocated. NumPy asks for large pages where
        # it does not clear memory; otherwise page faults would take most of a collection's time.
        self._images = np.empty((capacity + 1, *shape), np.uint8) if images is None else images
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


def _max_count(environment: gymnasium.Env[Any, Any]) -> int:
    max_count: int = environment.unwrapped.arguments.max_count  # type: ignore[attr-defined]
    return max_count
