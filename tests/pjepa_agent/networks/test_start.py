"""The start of an encoder without normalisation: centred kernels, outputs of unit deviation."""

import numpy as np
import pytest
import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import make_config
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.networks.start import begin
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer
from support.trainings import tiny
from torch import nn

CPU = torch.device("cpu")
STARTS = ["centred", "scaled", "centred-scaled"]


@pytest.fixture
def images():
    return torch.from_numpy(np.asarray(collect_dataset(tiny()).observation))[:96]


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ResNetEncoder(latent_dim=16, width=8, blocks=2)


def seen(encoder, images):
    """What each convolution is given, and what it answers."""
    found = {}

    def keep(layer, given, answer):
        found[layer] = given[0].clone(), answer.clone()  # what follows rectifies in place

    hooks = [each.register_forward_hook(keep) for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    with torch.no_grad():
        embedding = encoder(images)
    for hook in hooks:
        hook.remove()
    return found, embedding


@pytest.mark.parametrize("start", STARTS)
def test_embeddings_begin_around_0_with_a_deviation_of_1_and_the_architecture_stays(encoder, images, start):
    shapes = {name: value.shape for name, value in encoder.state_dict().items()}
    begin(encoder, images, start)
    _, embedding = seen(encoder, images)
    torch.testing.assert_close(embedding.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    assert float(embedding.std(0).mean()) == pytest.approx(1, abs=1e-4)
    assert {name: value.shape for name, value in encoder.state_dict().items()} == shapes


@pytest.mark.parametrize("start", ["centred", "centred-scaled"])
def test_what_all_places_share_is_answered_with_0(encoder, images, start):
    begin(encoder, images, start)
    found, _ = seen(encoder, images)
    assert len(found) == 1 + 4 * 2 * 2 + 3
    for layer, (given, _) in found.items():
        side = layer.kernel_size[0]
        everywhere = given.mean((0, 2, 3), keepdim=True).expand(1, -1, side, side)
        answer = nn.functional.conv2d(everywhere, layer.weight)
        scale = everywhere.norm() * layer.weight.detach().norm()
        assert float(answer.abs().max()) < 1e-5 * float(scale)


@pytest.mark.parametrize("start", ["scaled", "centred-scaled"])
def test_outputs_of_every_convolution_have_a_deviation_of_1(encoder, images, start):
    begin(encoder, images, start)
    found, _ = seen(encoder, images)
    for _, answer in found.values():
        assert float(answer.std((0, 2, 3)).mean()) == pytest.approx(1, abs=1e-3)


def test_centred_kernels_keep_their_norms(encoder, images):
    before = [each.weight.flatten(1).norm(dim=1) for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    begin(encoder, images, "centred")
    after = [each.weight.flatten(1).norm(dim=1) for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)


def test_an_encoder_as_drawn_is_left_alone_and_images_without_differences_leave_it_finite(encoder, images):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    begin(encoder, images, "drawn")
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    begin(encoder, torch.zeros_like(images), "centred-scaled")
    assert all(float(value.abs().max()) < 1e3 for value in encoder.state_dict().values())


def unnormalized(*more):
    return tiny().override(["network.normalization=none", "ablation.start=centred-scaled", *more])


def test_a_run_begins_so_and_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    config = unnormalized()
    begun = Trainer(config, RunDirectory.create(tmp_path / "begun", config), collect_dataset(config), CPU).model
    images = np.asarray(collect_dataset(config).observation)
    assert float(begun.encode(images).std(0).mean()) == pytest.approx(1, abs=0.2)  # of about the same images
    assert float(PJEPA.untrained(config).encode(images).std(0).mean()) < 0.1
    left, run = (RunDirectory.create(tmp_path / name, config) for name in ("left", "run"))
    train_run(left, config, CPU)
    calls = []
    with pytest.raises(Interrupted):
        train_run(run, config, CPU, should_stop=lambda: calls.append(1) or len(calls) == 2)
    train_run(run, config, CPU)
    for name in ("transitions.npz", "representation.npz"):
        assert (left.path / name).read_bytes() == (run.path / name).read_bytes()


def test_where_it_does_not_apply_is_said_before_training():
    with pytest.raises(ConfigError, match=r"ablation.start='centred': is for the encoder of images without norm"):
        tiny().override(["ablation.start=centred"])
    config = make_config(environment="CartPole-v1").override(
        ["collection.observation=vector", "network.normalization=none", "ablation.start=scaled"]
    )
    with pytest.raises(ConfigError, match=r"ablation.start='scaled': is for images, and this world"):
        prepare(config)
