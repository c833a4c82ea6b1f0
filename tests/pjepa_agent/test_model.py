"""The model: its size, how it starts, and its functions of arrays."""

import dataclasses

import numpy as np
import pytest
import torch
from pjepa_agent.config.presets import make_config
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
