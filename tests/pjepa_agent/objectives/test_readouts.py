"""The objective of control heads and decoder: what each loss trains, and that none changes the core."""

import dataclasses

import numpy as np
import pytest
import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import NetworkConfig
from pjepa_agent.model import PJEPA, Readouts
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder
from pjepa_agent.objectives.base import weighted_sum
from pjepa_agent.objectives.readouts import ReadoutObjective, decoder_loss
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from support.models import make_batch, make_pjepa, parts_of, with_all_parts

REACHED = {
    # experiment: the parts that L_dyn and L_p reach
    "reward": ({"encoder", "dynamics"}, {"encoder", "head"}),
    "random": ({"encoder", "dynamics"}, {"encoder", "head"}),
    "reward-only": ({"dynamics"}, {"encoder", "head"}),
    "transition-only": ({"encoder", "dynamics"}, {"head"}),
}


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


def make_heads():
    torch.manual_seed(0)
    return ControlHeads(NetworkConfig(latent_dim=9, hidden_dim=32), 1)


@pytest.mark.parametrize("experiment", REACHED)
def test_which_losses_reach_which_parameters(tiny, experiment):
    config = with_all_parts(tiny(experiment), q_members=2)
    torch.manual_seed(0)
    model = PJEPA(config).train()
    for name, value in model.named_parameters():  # a last layer at zero would stop every gradient before it
        if value.ndim >= 2 and value.abs().max() == 0:
            torch.nn.init.normal_(model.get_parameter(name), std=0.1)
    batch = make_batch(config)
    objective = make_pjepa(config)
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
    assert make_pjepa(config).weights_at(1.0) == {"transition": 2, "auxiliary": 10}
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
            "action": torch.tensor(value[:, None, None], dtype=torch.float32),
            "reward": torch.tensor(rules.reward_of(after, arguments))[:, None],
            "terminated": torch.tensor(rules.is_last(count, after, 4, True))[:, None],
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
