"""A corridor with a goal at its end: a deterministic world of images or vectors, as environment and as dataset."""

import gymnasium
import numpy as np
from bisim_theory import TransitionDataset
from gymnasium import spaces

PLACES = 5
"""Places; an episode begins at the first and ends at the last, with reward 1."""


class Corridor(gymnasium.Env):
    """Action 1 goes on, action 0 goes back."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, vector=False, render_mode=None):
        self.render_mode, self.vector = render_mode, vector
        self.action_space = spaces.Discrete(2)
        self.observation_space = (
            spaces.Box(-1, 1, (PLACES,), np.float32) if vector else spaces.Box(0, 255, (12, 20, 3), np.uint8)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return observe(self.place, self.vector), {"place": self.place}

    def step(self, action):
        self.place = min(max(self.place + 2 * int(action) - 1, 0), PLACES - 1)
        goal = self.place == PLACES - 1
        return observe(self.place, self.vector), float(goal), goal, False, {"place": self.place}

    def render(self):
        return observe(self.place, False)


def observe(place, vector):
    """Show a place as a bright square of an image, or as the entry of a vector."""
    if vector:
        return np.eye(PLACES, dtype=np.float32)[place]
    image = np.zeros((12, 20, 3), np.uint8)
    image[4:8, 4 * place : 4 * place + 4] = (200, 120, 40)
    return image


def walks(episodes=40, most=12, vector=False, seed=0):
    """Record a random policy's episodes, as other people's tools do: discrete actions, no action values, no p."""
    rng, environment = np.random.default_rng(seed), Corridor(vector)
    rows, frames, places = [], [], []
    for episode in range(episodes):
        observation, info = environment.reset()
        frames.append(observation)
        places.append(info["place"])
        for step in range(most):
            action = int(rng.integers(2))
            observation, reward, terminated, _, info = environment.step(action)
            frames.append(observation)
            places.append(info["place"])
            rows.append((len(frames) - 2, action, len(frames) - 1, reward, terminated, step == most - 1, episode))
            if terminated:
                break
    source, action, successor, reward, terminated, truncated, episode = map(np.array, zip(*rows, strict=True))
    return TransitionDataset(
        source, action, successor, reward=reward, terminated=terminated, truncated=truncated & ~terminated,
        episode=episode, observation=np.stack(frames), labels={"place": np.array(places)},
    )  # fmt: skip


gymnasium.register("Corridor-v0", lambda **arguments: Corridor(**arguments), max_episode_steps=12)
