"""The model of the paper's Appendix D with all its heads: what it is made of, and which loss trains what."""

import dataclasses

import numpy as np
import pytest
import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import NetworkConfig
from pjepa_agent.model import PJEPA, Readouts
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder
from pjepa_agent.networks.mlp import Ensemble, frozen_copy, mlp
from pjepa_agent.objectives.base import weighted_sum
from pjepa_agent.objectives.pjepa import PJEPAObjective
from pjepa_agent.objectives.readouts import ReadoutObjective, decoder_loss
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from tensordict import TensorDict

PAPERS_PARAMETERS = {
    "encoder": 12_260_192, "dynamics": 264_448, "head": 448_101, "reward": 448_613, "q": 448_613,
    "termination": 396_801, "policy": 397_314, "decoder": 202_883,
}  # fmt: skip

REACHED = {
    # experiment: the parts that L_dyn and L_p reach
    "reward": ({"encoder", "dynamics"}, {"encoder", "head"}),
    "random": ({"encoder", "dynamics"}, {"encoder", "head"}),
    "reward-only": ({"dynamics"}, {"encoder", "head"}),
    "transition-only": ({"encoder", "dynamics"}, {"head"}),
}


def with_all_parts(config, **network):
    return dataclasses.replace(
        config, network=dataclasses.replace(config.network, control_heads=True, decoder=True, **network)
    )


def make_batch(config, size=4):
    generator = torch.Generator().manual_seed(0)
    k = config.objective.auxiliary_values
    return TensorDict(
        {
            "source_image": torch.randint(256, (size, 64, 64, 3), dtype=torch.uint8, generator=generator),
            "successor_image": torch.randint(256, (size, 64, 64, 3), dtype=torch.uint8, generator=generator),
            "action": torch.rand(size, 1, generator=generator) * 2 - 1,
            "auxiliary": torch.rand((size, k) if k else size, generator=generator),
            "reward": torch.rand(size, generator=generator),
            "terminated": torch.rand(size, generator=generator) < 0.5,
        },
        batch_size=[size],
    )


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def parts_of(model):
    return dict(model.core.named_children()) | model.readouts.parts


def reached(model, loss):
    """Names of all parts that a gradient of a loss reaches, whatever they are for."""
    model.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    parts = parts_of(model)
    known = {id(p) for part in parts.values() for p in part.parameters()}
    assert all(id(p) in known for p in model.parameters())  # nothing that could be reached is left out
    return {
        name
        for name, part in parts.items()
        if any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    }


def test_parameter_counts_are_the_papers_to_the_last_digit():
    model = PJEPA(make_config("paper"))
    assert {name: parameters(part) for name, part in parts_of(model).items()} == PAPERS_PARAMETERS
    assert parameters(model) == sum(PAPERS_PARAMETERS.values()) == 14_866_965
    laptop = PJEPA(make_config())
    assert laptop.readouts.parts == {}
    assert parameters(laptop) == parameters(laptop.core)


def test_the_papers_model_starts_as_in_the_authors_code():
    model = PJEPA(with_all_parts(make_config("paper"), width=4, blocks=1))
    layers = [layer.weight for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    layers += [model.control.q.get_parameter(name) for name in ("0_0_weight", "1_0_weight")]
    for weight in layers:
        if weight.abs().max() > 0:
            assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.head.network[-1].weight.abs().max() == 0
    assert model.control.reward.network[-1].weight.abs().max() == 0
    assert model.control.q.get_parameter("2_weight").abs().max() == 0
    z = torch.randn(5, 256)
    uniform = model.control.two_hot.decode(torch.zeros(1, 101))
    torch.testing.assert_close(model.control.eval().value(z, torch.rand(5, 1)), uniform.expand(5))


@pytest.mark.parametrize("experiment", REACHED)
def test_which_losses_reach_which_parameters(tiny, experiment):
    config = with_all_parts(tiny(experiment), q_members=2)
    torch.manual_seed(0)
    model = PJEPA(config).train()
    for name, value in model.named_parameters():  # a last layer at zero would stop every gradient before it
        if value.ndim >= 2 and value.abs().max() == 0:
            torch.nn.init.normal_(model.get_parameter(name), std=0.1)
    batch = make_batch(config)
    objective = PJEPAObjective(config.objective)
    losses, embedding = objective.terms(model, batch)
    into_transition, into_auxiliary = REACHED[experiment]
    assert reached(model, losses["transition"]) == into_transition
    assert reached(model, losses["auxiliary"]) == into_auxiliary
    assert reached(model, weighted_sum(losses, objective.weights_at(1.0))) == into_transition | into_auxiliary
    objective = ReadoutObjective(model.readouts, config.objective)
    losses = objective.terms(model.readouts, dict(batch.items()) | {"embedding": embedding}).losses
    assert {name: reached(model, loss) for name, loss in losses.items()} == {
        "action_conditioned_reward": {"reward"},
        **{name: {name} for name in ("termination", "q", "policy", "decoder")},
    }
    assert reached(model, weighted_sum(losses, objective.weights_at(1.0))) == set(model.readouts.parts)


def test_weights_are_those_of_the_configuration():
    config = with_all_parts(make_config("paper"), width=4, blocks=1)
    assert PJEPAObjective(config.objective).weights_at(1.0) == {"transition": 2, "auxiliary": 10}
    weights = ReadoutObjective(PJEPA(config).readouts, config.objective).weights_at(1.0)
    assert weights == {"action_conditioned_reward": 0.1, "termination": 1, "q": 0.1, "policy": 0.11, "decoder": 1}


@pytest.mark.parametrize("names", [["control_heads"], ["decoder"], ["control_heads", "decoder"]])
def test_readouts_change_nothing_of_the_core(tiny, tmp_path, names):
    # A tight clip, so that a gradient of another part in the norm would show.
    plain = tiny(clip=0.01)
    more = dataclasses.replace(plain, network=dataclasses.replace(plain.network, **dict.fromkeys(names, True)))
    states, metrics = [], []
    for name, config in (("plain", plain), ("more", more)):
        run = RunDirectory.create(tmp_path / name, config)
        train_run(run, config, "cpu")
        states.append(torch.load(run.checkpoint, weights_only=True)["model"])
        rows = [line.split(",") for line in run.metrics.read_text().splitlines()]
        metrics.append([dict(zip(rows[0], row, strict=True)) for row in rows[1:]])
    assert len(states[0]) < len(states[1])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    for row, other in zip(*metrics, strict=True):
        same = [name for name in row if name not in ("seconds", "charts/updates_per_second")]
        assert [row[name] for name in same] == [other[name] for name in same]
    control = {"losses/action_conditioned_reward", "losses/termination", "losses/q", "losses/policy"}
    columns = {"control_heads": control, "decoder": {"losses/decoder"}}
    assert set(metrics[1][0]) - set(metrics[0][0]) == set().union(*(columns[name] for name in names))


def test_the_core_starts_alike_whatever_the_readouts(tiny):
    def start(config):
        torch.manual_seed(3)
        return PJEPA(config), torch.rand(1)

    (plain, after), (more, after_more) = start(tiny()), start(with_all_parts(tiny()))
    assert all(torch.equal(value, more.state_dict()[name]) for name, value in plain.state_dict().items())
    assert torch.equal(after, after_more)
    other = PJEPA(dataclasses.replace(with_all_parts(tiny()), seed=1))
    assert not torch.equal(other.decoder.proj.weight, more.decoder.proj.weight)


def test_an_ensemble_is_its_members_side_by_side():
    torch.manual_seed(0)
    members = [mlp(5, 8, 3, 4) for _ in range(3)]
    ensemble = Ensemble(members)
    x = torch.randn(6, 5, requires_grad=True)
    torch.testing.assert_close(ensemble(x), torch.stack([member(x) for member in members]))
    assert parameters(ensemble) == sum(map(parameters, members))
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
def test_td_targets_are_rewards_and_what_the_slow_q_expects(members):
    heads = make_heads(members)
    for name, value in heads.slow_q.named_buffers():
        if name == "2_weight":
            value.normal_()
    successor, reward = torch.randn(6, 9), torch.rand(6)
    terminated = torch.tensor([1.0, 0, 1, 0, 1, 0])
    torch.manual_seed(2)
    target = heads.td_target(reward, terminated, successor, 0.9)
    torch.manual_seed(2)
    action, _ = heads.act(successor)
    values = heads.two_hot.decode(heads.slow_q(torch.cat([successor, action], -1)))
    chosen = torch.randperm(members)[:2] if members > 2 else torch.arange(members)
    expected = reward + 0.9 * (1 - terminated) * values[chosen].min(0).values
    torch.testing.assert_close(target, expected, rtol=1e-4, atol=1e-4)
    assert not target.requires_grad


def test_the_slow_q_follows_by_its_share_and_is_never_trained():
    heads = make_heads(2).train()
    assert not heads.slow_q.training
    before = {name: value.clone() for name, value in heads.slow_q.named_buffers()}
    for value in heads.q.parameters():
        value.data += 1
    heads.follow(0.25)
    for name, value in heads.slow_q.named_buffers():
        torch.testing.assert_close(value, before[name] + 0.25)
    assert "slow_q.2_weight" in heads.state_dict()
    assert not any(name.startswith("slow_q") for name, _ in heads.named_parameters())


def test_control_heads_learn_the_counting_world(tiny):
    """On embeddings that are the count itself: rewards, ends, and a policy prior that goes to the target."""
    from counting_env import rules
    from counting_env.arguments import Arguments

    heads = make_heads().train()
    readouts = Readouts(heads, None)
    objective = ReadoutObjective(readouts, dataclasses.replace(tiny().objective, polyak=0.05))
    optimizer = torch.optim.Adam(heads.parameters(), lr=3e-3)
    rng, arguments = np.random.default_rng(0), Arguments()
    eye = torch.eye(9)
    for _ in range(300):
        count, value = rng.integers(9, size=128), rng.uniform(-1, 1, size=128)
        after = rules.next_count(count, (value >= 0).astype(int), 8)
        batch = {
            "action": torch.tensor(value[:, None], dtype=torch.float32),
            "reward": torch.tensor(rules.reward_of(after, arguments)),
            "terminated": torch.tensor(rules.is_last(count, after, 4, True)),
            "embedding": eye[np.stack([count, after])],
        }
        losses = objective.terms(readouts, batch).losses
        optimizer.zero_grad()
        weighted_sum(losses, objective.weights_at(1.0)).backward()
        optimizer.step()
        objective.after_step(readouts)
    heads.eval()
    assert losses["termination"] < 0.05
    assert losses["action_conditioned_reward"] < 0.1
    ends = torch.sigmoid(heads.termination(eye))[:, 0]
    assert (ends > 0.5).tolist() == [count == 4 for count in range(9)]
    adds, removes = (heads.value(eye, torch.full((9, 1), sign)) for sign in (0.8, -0.8))
    assert (adds > removes)[:4].all()
    assert (adds < removes)[5:].all()
    torch.testing.assert_close(adds[3], torch.tensor(1.0), atol=0.1, rtol=0)
    action = torch.stack([heads.act(eye)[0][:, 0] for _ in range(50)]).mean(0)
    assert (action[2:4] > 0).all()
    assert (action[5:7] < 0).all()


def test_a_decoder_gives_images(tiny):
    config = with_all_parts(tiny())
    model = PJEPA(config)
    images = model.decode(torch.randn(3, 16))
    assert images.shape == (3, 64, 64, 3)
    assert images.dtype == torch.uint8
    with pytest.raises(ValueError, match="has no decoder"):
        PJEPA(tiny()).decode(torch.randn(3, 16))


def test_the_decoder_learns_images_scaled_to_minus_one_and_one():
    torch.manual_seed(0)
    images = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    images[1] = 255
    decoder, z = Decoder(4), torch.eye(4)[:2]
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    assert decoder_loss(decoder, images, z).item() == pytest.approx(1, abs=0.05)  # it starts at grey
    for _ in range(60):
        optimizer.zero_grad()
        decoder_loss(decoder, images, z).backward()
        optimizer.step()
    decoded = decoder(z)
    assert decoded[0].mean() < -0.9
    assert decoded[1].mean() > 0.9
