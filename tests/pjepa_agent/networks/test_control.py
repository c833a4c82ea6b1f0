"""Ensembles, the policy prior, and the target of Q."""

import pytest
import torch
from pjepa_agent.config.schema import NetworkConfig
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.mlp import Ensemble, frozen_copy, mlp
from support.models import count_parameters


def test_an_ensemble_is_its_members_side_by_side():
    torch.manual_seed(0)
    members = [mlp(5, 8, 3, 4) for _ in range(3)]
    ensemble = Ensemble(members)
    x = torch.randn(6, 5, requires_grad=True)
    torch.testing.assert_close(ensemble(x), torch.stack([member(x) for member in members]))
    assert count_parameters(ensemble) == sum(map(count_parameters, members))
    (gradient,) = torch.autograd.grad(ensemble(x, detached=True).sum(), x)
    (expected,) = torch.autograd.grad(sum(member(x).sum() for member in members), x)
    torch.testing.assert_close(gradient, expected)
    assert not any(p.requires_grad for p in frozen_copy(ensemble).parameters())


def test_dropout_differs_between_members_and_is_off_in_evaluation():
    torch.manual_seed(0)
    network = mlp(5, 64, 3, 4, dropout=0.5)
    ensemble = Ensemble([network, network])
    x = torch.randn(6, 5)
    first, second = ensemble.train()(x)
    assert (first - second).abs().max() > 1e-3
    first, second = ensemble.eval()(x)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first, network.eval()(x))


def make_heads(members=1):
    torch.manual_seed(0)
    network = NetworkConfig(latent_dim=9, hidden_dim=32, q_members=members)
    return ControlHeads(network, 1)


def test_the_policy_prior_is_a_gaussian_squashed_by_tanh():
    heads, z = make_heads(), torch.randn(2000, 9) * 5
    torch.manual_seed(1)
    action, log_density = heads.act(z)
    mean, raw = heads.policy(z).chunk(2, -1)
    std = torch.exp(-10 + 6 * (torch.tanh(raw) + 1))
    expected = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean.double(), std.double()),
        [torch.distributions.transforms.TanhTransform(cache_size=1)],
    )
    inside = (action.abs() < 0.999)[:, 0]
    assert inside.float().mean() > 0.5
    assert (action.abs() <= 1).all()
    density = expected.log_prob(action.double())[:, 0]
    torch.testing.assert_close(log_density[inside].double(), density[inside], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_td_targets_are_rewards_and_the_discounted_target_q(members):
    heads = make_heads(members)
    for name, value in heads.target_q.named_buffers():
        if name == "2_weight":
            value.normal_()
    successor, reward = torch.randn(6, 9), torch.rand(6)
    terminated = torch.tensor([1.0, 0, 1, 0, 1, 0])
    torch.manual_seed(2)
    target = heads.td_target(reward, terminated, successor, 0.9)
    torch.manual_seed(2)
    action, _ = heads.act(successor)
    values = heads.two_hot.decode(heads.target_q(torch.cat([successor, action], -1)))
    chosen = torch.randperm(members)[:2] if members > 2 else torch.arange(members)
    expected = reward + 0.9 * (1 - terminated) * values[chosen].min(0).values
    torch.testing.assert_close(target, expected, rtol=1e-4, atol=1e-4)
    assert not target.requires_grad


def test_the_target_q_moves_by_its_share_and_is_never_trained():
    heads = make_heads(2).train()
    assert not heads.target_q.training
    before = {name: value.clone() for name, value in heads.target_q.named_buffers()}
    for value in heads.q.parameters():
        value.data += 1
    heads.update_target(0.25)
    for name, value in heads.target_q.named_buffers():
        torch.testing.assert_close(value, before[name] + 0.25)
    assert "target_q.2_weight" in heads.state_dict()
    assert not any(name.startswith("target_q") for name, _ in heads.named_parameters())


def test_the_target_q_of_a_checkpoint_of_version_0_1_is_loaded():
    heads, other = make_heads(2), make_heads(2)
    for value in heads.target_q.buffers():
        value += 1
    state = {f"control.{name.replace('target_q', 'slow_q')}": value for name, value in heads.state_dict().items()}
    assert "control.slow_q.2_weight" in state
    torch.nn.ModuleDict({"control": other}).load_state_dict(state)
    assert all(torch.equal(value, heads.state_dict()[name]) for name, value in other.state_dict().items())
    assert "control.slow_q.2_weight" in state
