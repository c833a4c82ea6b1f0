"""Variants of the environment that its tests go through."""

import counting_env  # noqa: F401 - registers the environment
import gymnasium
import numpy as np
from hypothesis import strategies as st

VARIANTS = [
    {},
    {"target": 0},
    {"discrete_actions": True, "reward": "dense"},
    {"grace": False, "max_count": 3, "target": 3},
    {"layouts": 5, "shapes": ["disk", "bar"]},
    {"image_size": 96, "max_count": 20, "gap": 2},
    {"shapes": ["disk"], "colors": [[255, 0, 0], [0, 255, 0]], "gap": 0},
]

variants = st.sampled_from(VARIANTS)
seeds = st.integers(0, 2**31 - 1)


def raw(**arguments):
    return gymnasium.make("CountingEnv-v0", **arguments).unwrapped


def value(env, adds):
    return int(adds) if env.arguments.discrete_actions else np.array([0.5 if adds else -0.5], np.float32)
