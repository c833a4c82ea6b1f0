"""The optimiser: learning rates, clips, and steps that are not finite."""

import dataclasses

import numpy as np
import pytest
import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.training.optimizer import Optimizer, learning_rate_factor


def test_the_encoder_has_a_learning_rate_of_its_own():
    modules = {"encoder": torch.nn.Linear(1, 1, bias=False), "head": torch.nn.Linear(1, 1, bias=False)}
    before = {name: module.weight.item() for name, module in modules.items()}
    config = dataclasses.replace(make_config("paper").optimization, learning_rate=0.1)
    optimizer = Optimizer([modules], config, {"encoder": 0.3})
    assert optimizer.learning_rate == 0.1
    assert optimizer.step(sum(module.weight.sum() for module in modules.values()))
    moved = {name: before[name] - module.weight.item() for name, module in modules.items()}
    assert moved == pytest.approx({"encoder": 0.03, "head": 0.1}, rel=1e-4)  # Adam's first step is the rate itself


def test_groups_are_clipped_by_themselves():
    modules = [{name: torch.nn.Linear(1, 1, bias=False)} for name in "ab"]
    optimizer = Optimizer(modules, make_config("paper").optimization)
    a, b = modules[0]["a"], modules[1]["b"]
    assert optimizer.step(1e6 * a.weight.sum() + b.weight.sum())
    assert a.weight.grad.item() == pytest.approx(200)
    assert b.weight.grad.item() == 1


@pytest.mark.parametrize("fused", [True, False])
def test_a_gradient_that_is_not_finite_changes_nothing(fused):
    layer = torch.nn.Linear(1, 1)
    before = layer.weight.clone()
    optimizer = Optimizer([{"layer": layer}], make_config("paper").optimization, fused=fused)
    assert not optimizer.step((layer.weight * 0).sqrt().sum())
    assert not optimizer.step(layer.weight.sum() * torch.nan)
    assert torch.equal(layer.weight, before)
    assert optimizer.step(layer.weight.sum())
    # And counts for nothing in the moments: Adam's first step has the length of the learning rate.
    assert (before - layer.weight).item() == pytest.approx(make_config("paper").optimization.learning_rate, rel=1e-3)


def test_learning_rate_rises_then_falls_to_zero():
    config = dataclasses.replace(make_config(updates=1000).optimization, frozen_encoder=0, warmup=100)
    factors = [learning_rate_factor(update, config) for update in range(1000)]
    assert max(factors) == 1
    assert factors.index(1) == 99
    assert factors[0] == 0.01
    assert np.all(np.diff(factors[100:]) < 0)
    assert factors[-1] < 1e-5
