"""The joint objective: what its losses are, and what they train."""

import pytest
import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import weighted_sum
from support.configs import with_sections
from support.models import make_pjepa

CPU = torch.device("cpu")


REACHED = {
    # experiment: does (transition loss, auxiliary loss) reach the encoder
    "reward": (True, True),
    "random": (True, True),
    "reward-only": (False, True),
    "transition-only": (True, False),
}


def make_batch(dim=None):
    generator = torch.Generator().manual_seed(0)
    return {
        "observation": torch.randint(256, (4, 2, 64, 64, 3), dtype=torch.uint8, generator=generator),
        "action": torch.rand(4, 1, 1, generator=generator) * 2 - 1,
        "auxiliary": torch.rand(4, 1, dim, generator=generator) if dim else torch.tensor([[0.0], [1], [0], [1]]),
        "present": torch.ones(4, 1, dtype=torch.bool),
    }


def reaches(loss, module):
    gradients = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return any(g is not None and g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize("experiment", REACHED)
def test_which_losses_reach_the_encoder(tiny, experiment):
    config = tiny(experiment)
    torch.manual_seed(0)
    model = PJEPA(config)
    if experiment != "random":  # its last layer starts at zero, which would stop every gradient before it
        torch.nn.init.normal_(model.head.network[-1].weight)
    objective = make_pjepa(config)
    losses = objective.terms(model, make_batch(256 if experiment == "random" else None)).losses
    for loss, expected in zip((losses["transition"], losses["auxiliary"]), REACHED[experiment], strict=True):
        if expected:
            assert reaches(loss, model.encoder)
        else:
            assert not loss.requires_grad or not reaches(loss, model.encoder)
    assert reaches(losses["transition"], model.dynamics)
    assert reaches(losses["auxiliary"], model.head)
    assert not reaches(losses["transition"], model.head)
    weights = config.objective
    expected = weights.transition_weight * losses["transition"] + weights.auxiliary_weight * losses["auxiliary"]
    assert weighted_sum(losses, objective.weights_at(1.0)).item() == pytest.approx(expected.item())


def test_no_stop_gradient_on_either_observation_of_a_transition(tiny, monkeypatch):
    config = tiny()
    model = PJEPA(config)
    images = make_batch()
    embeddings = torch.randn(8, 16, requires_grad=True)
    monkeypatch.setattr(model.encoder, "forward", lambda batch: embeddings)
    (gradient,) = torch.autograd.grad(make_pjepa(config).terms(model, images).losses["transition"], embeddings)
    assert (gradient.norm(dim=1) > 0).all()
    # The successor's gradient is that of a mean of squares: 2 (E(o') - T) / elements.
    predicted = model.transition(embeddings[:4], images["action"][:, 0])
    torch.testing.assert_close(gradient[4:], 2 * (embeddings[4:] - predicted) / (4 * 16))


def test_the_transition_loss_is_zero_for_consistent_dynamics(tiny, monkeypatch):
    config = tiny()
    model = PJEPA(config)
    embeddings = torch.randn(8, 16)
    monkeypatch.setattr(model.encoder, "forward", lambda batch: embeddings)
    monkeypatch.setattr(model, "transition", lambda source, action: embeddings[4:])
    assert make_pjepa(config).terms(model, make_batch()).losses["transition"].item() == 0


def test_the_transition_loss_goes_on_from_what_was_predicted(tiny, monkeypatch):
    config = with_sections(tiny(batch_size=32), objective={"horizon": 3})
    batch = dict(DatasetReplay(collect_dataset(config), 32, 0, CPU, 3).sample().items())
    model = PJEPA(config)
    embeddings = torch.randn(4, 32, 16)
    monkeypatch.setattr(model.encoder, "forward", lambda images: embeddings.flatten(0, 1))
    loss = make_pjepa(config).terms(model, batch).losses["transition"]
    errors = []
    for row in range(32):
        z = embeddings[0, row]
        actions, there = batch["action"][row], batch["present"][row]
        for step in range(3):
            z = model.transition(z[None], actions[step][None])[0]
            if there[step]:
                errors.append((z - embeddings[step + 1, row]).square().mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_noise_is_a_share_of_the_spread(tiny, monkeypatch):
    config = tiny()
    batch = dict(DatasetReplay(collect_dataset(config), 512, 0, CPU).sample().items())
    model = PJEPA(config)
    embeddings = 3 * torch.randn(1024, 16) + 7
    seen = []
    monkeypatch.setattr(model.encoder, "forward", lambda images: embeddings)
    monkeypatch.setattr(model, "transition", lambda z, action: seen.append(z) or z)
    embedding = make_pjepa(with_sections(config, objective={"latent_noise": 0.5})).terms(model, batch).embedding
    assert float((seen[0] - embeddings[:512]).std()) == pytest.approx(1.5, rel=0.05)
    assert torch.equal(embedding[0], embeddings[:512])  # readouts are given none
