"""Models with all of their parts, and batches for them."""

import dataclasses

import torch
from pjepa_agent.envs.counting import SPEC
from pjepa_agent.model import WorldModel
from pjepa_agent.objectives.base import Setup
from pjepa_agent.objectives.pjepa import PJEPAObjective
from torch import nn


def with_all_parts(config, **network):
    return dataclasses.replace(
        config, network=dataclasses.replace(config.network, control_heads=True, decoder=True, **network)
    )


def make_batch(config, size=4):
    generator = torch.Generator().manual_seed(0)
    k = config.objective.auxiliary_values
    return {
        "observation": torch.randint(256, (size, 2, 64, 64, 3), dtype=torch.uint8, generator=generator),
        "action": torch.rand(size, 1, 1, generator=generator) * 2 - 1,
        "auxiliary": torch.rand((size, 1, k) if k else (size, 1), generator=generator),
        "reward": torch.rand(size, 1, generator=generator),
        "terminated": torch.rand(size, 1, generator=generator) < 0.5,
        "present": torch.ones(size, 1, dtype=torch.bool),
    }


def make_pjepa(config):
    """P-JEPA's objective, which has nothing of its own but what the configuration says."""
    return PJEPAObjective(Setup(config, SPEC, WorldModel(*map(torch.nn.Identity, range(3)))))


def count_parameters(module):
    return sum(p.numel() for p in module.parameters())


def parts_of(model):
    return dict(model.core.named_children()) | model.readouts.parts


class Flat(nn.Module):
    """An encoder of the corridor's images, which is no deeper than it needs to be."""

    def __init__(self, spec=None, latent_dim=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12 * 20 * 3, latent_dim))

    def forward(self, images):
        return self.layers(images.float() / 255)


def too_wide(spec, latent_dim):
    """Make an encoder that is wider than it is asked to be."""
    return Flat(spec, latent_dim + 1)


def encoder_of_vectors(spec, latent_dim):
    """Make an encoder of the user's for vectors."""
    return nn.Sequential(nn.Linear(spec.observation_shape[0], 8), nn.ReLU(), nn.Linear(8, latent_dim))
