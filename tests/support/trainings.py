"""Small configurations and trainings, which the tests of several folders share."""

import dataclasses

import pytest
import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import (
    AblationConfig,
    CollectionConfig,
    EvaluationConfig,
    NetworkConfig,
    OptimizationConfig,
)
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer


def tiny(experiment="reward", **optimization):
    """A configuration that trains in a second: all parts of the real one, small, and in float32 on every processor."""
    return dataclasses.replace(
        make_config(experiment=experiment),
        collection=CollectionConfig(transitions=200),
        network=NetworkConfig(latent_dim=16, width=4, hidden_dim=32),
        optimization=OptimizationConfig(
            **{"updates": 12, "batch_size": 16, "warmup": 2, "autocast": False} | optimization
        ),
        objective=dataclasses.replace(make_config(experiment=experiment).objective, latent_noise=0.0, frozen_noise=0.0),
        ablation=AblationConfig(),
        evaluation=EvaluationConfig(
            every=5, reference_per_count=4, scored_per_count=30, transitions=120, probe_per_count=0
        ),
    )


def with_all_parts():
    """All of the paper's parts, without batch statistics and dropout, and wide enough for channels to be last."""
    config = dataclasses.replace(
        tiny(), collection=CollectionConfig(transitions=200, online=True, initial_transitions=100)
    )
    return config.override([
        "network.width=8", "network.normalization=group", "network.control_heads=true", "network.decoder=true",
        "network.q_dropout=0", "optimization.learning_rate=1e-4",
    ])  # fmt: skip


def losses_of(config, path, updates, encoded=None):
    """The trained, and its losses; a list is given the rows of all that goes through the encoder, unless compiled."""
    trainer = Trainer(config, RunDirectory.create(path, config), None, torch.device("cpu"))
    if encoded is not None:
        trainer.model.encoder.register_forward_hook(lambda layer, given, made: encoded.append(len(made)))
    rows = []
    for _ in range(updates):
        rows.append({name: float(loss) for name, loss in trainer.step().items()})
    return trainer, rows


def check_compiled(folder):
    """Compile a training with all parts as one that is not compiled is interpreted, and compare them.

    Within 1e-4 of every loss, 1 % after six updates, and no part of it is left to the interpreter.
    """
    config = with_all_parts()
    _, expected = losses_of(config, folder / "eager", 6)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    trainer, found = losses_of(config.override(["compute.compile=on"]), folder / "compiled", 6)
    assert trainer.compiled
    assert found[0] == pytest.approx(expected[0], rel=1e-4, abs=1e-4)
    for row, other in zip(expected, found, strict=True):
        assert other == pytest.approx(row, rel=1e-2, abs=1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # of the joint objective, and of the readouts
    assert not torch._dynamo.utils.counters["graph_break"]
