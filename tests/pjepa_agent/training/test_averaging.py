"""Averaged weights, and batch statistics taken anew: they change what is evaluated and nothing of the training."""

import math

import numpy as np
import pytest
import torch
from pjepa_agent import load
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer
from pjepa_agent.training.averaging import averaging_weight
from support.configs import with_sections
from torch import nn

CPU = torch.device("cpu")


def kept(run):
    return torch.load(run.checkpoint, weights_only=True)


def test_the_average_is_what_is_evaluated_and_loaded(tiny, tmp_path):
    config = tiny(averaging_age=0.25, updates=10)
    run = RunDirectory.create(tmp_path / "run", config)
    trained = Trainer(config, run, collect_dataset(config), CPU)
    weights = []
    trained.train(on_update=lambda update: weights.append(trained.model.encoder.proj.weight.detach().clone()))
    # Weights proportional to (s + 1) (s + 2) / 2, the discrete s^2.
    shares = torch.tensor([math.comb(update + 1, 2) for update in range(1, 11)], dtype=torch.float32)
    expected = (torch.stack(weights) * (shares / shares.sum())[:, None, None]).sum(0)
    model = load(run.path)
    torch.testing.assert_close(model.encoder.proj.weight.detach(), expected)
    assert not torch.equal(weights[-1], expected)
    # The statistics of the batches are averaged too, and what is measured is the average.
    assert not torch.equal(model.encoder.stem[1].running_mean, trained.model.encoder.stem[1].running_mean)
    held_out = HeldOut(config)
    accuracy = held_out.accuracy(model.encode(held_out.images).numpy())
    assert trained.metrics.rows[-1]["eval/nearest_centroid_accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("updates", [1, 2, 1_000])
def test_the_average_reaches_back_a_share_of_the_updates(share, updates):
    counted = np.zeros(updates)
    for update in range(1, updates + 1):
        weight = averaging_weight(update, share)
        counted *= 1 - weight
        counted[update - 1] = weight
    assert counted.sum() == pytest.approx(1)
    assert (np.diff(counted) >= -1e-12).all()
    age = counted @ (updates - np.arange(1, updates + 1))
    assert age == pytest.approx(share * (updates - 1), rel=1e-6)


def test_averaging_changes_nothing_of_the_training(tiny, tmp_path):
    states = []
    for share in (0.0, 0.3):
        config = tiny(averaging_age=share)
        run = RunDirectory.create(tmp_path / str(share), config)
        train_run(run, config, CPU)
        states.append(kept(run)["model"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_is_evaluated_has_the_statistics_of_its_own_weights(tiny, tmp_path):
    config = with_sections(tiny(updates=10, averaging_age=0.2, batch_size=40), evaluation={"batch_norm_samples": 80})
    run = RunDirectory.create(tmp_path / "run", config)
    trained = Trainer(config, run, collect_dataset(config), CPU)
    trained.train()
    images = trained.replay.observations(80)
    encoder = load(run.path).encoder
    normalised = [layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    kept_statistics = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in normalised]
    for layer in normalised:
        layer.momentum = 1.0  # the batch's own
    with torch.no_grad():
        encoder.train()(images)
    for layer, (mean, variance) in zip(normalised, kept_statistics, strict=True):
        torch.testing.assert_close(mean, layer.running_mean)
        torch.testing.assert_close(variance, layer.running_var)


def test_no_piece_of_the_statistics_is_a_single_observation(tiny, tmp_path):
    config = with_sections(
        tiny(updates=2, batch_size=2), evaluation={"batch_norm_samples": 13}, network={"latent_normalization": "batch"}
    )
    run = RunDirectory.create(tmp_path / "run", config)
    Trainer(config, run, collect_dataset(config), CPU).train()
    with pytest.raises(ConfigError, match=r"evaluation.batch_norm_samples=1: must be 0, or at least 2"):
        with_sections(config, evaluation={"batch_norm_samples": 1})


def test_statistics_change_nothing_of_the_training(tiny, tmp_path):
    weights = []
    for count in (0, 64):
        config = with_sections(tiny(), evaluation={"batch_norm_samples": count})
        run = RunDirectory.create(tmp_path / str(count), config)
        trained = Trainer(config, run, collect_dataset(config), CPU)
        trained.train()
        weights.append({name: value.detach() for name, value in trained.model.named_parameters()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
