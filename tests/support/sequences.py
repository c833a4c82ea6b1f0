"""Episodes through vectors, and an objective with its model for batches of their sequences."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import torch
from bisim_theory import TransitionDataset
from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.base import Spec
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import Setup
from pjepa_agent.objectives.registry import make_objective
from torch import nn

DISCRETE = Spec((3,), "float32", 2)
BOUNDED = Spec((3,), "float32", 1, (-2.0,), (2.0,))
SIZE = 12


def make_episodes(spec=DISCRETE, episodes=30, longest=5, seed=0):
    """Episodes of 1 to `longest` steps through vectors that are never the same, with p of every observation."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, episodes)
    first = np.cumsum([0, *(lengths[:-1] + 1)])
    source = np.concatenate([start + np.arange(length) for start, length in zip(first, lengths, strict=True)])
    frames = int((lengths + 1).sum())
    code = rng.integers(2, size=len(source))
    value = np.eye(2)[code] if spec is DISCRETE else (2 * code[:, None] - 1) * rng.uniform(0, 2, (len(source), 1))
    return TransitionDataset(
        source=source,
        action=code,
        successor=source + 1,
        action_value=value.astype(np.float32),
        observation=rng.normal(size=(frames, 3)).astype(np.float32),
        observation_auxiliary=rng.normal(size=frames),
        observation_auxiliary_known=np.ones(frames, bool),
        reward=rng.normal(size=len(source)),
        terminated=rng.random(len(source)) < 0.3,
        truncated=np.zeros(len(source), bool),
        episode=np.repeat(np.arange(episodes), lengths),
    )


def make_config_of(name, *overrides, **arguments):
    """The configuration of an objective on small networks without dropout."""
    return make_config(objective=name).override(
        ["collection.environment=X-v0", "network.latent_dim=8", "network.hidden_dim=16", "network.bins=21",
         "network.q_dropout=0", f"optimization.batch_size={SIZE}", f"objective.arguments={json.dumps(arguments)}",
         *overrides]
    )  # fmt: skip


def make_case(name, *overrides, spec=DISCRETE, **arguments):
    """An objective, its model with no layer at zero, and a batch."""
    config = make_config_of(name, *overrides, **arguments)
    torch.manual_seed(0)
    model = PJEPA(config, spec).train()
    data = make_episodes(spec)
    objective = make_objective(Setup(config, spec, model.core, (0, 1)))
    for module in (model, objective):
        fill_zeros(module)
    batch = dict(DatasetReplay(data, SIZE, 0, torch.device("cpu"), config.objective.horizon).sample().items())
    return SimpleNamespace(config=config, model=model, objective=objective, batch=batch, data=data)


def fill_zeros(module):
    """Draw layers that start at zero, which would stop every gradient before them."""
    for parameter in module.parameters():
        if parameter.ndim >= 2 and parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)


def with_columns(data, **columns):
    return dataclasses.replace(data, size=data.frames, **columns)
