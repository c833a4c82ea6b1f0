"""The counting world of the paper as the registered Gymnasium environment `CountingEnv-v0`.

>>> import gymnasium, counting_env
>>> env = gymnasium.make("CountingEnv-v0")
>>> observation, info = env.reset(seed=0)
>>> observation.shape
(64, 64, 3)
"""

import gymnasium

from counting_env.env import CountingEnv

__all__ = ["CountingEnv"]

gymnasium.register(
    id="CountingEnv-v0",
    entry_point="counting_env.env:CountingEnv",
    max_episode_steps=16,
)
