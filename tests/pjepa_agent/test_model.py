"""The model: its size, how it starts, and its functions of arrays."""

import dataclasses

import numpy as np
import pytest
import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.base import Spec
from pjepa_agent.model import PJEPA
from support.models import count_parameters, parts_of, with_all_parts

PAPERS_PARAMETERS = {
    "encoder": 12_260_192, "dynamics": 264_448, "head": 448_101, "reward": 448_613, "q": 448_613,
    "termination": 396_801, "policy": 397_314, "decoder": 202_883,
}  # fmt: skip


def test_parameter_counts_are_the_papers_to_the_last_digit():
    model = PJEPA(make_config("paper"))
    assert {name: count_parameters(part) for name, part in parts_of(model).items()} == PAPERS_PARAMETERS
    assert count_parameters(model) == sum(PAPERS_PARAMETERS.values()) == 14_866_965
    laptop = PJEPA(make_config())
    assert laptop.readouts.parts == {}
    assert count_parameters(laptop) == count_parameters(laptop.core)


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


def test_the_core_starts_alike_whatever_the_readouts(tiny):
    def start(config):
        torch.manual_seed(3)
        return PJEPA(config), torch.rand(1)

    (plain, after), (more, after_more) = start(tiny()), start(with_all_parts(tiny()))
    assert all(torch.equal(value, more.state_dict()[name]) for name, value in plain.state_dict().items())
    assert torch.equal(after, after_more)
    other = PJEPA(dataclasses.replace(with_all_parts(tiny()), seed=1))
    assert not torch.equal(other.decoder.proj.weight, more.decoder.proj.weight)


def test_a_decoder_gives_images(tiny):
    config = with_all_parts(tiny())
    model = PJEPA(config)
    images = model.decode(torch.randn(3, 16))
    assert images.shape == (3, 64, 64, 3)
    assert images.dtype == torch.uint8
    with pytest.raises(ValueError, match="has no decoder"):
        PJEPA(tiny()).decode(torch.randn(3, 16))


def test_encode_takes_arrays_and_tensors_and_leaves_the_model_as_it_was(tiny):
    model = PJEPA(tiny()).train()
    images = np.random.default_rng(0).integers(256, size=(3, 64, 64, 3)).astype(np.uint8)
    z = model.encode(images)
    assert z.shape == (3, 16)
    assert not z.requires_grad
    assert model.training
    torch.testing.assert_close(z, model.encode(torch.from_numpy(images)))
    assert model.auxiliary(z).shape == (3,)
    assert model.predict(z, np.zeros((3, 1))).shape == (3, 16)
    for wrong in (images.astype(float), images[0], images.transpose(0, 3, 1, 2)):
        with pytest.raises(ValueError, match="images must be"):
            model.encode(wrong)


def test_a_rollout_applies_the_dynamics_along_the_actions(tiny):
    model = PJEPA(tiny()).eval()
    embedding, actions = torch.randn(3, 16), torch.rand(3, 4, 1)
    predicted = model.rollout(embedding, actions)
    assert predicted.shape == (3, 4, 16)
    for step in range(4):
        embedding = model.transition(embedding, actions[:, step])
        torch.testing.assert_close(predicted[:, step], embedding)


def test_functions_of_arrays_are_those_of_the_model(tiny):
    model = PJEPA(tiny())
    images = np.random.default_rng(0).integers(256, size=(3, 64, 64, 3)).astype(np.uint8)
    functions = model.as_arrays()
    z = functions.encode(images)
    np.testing.assert_array_equal(z, model.encode(images))
    np.testing.assert_array_equal(functions.predict(z, np.ones((3, 1))), model.predict(z, np.ones((3, 1))))
    np.testing.assert_array_equal(functions.auxiliary(z), model.auxiliary(z))


def of_world(spec, *overrides):
    config = make_config().override(
        ["collection.environment=X-v0", "network.latent_dim=8", "network.width=4", "network.hidden_dim=16", *overrides]
    )
    torch.manual_seed(0)
    return PJEPA(config, spec)


@pytest.mark.parametrize("shape", [(7, 7, 1), (40, 56, 12)])
def test_a_model_takes_the_images_of_its_world_and_no_others(shape):
    model = of_world(Spec(shape, "uint8", 3), "network.decoder=true")
    images = np.random.default_rng(0).integers(256, size=(3, *shape)).astype(np.uint8)
    z = model.encode(images)
    assert z.shape == (3, 8)
    assert model.decode(z).shape == images.shape
    assert model.predict(z, np.eye(3)).shape == (3, 8)
    wrong = [images.astype(np.float32), images[0], images[:, :-1], images[..., :-1], np.zeros((3, 5), np.float32)]
    for each in wrong:
        with pytest.raises(ValueError, match=r"^images must be \(B, \d+, \d+, \d+\) uint8, are ") as error:
            model.encode(each)
        assert "\n" not in str(error.value)


def test_a_model_takes_the_vectors_of_its_world_and_no_others():
    model = of_world(Spec((3,), "float32", 1), "network.decoder=true")
    vectors = np.random.default_rng(0).normal([10, 0, -5], [1, 100, 0.01], (50, 3)).astype(np.float32)
    model.standardize(torch.from_numpy(vectors))
    z = model.encode(vectors)
    assert z.shape == (50, 8)
    torch.testing.assert_close(model.encode(vectors.astype(np.float64)), z)
    assert model.decode(z).dtype == torch.float32
    assert model.decode(z).shape == vectors.shape
    other = of_world(Spec((3,), "float32", 1), "network.decoder=true")
    other.load_state_dict(model.state_dict())  # the statistics are in it
    assert torch.equal(other.encode(vectors), z)
    for wrong in (vectors[0], vectors[:, :2], vectors.astype(np.int64), np.zeros((1, 7, 7, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"^vectors must be \(B, 3\) float32, are "):
            model.encode(wrong)


def test_actions_in_the_units_of_the_data_are_scaled_once():
    bounded = of_world(Spec((3,), "float32", 2, (-2.0, 0.0), (2.0, 10.0)), "network.control_heads=true")
    plain = of_world(Spec((3,), "float32", 2), "network.control_heads=true")
    plain.load_state_dict(bounded.state_dict())  # bounds are in the spec alone
    z, actions = torch.randn(4, 8), torch.rand(4, 2) * torch.tensor([4.0, 10.0]) - torch.tensor([2.0, 0.0])
    scaled = actions / torch.tensor([2.0, 5.0]) - torch.tensor([0.0, 1.0])
    expected = plain.predict(z, scaled)
    torch.testing.assert_close(bounded.predict(z, actions), expected)
    torch.testing.assert_close(bounded.core.transition(z, actions), expected)
    torch.testing.assert_close(bounded.rollout(z, actions[:, None])[:, 0], expected)
    torch.testing.assert_close(bounded.control.scaled(actions), scaled)


def test_a_model_can_be_given_its_encoder():
    encoder = torch.nn.Sequential(torch.nn.Linear(3, 8))
    config = make_config().override(["network.latent_dim=8"])
    model = PJEPA(config, Spec((3,), "float32", 2), encoder)
    assert model.encoder is encoder
    vectors = torch.randn(5, 3)
    torch.testing.assert_close(model.encode(vectors), encoder(vectors).detach())
