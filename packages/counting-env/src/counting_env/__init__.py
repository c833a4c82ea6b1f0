"""The paper's counting world as the registered Gymnasium environment `CountingEnv-v0`.

>>> import gymnasium, counting_env
>>> env = gymnasium.make("CountingEnv-v0")
>>> observation, info = env.reset(seed=0)
>>> observation.shape
(64, 64, 3)
"""

import gymnasium

from counting_env.env import CountingEnv
from counting_env.vector_env import CountingVectorEnv

__version__ = "0.1.0"

__all__ = ["CountingEnv", "CountingVectorEnv"]

gymnasium.register(
    id="CountingEnv-v0",
    entry_point="counting_env.env:CountingEnv",
    vector_entry_point="counting_env.vector_env:CountingVectorEnv",
    max_episode_steps=16,
)
