"""The configuration values that may keep clusters compact: each does what it says, and survives an interruption."""

import contextlib
import dataclasses
import math

import numpy as np
import pytest
import torch
from pjepa_agent import load
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.collection.replay import DatasetReplay, OnlineReplay
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.objectives.pjepa import PJEPAObjective
from pjepa_agent.objectives.regularizers import sigreg, vicreg
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer
from pjepa_agent.training.averaging import averaging_weight
from torch import nn

CPU = torch.device("cpu")


def with_values(config, **sections):
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()}
    )


def kept(run):
    return torch.load(run.checkpoint, weights_only=True)


# Averaging


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


# Statistics


def test_what_is_evaluated_has_the_statistics_of_its_own_weights(tiny, tmp_path):
    config = with_values(tiny(updates=10, averaging_age=0.2, batch_size=40), evaluation={"batch_norm_samples": 80})
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
    config = with_values(
        tiny(updates=2, batch_size=2), evaluation={"batch_norm_samples": 13}, ablation={"latent_normalization": "batch"}
    )
    run = RunDirectory.create(tmp_path / "run", config)
    Trainer(config, run, collect_dataset(config), CPU).train()
    with pytest.raises(ConfigError, match=r"evaluation.batch_norm_samples=1: must be 0, or at least 2"):
        with_values(config, evaluation={"batch_norm_samples": 1})


def test_statistics_change_nothing_of_the_training(tiny, tmp_path):
    weights = []
    for count in (0, 64):
        config = with_values(tiny(), evaluation={"batch_norm_samples": count})
        run = RunDirectory.create(tmp_path / str(count), config)
        trained = Trainer(config, run, collect_dataset(config), CPU)
        trained.train()
        weights.append({name: value.detach() for name, value in trained.model.named_parameters()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("count", [1, 6, 41, 600])
def test_observations_are_spread_over_the_transitions(tiny, count):
    data = collect_dataset(tiny())
    images = DatasetReplay(data, 16, 0, CPU).observations(count)
    rows = np.arange((count + 1) // 2) * len(data) // ((count + 1) // 2)
    frames = np.stack([data.source[rows], data.successor[rows]], 1).ravel()[:count]
    np.testing.assert_array_equal(images, data.observation[frames])


# Interruption


@pytest.mark.parametrize(
    "sections",
    [
        {"optimization": {"averaging_age": 0.2}, "evaluation": {"batch_norm_samples": 50}},
        {"ablation": {"weight_decay": 0.1, "latent_noise": 0.5}, "evaluation": {"batch_norm_samples": 50}},
        {"objective": {"regularizer": "sigreg", "horizon": 3}},
        {"objective": {"regularizer": "vicreg"}},
    ],
)
def test_an_interrupted_run_ends_like_one_left_alone(tiny, tmp_path, sections):
    config = with_values(tiny(), **sections)
    whole = RunDirectory.create(tmp_path / "whole", config)
    train_run(whole, config, CPU)
    parts = RunDirectory.create(tmp_path / "parts", config)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        train_run(parts, config, CPU, should_stop=lambda: next(asked) >= 6)
    train_run(*RunDirectory.open(parts.path), CPU)
    for kind in {"model", "averaged"} & kept(whole).keys():
        first, second = kept(whole)[kind], kept(parts)[kind]
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert load(whole.path).encoder.proj.weight.equal(load(parts.path).encoder.proj.weight)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("ablation", {"weight_decay": 10.0}),
        ("optimization", {"epsilon": 1.0}),
        ("ablation", {"latent_noise": 0.5}),
        ("objective", {"horizon": 2}),
        ("objective", {"regularizer": "sigreg"}),
        ("network", {"normalization": "group"}),
        ("ablation", {"convolution_gain": 1.0}),
        ("ablation", {"pixel_offset": 0.0}),
        ("ablation", {"pixel_scale": "image"}),
        ("ablation", {"latent_normalization": "layer"}),
    ],
)
def test_every_lever_moves_something(tiny, tmp_path, section, values):
    weights = []
    for name, config in (("without", tiny()), ("with", with_values(tiny(), **{section: values}))):
        run = RunDirectory.create(tmp_path / name, config)
        Trainer(config, run, collect_dataset(config), CPU).train()
        weights.append(load(run.path).encoder.proj.weight.detach())
    assert not torch.allclose(*weights)


# The course of the weight


def test_the_transition_loss_comes_in_step_by_step(tiny, tmp_path, monkeypatch):
    config = with_values(tiny(updates=6), objective={"transition_warmup": 2 / 3, "transition_weight": 0.8})
    run, data = RunDirectory.create(tmp_path / "run", config), collect_dataset(config)

    def weights_of_next_updates(number):
        trainer, seen = Trainer(config, run, data, CPU), []
        step = trainer.step

        def noted():
            losses = step()
            # total = weight L_dyn + auxiliary_weight L_p
            rest = losses["total"] - config.objective.auxiliary_weight * losses["auxiliary"]
            seen.append(float(rest / losses["transition"]))
            return losses

        monkeypatch.setattr(trainer, "step", noted)
        with contextlib.suppress(Interrupted):
            trainer.train(should_stop=lambda: len(seen) == number)
        return seen

    expected = [0.8 / 64, 0.1, 0.8 * 27 / 64, 0.8, 0.8, 0.8]
    assert [*weights_of_next_updates(2), *weights_of_next_updates(4)] == pytest.approx(expected, rel=1e-2)


# Horizon


@pytest.mark.parametrize("online", [False, True])
def test_what_follows_is_the_rest_of_the_episode(tiny, online):
    config = with_values(tiny(batch_size=64), objective={"horizon": 3})
    if online:
        collection = CollectionConfig(transitions=70, initial_transitions=70, online=True)
        config = dataclasses.replace(config, collection=collection)
        sampler = OnlineReplay(config, CPU)
        sampler.collect_until(95)  # the ring has begun to be written over
        rows = sampler.buffer[:]
        data = {name: rows[name].numpy() for name in ("source", "successor", "action")}
    else:
        whole = collect_dataset(config)
        sampler = DatasetReplay(whole, 64, 0, CPU, 3)
        data = {"source": whole.source, "successor": whole.successor, "action": whole.action_value}
    by_source = {int(source): row for row, source in enumerate(data["source"])}
    batch = sampler.sample()
    lengths = set()
    for row in range(64):
        frame, present = int(batch["successor"][row]), True
        for step in range(2):
            following = by_source.get(frame) if present else None
            present = following is not None
            assert bool(batch["later_present"][row, step]) == present
            if present:
                frame = int(data["successor"][following])
                np.testing.assert_array_equal(batch["later_action"][row, step], data["action"][following])
            image = sampler.frames.images[frame % len(sampler.frames)]
            assert torch.equal(batch["later_image"][row, step], image)
        lengths.add(int(batch["later_present"][row].sum()))
    assert lengths == {0, 1, 2}


def test_the_transition_loss_goes_on_from_what_was_predicted(tiny, monkeypatch):
    config = with_values(tiny(batch_size=32), objective={"horizon": 3})
    batch = DatasetReplay(collect_dataset(config), 32, 0, CPU, 3).sample()
    model = PJEPA(config)
    embeddings = torch.randn(4, 32, 16)
    monkeypatch.setattr(model.encoder, "forward", lambda images: embeddings.flatten(0, 1))
    loss = PJEPAObjective(config.objective).terms(model, batch).losses["transition"]
    errors = []
    for row in range(32):
        z = embeddings[0, row]
        actions = [batch["action"][row], *batch["later_action"][row]]
        there = [True, *batch["later_present"][row]]
        for step in range(3):
            z = model.transition(z[None], actions[step][None])[0]
            if there[step]:
                errors.append((z - embeddings[step + 1, row]).square().mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


# Noise, regularisers


def test_noise_is_a_share_of_the_spread(tiny, monkeypatch):
    config = tiny()
    batch = DatasetReplay(collect_dataset(config), 512, 0, CPU).sample()
    model = PJEPA(config)
    embeddings = 3 * torch.randn(1024, 16) + 7
    seen = []
    monkeypatch.setattr(model.encoder, "forward", lambda images: embeddings)
    monkeypatch.setattr(model, "transition", lambda z, action: seen.append(z) or z)
    embedding = PJEPAObjective(config.objective, latent_noise=0.5).terms(model, batch).embedding
    assert float((seen[0] - embeddings[:512]).std()) == pytest.approx(1.5, rel=0.05)
    assert torch.equal(embedding[0], embeddings[:512])  # readouts are given none


def test_sigreg_is_the_statistic_of_epps_and_pulley():
    # In one dimension every direction is the axis; the oracle integrates with ten thousand points.
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)) * 2 + 1
    t = np.linspace(-5, 5, 10_001)
    gaussian = np.exp(-(t**2) / 2)
    difference = np.abs(np.exp(1j * t * x.numpy()).mean(0) - gaussian) ** 2
    expected = 50 * np.trapezoid(difference * gaussian, t)
    assert float(sigreg(x)) == pytest.approx(expected, rel=0.02)


def test_sigreg_is_least_for_a_standard_normal():
    torch.manual_seed(0)
    normal = torch.randn(2_000, 8)
    least = float(sigreg(normal))
    assert least == pytest.approx(math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3), rel=0.5)
    for other in (0 * normal, 2 * normal, normal + 1, normal.sign(), normal[:, :1].expand(-1, 8)):
        assert float(sigreg(other)) > 4 * least


def test_vicreg_by_hand():
    z = torch.tensor([[0.0, 0.0], [0.2, 0.4], [0.1, 0.8]])
    covariance = np.cov(z.numpy().T)
    hinge = np.mean([1 - math.sqrt(covariance[i, i] + 1e-4) for i in (0, 1)])
    assert float(vicreg(z)) == pytest.approx(hinge + 2 * covariance[0, 1] ** 2 / 2 / 25, rel=1e-5)
    torch.manual_seed(0)
    assert float(vicreg(3 * torch.eye(8)[torch.randint(8, (10_000,))])) < 0.2
    assert float(vicreg(torch.zeros(10, 8))) == pytest.approx(0.99)


# Networks


@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_convolutions_start_with_the_gain(gain):
    torch.manual_seed(0)
    encoder = ResNetEncoder(width=32, blocks=1, convolution_gain=gain)
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            assert float(layer.weight.detach().std()) * math.sqrt(layer.weight[0].numel()) == pytest.approx(
                gain, rel=0.1
            )


def test_black_is_where_it_is_put():
    seen = []
    encoder = ResNetEncoder(latent_dim=8, width=4, blocks=1, pixel_offset=0.25)
    encoder.stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    encoder(torch.stack([torch.zeros(64, 64, 3), torch.full((64, 64, 3), 255)]).to(torch.uint8))
    assert (seen[0][0] == 0.25).all()
    assert (seen[0][1] == 1.25).all()


def test_how_bright_an_image_is_does_not_show_on_its_own_scale():
    """A third of every pixel is embedded alike, whatever is beside it; another image and the empty one are not."""
    torch.manual_seed(0)
    image = torch.randint(86, (64, 64, 3), dtype=torch.uint8)
    images = torch.stack([image, 3 * image, image.flip(0), torch.zeros_like(image)])
    encoder = ResNetEncoder(latent_dim=8, width=4, blocks=1, pixel_scale="image", initialization="pytorch").eval()
    dim, bright, other, empty = encoder(images)
    torch.testing.assert_close(dim, bright)
    torch.testing.assert_close(encoder(images[:1])[0], dim)
    for different in (other, empty):
        assert not torch.allclose(dim, different)
    encoder.pixel_scale = "fixed"
    dim, bright, _, same = encoder(images)
    assert not torch.allclose(dim, bright)
    torch.testing.assert_close(same, empty)


def test_the_largest_value_of_an_image_is_its_scale():
    """Of all its channels, so that its hue stays; what is black stays where black is put, alone in an image too."""
    seen = []
    encoder = ResNetEncoder(latent_dim=8, width=8, blocks=1, pixel_offset=-0.25, pixel_scale="image")
    encoder.stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    images[0, 5, 7] = torch.tensor([100, 50, 25])
    encoder(images)
    torch.testing.assert_close(seen[0][0, :, 5, 7], torch.tensor([0.75, 0.25, 0.0]))
    seen[0][0, :, 5, 7] = -0.25
    assert (seen[0] == -0.25).all()


@pytest.mark.parametrize(("kind", "axis"), [("layer", 1), ("batch", 0)])
def test_embeddings_are_normalised(kind, axis):
    torch.manual_seed(0)
    encoder = ResNetEncoder(latent_dim=32, width=8, blocks=1, normalization="batch", latent_normalization=kind).train()
    z = encoder(torch.randint(256, (64, 64, 64, 3), dtype=torch.uint8)).detach()
    torch.testing.assert_close(z.mean(axis), torch.zeros(z.shape[1 - axis]), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(axis, correction=0), torch.ones(z.shape[1 - axis]), atol=0.05, rtol=0)


def test_groups_are_normalised_by_themselves():
    torch.manual_seed(0)
    encoder = ResNetEncoder(latent_dim=8, width=16, blocks=1, normalization="group").train()
    images = torch.randint(256, (4, 64, 64, 3), dtype=torch.uint8)
    torch.testing.assert_close(encoder(images)[:1], encoder(images[:1]))  # whoever else is in the batch
    assert sum(isinstance(layer, nn.GroupNorm) for layer in encoder.modules()) == 9
