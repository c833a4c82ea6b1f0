import dataclasses

import pytest
import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import CollectionConfig, EvaluationConfig, NetworkConfig, OptimizationConfig


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # the networks of these tests are so small that threads would only wait for each other


@pytest.fixture
def tiny():
    """A configuration that trains in a second: all parts of the real one, small, and in float32 on every processor."""

    def make(experiment="reward", **optimization):
        return dataclasses.replace(
            make_config(experiment=experiment),
            collection=CollectionConfig(transitions=200),
            network=NetworkConfig(latent_dim=16, width=4, hidden_dim=32),
            optimization=OptimizationConfig(
                **{"updates": 12, "batch_size": 16, "warmup": 2, "autocast": False} | optimization
            ),
            evaluation=EvaluationConfig(
                every=5, reference_per_count=4, scored_per_count=30, transitions=120, probe_per_count=0
            ),
        )

    return make
