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

from pjepa_agent.config import CollectionConfig


def make_environment(config: CollectionConfig) -> gymnasium.Env[Any, Any]:
    """The environment of a configuration, through Gymnasium's registry."""
    importlib.import_module(counting_env.__name__)  # registers it
    return gymnasium.make(config.environment, max_episode_steps=config.max_episode_steps, target=config.target)


def collect(config: CollectionConfig, seed: int) -> TransitionDataset:
    """Collect transitions with uniformly random actions, each held for `config.action_repeat` steps of an episode.

    Args:
        config: environment, episode length and number of transitions.
        seed: fixes the environment and the policy.

    Returns:
        A dataset in which every frame is kept once. The auxiliary value is the reward of the source itself, r(o_t);
        the action code is 1 where the value is >= 0 (adds an object) and 0 where it is < 0 (removes one). Labels per
        frame: ``count``, ``shape`` (index), ``color`` (3,), ``positions`` (8, 2) flattened, -1 where there is none.
    """
    environment = make_environment(config)
    policy = np.random.default_rng([seed, 1])
    space = environment.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    # Frames are black for the most part, and memory that was never written is not taken: allocate generously.
    most_frames = 2 * config.transitions + 1
    frames = np.zeros((most_frames, *environment.observation_space.shape), np.uint8)  # type: ignore[misc]
    labels: dict[str, list[Any]] = defaultdict(list)
    rows: dict[str, list[Any]] = defaultdict(list)
    last = -1

    def keep(observation: NDArray[np.uint8], info: dict[str, Any]) -> int:
        nonlocal last
        last += 1
        frames[last] = observation
        labels["count"].append(info["count"])
        labels["shape"].append(SHAPES.index(info["shape"]))
        labels["color"].append(info["color"])
        labels["positions"].append(info["positions"].ravel())
        return last

    episode = -1
    next_seed: int | None = seed
    while len(rows["source"]) < config.transitions:
        observation, info = environment.reset(seed=next_seed)
        next_seed = None
        source = keep(observation, info)
        episode += 1
        step, ended = 0, False
        while not ended and len(rows["source"]) < config.transitions:
            if step % config.action_repeat == 0:
                action = policy.uniform(space.low, space.high).astype(np.float32)
            observation, reward, terminated, truncated, info = environment.step(action)
            successor = keep(observation, info)
            for name, value in (
                ("source", source),
                ("action", int(action[0] >= 0)),
                ("successor", successor),
                ("action_value", action),
                ("reward", float(reward)),
                ("terminated", terminated),
                ("truncated", truncated),
                ("episode", episode),
            ):
                rows[name].append(value)
            source, ended = successor, terminated or truncated
            step += 1
    environment.close()

    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in rows.items()}
    label_arrays = {name: np.asarray(value) for name, value in labels.items()}
    reward_of = environment.unwrapped.reward_of  # type: ignore[attr-defined]
    reward_of_frame = np.array([reward_of(count) for count in range(max(labels["count"]) + 1)])[label_arrays["count"]]
    return TransitionDataset(
        **arrays,
        auxiliary=reward_of_frame[arrays["source"]],
        observation=frames[: last + 1],
        labels=label_arrays,
    )


def balanced_observations(
    config: CollectionConfig, per_count: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """First observations of fresh episodes, `per_count` of every count: images (n, H, W, 3) and counts (n,), sorted."""
    environment = make_environment(config)
    environment.reset(seed=seed)
    most = environment.unwrapped.arguments.max_count  # type: ignore[attr-defined]
    counts = np.repeat(np.arange(most + 1), per_count)
    images = np.stack([environment.reset(options={"count": int(count)})[0] for count in counts])
    environment.close()
    return images, counts
