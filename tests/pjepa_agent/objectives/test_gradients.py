"""Which term of which objective trains what."""

import pytest
import torch
from pjepa_agent.objectives.base import TrainStep, weighted_sum
from support.sequences import BOUNDED, DISCRETE, make_case

E, T, P = "encoder", "dynamics", "head"

REACHED = {
    # objective, settings: the parts of the model and the networks of its own that each term reaches
    ("pjepa",): {"transition": {E, T}, "auxiliary": {E, P}},
    ("deepmdp",): {"reward": {E, "reward"}, "transition": {E, T}},
    ("dbc",): {"metric": {E}, "transition": {E, T, "deviation"}, "reward": {E, T, "deviation", "reward"}},
    ("dbc", "form", "paper"): {
        "metric": {E},
        "transition": {E, T, "deviation"},
        "reward": {E, T, "deviation", "reward"},
    },
    ("dbc", "probabilistic", False): {"metric": {E}, "transition": {E, T}, "reward": {E, T, "reward"}},
    ("tdmpc2",): {"transition": {E, T}, "reward": {E, T, "heads.reward"}, "value": {E, T, "heads.q"}},
    ("pldm",): {
        "transition": {E, T},
        "variance": {E},
        "covariance": {E},
        "time_variance": {E},
        "smoothness": {E},
        "inverse": {E, "inverse"},
    },
    ("inverse",): {"inverse": {E, "classifier"}},
    ("inverse", "transition_weight", 0.5): {"inverse": {E, "classifier"}, "transition": {E, T}},
    ("sigreg",): {"transition": {E, T}, "sigreg": {E}},
    ("vicreg",): {"transition": {E, T}, "variance": {E}, "covariance": {E}},
    ("ema",): {"transition": {E, T}},
}


def arguments_of(case):
    return {} if len(case) == 1 else {case[1]: case[2]}


def parts_of(case):
    parts = dict(case.model.core.named_children())
    for name, part in case.objective.named_children():
        parts |= {f"heads.{inner}": each for inner, each in part.named_children()} if name == "heads" else {name: part}
    return parts


def reached(case, loss):
    case.model.zero_grad()
    case.objective.zero_grad()
    loss.backward(retain_graph=True)
    return {
        name
        for name, part in parts_of(case).items()
        if any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    }


@pytest.mark.parametrize("name", REACHED, ids=lambda name: "-".join(map(str, name)))
def test_which_terms_reach_what(name):
    case = make_case(name[0], **arguments_of(name))
    terms = case.objective.terms(case.model, case.batch)
    assert {term: reached(case, loss) for term, loss in terms.losses.items()} == REACHED[name]
    assert case.objective.weights_at(1.0).keys() == terms.losses.keys()
    steps = case.batch["observation"].shape[1]
    assert terms.embedding.shape == (steps, len(case.batch["observation"]), 8)
    # Everything that the step trains is reached, and nothing that it reaches is left out.
    step = TrainStep(case.model.with_parts({E, *case.objective.trains}), case.objective)
    case.model.zero_grad()
    weighted_sum(terms.losses, case.objective.weights_at(1.0)).backward()
    of_step = {id(p) for p in step.parameters()}
    assert all(p.grad is not None for p in step.parameters())
    assert all(p.grad is None or id(p) in of_step for p in case.model.parameters())


def test_the_policy_of_tdmpc2_is_reached_by_its_own_loss_alone():
    case = make_case("tdmpc2", spec=BOUNDED)
    losses = case.objective.terms(case.model, case.batch).losses
    assert reached(case, losses["policy"]) == {"heads.policy"}
    assert not any("heads.policy" in reached(case, loss) for name, loss in losses.items() if name != "policy")


@pytest.mark.parametrize("name", ["deepmdp", "dbc", "tdmpc2", "ema"])
def test_the_embedding_that_is_predicted_is_detached(name, monkeypatch):
    """Only the observations that T starts from are reached, unless another term is of all."""
    case = make_case(name)
    steps, size = case.batch["observation"].shape[1], len(case.batch["observation"])
    embedding = torch.randn(steps, size, 8, requires_grad=True)
    monkeypatch.setattr(case.objective, "encode", lambda model, batch: embedding)
    losses = case.objective.terms(case.model, case.batch).losses
    (gradient,) = torch.autograd.grad(losses["transition"], embedding)
    assert gradient[0].abs().max() > 0
    assert not gradient[1:].any()


def test_deepmdp_without_a_stop_gradient_trains_both_ends(monkeypatch):
    case = make_case("deepmdp", stop_gradient=False)
    embedding = torch.randn(2, 12, 8, requires_grad=True)
    monkeypatch.setattr(case.objective, "encode", lambda model, batch: embedding)
    (gradient,) = torch.autograd.grad(case.objective.terms(case.model, case.batch).losses["transition"], embedding)
    assert (gradient.abs().amax((1, 2)) > 0).all()


SINGLE_STEP = ("deepmdp", "dbc")
"""Objectives of single steps, which have nothing beyond the end of an episode."""


@pytest.mark.parametrize(
    "name", [name for name in REACHED if len(name) == 1 and name[0] not in SINGLE_STEP], ids=lambda name: name[0]
)
@pytest.mark.parametrize("spec", [DISCRETE, BOUNDED], ids=["discrete", "bounded"])
def test_what_is_beyond_the_end_of_an_episode_changes_nothing(name, spec):
    case = make_case(name[0], "objective.horizon=3", spec=spec)
    assert not case.batch["present"].all()
    found = []
    for value in (0.0, 9.0):
        batch, beyond = dict(case.batch), ~case.batch["present"]
        batch["action"] = batch["action"].masked_fill(beyond[..., None], value)
        batch["code"] = batch["code"].masked_fill(beyond, 1)
        batch["reward"] = batch["reward"].masked_fill(beyond, value)
        torch.manual_seed(0)
        losses = case.objective.terms(case.model, batch).losses
        found.append({term: loss.item() for term, loss in losses.items()})
    assert found[0] == found[1]
