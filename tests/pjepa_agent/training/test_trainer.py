"""The loop: every setting changes the training, an interruption does not."""

import contextlib

import pytest
import torch
from pjepa_agent import load
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer
from support.configs import with_sections

CPU = torch.device("cpu")


def kept(run):
    return torch.load(run.checkpoint, weights_only=True)


@pytest.mark.parametrize(
    "sections",
    [
        {"optimization": {"averaging_age": 0.2}, "evaluation": {"batch_norm_samples": 50}},
        {
            "ablation": {"weight_decay": 0.1},
            "objective": {"latent_noise": 0.5, "auxiliary_of_successors": False},
            "evaluation": {"batch_norm_samples": 50},
        },
        {"objective": {"regularizer": "sigreg", "horizon": 3}},
        {"objective": {"regularizer": "vicreg"}},
    ],
)
def test_an_interrupted_run_ends_like_one_left_alone(tiny, tmp_path, sections):
    config = with_sections(tiny(), **sections)
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
        ("objective", {"latent_noise": 0.5}),
        ("objective", {"horizon": 2}),
        ("objective", {"auxiliary_of_successors": False}),
        ("objective", {"regularizer": "sigreg"}),
        ("network", {"normalization": "group"}),
        ("ablation", {"convolution_gain": 1.0}),
        ("ablation", {"pixel_offset": 0.0}),
        ("ablation", {"pixel_scale": "image"}),
        ("network", {"latent_normalization": "layer"}),
    ],
)
def test_every_setting_changes_the_training(tiny, tmp_path, section, values):
    weights = []
    for name, config in (("without", tiny()), ("with", with_sections(tiny(), **{section: values}))):
        run = RunDirectory.create(tmp_path / name, config)
        Trainer(config, run, collect_dataset(config), CPU).train()
        weights.append(load(run.path).encoder.proj.weight.detach())
    assert not torch.allclose(*weights)


def test_the_transition_loss_comes_in_step_by_step(tiny, tmp_path, monkeypatch):
    config = with_sections(tiny(updates=6), objective={"transition_warmup": 2 / 3, "transition_weight": 0.8})
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
