"""What every objective has: named losses with a weight each, and a step of exactly what it trains."""

import pytest
import torch
from jaxtyping import TypeCheckError
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import TrainStep, weighted_sum
from pjepa_agent.objectives.readouts import ReadoutObjective
from support.models import make_pjepa, with_all_parts


def test_losses_without_a_weight_and_weights_without_a_loss_are_refused():
    losses = {"transition": torch.tensor(2.0), "auxiliary": torch.tensor(3.0)}
    assert weighted_sum(losses, {"auxiliary": 10.0, "transition": 0.5}) == 31
    for weights in ({"transition": 1.0}, {"transition": 1.0, "auxiliary": 1.0, "decoder": 1.0}):
        with pytest.raises(ValueError, match="the names must be the same"):
            weighted_sum(losses, weights)


def test_a_step_has_exactly_the_parameters_that_it_trains(tiny):
    config = with_all_parts(tiny())
    model = PJEPA(config)
    steps = (
        TrainStep(model.core, make_pjepa(config)),
        TrainStep(model.readouts, ReadoutObjective(model.readouts, config.objective)),
    )
    core, readouts = ({id(p) for p in step.parameters()} for step in steps)
    assert core == {id(p) for part in (model.encoder, model.dynamics, model.head) for p in part.parameters()}
    assert readouts == {id(p) for p in model.parameters()} - core


def test_shapes_that_do_not_fit_are_found(tiny):
    model = PJEPA(tiny())
    with pytest.raises(TypeCheckError):
        model.rollout(torch.randn(3, 16), torch.rand(2, 4, 1))
