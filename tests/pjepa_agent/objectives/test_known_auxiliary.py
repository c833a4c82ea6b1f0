"""L_p where p belongs to observations: every frame of known p counts once, no other does."""

import numpy as np
import pytest
import torch
from bisim_theory import TransitionDataset
from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.base import Spec
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import TrainStep, weighted_sum
from support.models import make_pjepa
from torch import nn

CPU = torch.device("cpu")
SPEC = Spec((3,), "float32", 2)


def make_data(values=0, known=0.6, seed=0, episodes=30):
    """Episodes of 1 to 5 steps through vectors that are never the same; p, of which a share is known."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, episodes)
    first = np.cumsum([0, *(lengths[:-1] + 1)])
    source = np.concatenate([start + np.arange(length) for start, length in zip(first, lengths, strict=True)])
    frames = int((lengths + 1).sum())
    action = rng.integers(2, size=len(source))
    return TransitionDataset(
        source=source,
        action=action,
        successor=source + 1,
        action_value=np.eye(2, dtype=np.float32)[action],
        observation=rng.normal(size=(frames, 3)).astype(np.float32),
        observation_auxiliary=rng.normal(size=(frames, values) if values else frames),
        observation_auxiliary_known=rng.random(frames) < known,
        episode=np.repeat(np.arange(episodes), lengths),
    )


def make_model(values=0, encoder="auto", **objective):
    name = "reward" if values == 0 else "made_up"
    config = make_config(auxiliary=name).override(
        ["collection.environment=X-v0", "network.latent_dim=8", "network.hidden_dim=16", "network.bins=11",
         f"network.encoder={encoder}", "objective.latent_noise=0.0", f"objective.auxiliary_dim={values}",
         *[f"objective.{key}={json(value)}" for key, value in objective.items()]]
    )  # fmt: skip
    torch.manual_seed(0)
    model = PJEPA(config, SPEC)
    nn.init.normal_(model.head.network[-1].weight)  # which starts at zero and would stop every gradient
    return config, model.train()


def json(value):
    return str(value).lower()


def sample(data, horizon, size=64):
    return dict(DatasetReplay(data, size, 0, CPU, horizon).sample().items())


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("values", [0, 4])
def test_a_masked_loss_is_that_of_the_known_frames_one_by_one(values, horizon):
    data = make_data(values)
    config, model = make_model(values, horizon=horizon)
    batch = sample(data, horizon)
    loss = make_pjepa(config).terms(model, batch).losses["auxiliary"]
    following = {int(source): row for row, source in enumerate(data.source)}
    expected = []
    for source in batch["source"].tolist():
        frames = [source]
        while len(frames) <= horizon and frames[-1] in following:
            frames.append(int(data.successor[following[frames[-1]]]))
        for frame in frames:
            if data.observation_auxiliary_known[frame]:
                z = model.encoder(torch.from_numpy(data.observation[frame : frame + 1]))
                expected.append(model.head.loss(model.head(z), torch.from_numpy(data.observation_auxiliary[[frame]])))
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=1e-4, atol=1e-6)


def test_what_stands_where_p_is_unknown_changes_nothing():
    config, model = make_model()
    batch = sample(make_data(), 1)
    objective = make_pjepa(config)
    loss = objective.terms(model, batch).losses["auxiliary"]
    batch["auxiliary"] = torch.where(batch["auxiliary_known"], batch["auxiliary"], 1e4)
    assert torch.equal(objective.terms(model, batch).losses["auxiliary"], loss)


@pytest.mark.parametrize("values", [0, 4])
def test_a_batch_without_any_known_p_has_no_loss_and_no_gradient(values):
    config, model = make_model(values)
    batch = sample(make_data(values), 1)
    batch["auxiliary_known"] = torch.zeros_like(batch["auxiliary_known"])
    loss = make_pjepa(config).terms(model, batch).losses["auxiliary"]
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_terminal_observations_alone_reach_the_encoder():
    """The goal is never a source: where p is known there alone, only successors train E and P."""
    data = make_data()
    known = np.isin(np.arange(data.frames), data.source, invert=True)
    data = TransitionDataset(
        **{name: getattr(data, name) for name in ("source", "action", "successor", "action_value", "observation")},
        observation_auxiliary=data.observation_auxiliary,
        observation_auxiliary_known=known,
    )
    config, model = make_model()
    batch = sample(data, 1)
    assert not batch["auxiliary_known"][:, 0].any()
    assert batch["auxiliary_known"][:, 1].any()
    make_pjepa(config).terms(model, batch).losses["auxiliary"].backward()
    for part in (model.encoder, model.head):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
        assert any(p.grad.any() for p in part.parameters())
    assert all(p.grad is None for p in model.dynamics.parameters())


def test_p_that_does_not_reach_the_encoder_trains_the_head_alone():
    config, model = make_model(auxiliary_reaches_encoder=False)
    make_pjepa(config).terms(model, sample(make_data(), 1)).losses["auxiliary"].backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.head.parameters())


def test_p_by_transition_stays_as_it_was():
    """Where p is stored by transition, as in the counting world, batches have it of sources and of nothing else."""
    data = make_data()
    by_transition = TransitionDataset(
        **{name: getattr(data, name) for name in ("source", "action", "successor", "action_value", "observation")},
        auxiliary=data.observation_auxiliary[data.source],
        observation_auxiliary=data.observation_auxiliary,
    )
    batch = sample(by_transition, 3)
    assert not [name for name in batch if name.endswith("_known") or "_auxiliary" in name]
    expected = data.observation_auxiliary[batch["source"]].astype(np.float32)
    np.testing.assert_array_equal(batch["auxiliary"], expected[:, None])


def make_users_encoder(spec, latent_dim):
    return nn.Sequential(nn.Linear(*spec.observation_shape, 32), nn.ReLU(), nn.Linear(32, latent_dim))


def test_an_encoder_of_the_users_is_trained_by_both_losses():
    data = make_data(known=1)
    data.observation_auxiliary[:] = data.observation[:, 0] > 0
    config, model = make_model(encoder=f"{__name__}:make_users_encoder")
    assert isinstance(model.encoder, nn.Sequential)
    objective = make_pjepa(config)
    step, replay = TrainStep(model.core, objective), DatasetReplay(data, 64, 0, CPU)
    optimizer = torch.optim.Adam(step.parameters(), 1e-2)
    before, losses = [p.clone() for p in model.encoder.parameters()], []
    for _ in range(150):
        terms = step(dict(replay.sample().items()))
        optimizer.zero_grad()
        weighted_sum(terms.losses, objective.weights_at(1.0)).backward()
        optimizer.step()
        losses.append(terms.losses["auxiliary"].item())
    assert all(not torch.equal(p, other) for p, other in zip(model.encoder.parameters(), before, strict=True))
    assert np.mean(losses[-10:]) < 0.1 * losses[0]
    z = model.encode(data.observation)
    right = (model.auxiliary(z).numpy() > 0.5) == (data.observation[:, 0] > 0)
    assert right.mean() > 0.95
