"""Crafter, which has the interface of Gym, as a Gymnasium environment: what a user writes for a world of their own."""

import crafter
import gymnasium
import numpy as np
from gymnasium import spaces


class Crafter(gymnasium.Env):
    """Crafter with a length of episodes and a seed that resets it."""

    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = spaces.Discrete(17)

    def __init__(self, length=100):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.world = crafter.Env(seed=int(self.np_random.integers(2**31)), length=self.length)
        return self.world.reset(), {"health": 9}

    def step(self, action):
        observation, reward, done, info = self.world.step(action)
        terminated = info["discount"] == 0
        return observation, reward, terminated, done and not terminated, {"health": info["inventory"]["health"]}
