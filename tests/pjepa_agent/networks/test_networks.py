import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.networks.heads import TwoHotHead
from pjepa_agent.networks.mlp import mlp
from torch import nn


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_papers():
    assert parameters(ResNetEncoder()) == 12_260_192
    assert parameters(mlp(257, 512, 2, 256)) == 264_448
    assert parameters(TwoHotHead(256, 512, 101)) == 448_101


def test_the_papers_encoder_has_69_layers():
    layers = [m for m in ResNetEncoder().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 69


def test_largest_first_then_rectified_is_the_papers_stem():
    """Values and gradients to the bit, of numbers with many ties too."""
    torch.manual_seed(0)
    stem = ResNetEncoder(8, width=8, blocks=1).stem
    assert [type(layer) for layer in stem] == [nn.Conv2d, nn.Identity, nn.MaxPool2d, nn.ReLU]
    for numbers in (torch.randn(4, 8, 16, 16), torch.randint(-2, 3, (4, 8, 16, 16)).float()):
        gradients = []
        for order in ((2, 3), (3, 2)):
            given = numbers.clone().requires_grad_()
            result = stem[order[1]](stem[order[0]](given * 1))
            (result * torch.arange(result.numel()).view_as(result)).sum().backward()
            gradients.append((result, given.grad))
        assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))


@pytest.mark.parametrize("stem", ["pooled", "strided"])
def test_a_stem_quarters_the_image_and_sees_all_of_it(stem):
    layers = ResNetEncoder(8, width=8, blocks=1, normalization="batch", stem=stem).stem
    pixels = torch.randn(2, 3, 64, 64, requires_grad=True)
    features = layers(pixels)
    assert features.shape == (2, 8, 16, 16)
    features.square().sum().backward()
    assert (pixels.grad != 0).any(1).all()


def test_presets_have_their_stems():
    assert PJEPA(make_config()).encoder.stem[0].stride == (4, 4)
    assert PJEPA(make_config("paper").override(["network.blocks=1"])).encoder.stem[0].stride == (2, 2)


def test_gradients_of_narrow_networks_stay_within_their_memory():
    """In a process of its own, which memory that was written over ends."""
    code = """
import torch
from pjepa_agent.networks.encoder import ResNetEncoder
torch.set_num_threads(1)
for width in (2, 4, 6, 8, 12):
    encoder = ResNetEncoder(16, width, 1, "batch", stem="strided" if width % 4 else "pooled")
    for _ in range(4):
        encoder(torch.randint(256, (32, 64, 64, 3), dtype=torch.uint8)).square().sum().backward()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("width", [4, 8])
def test_images_stay_as_they_are(width):
    images = torch.full((2, 64, 64, 3), 255.0)
    ResNetEncoder(8, width, blocks=1)(images)
    assert (images == 255).all()


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_encoder_maps_images_to_embeddings_one_by_one(normalization):
    torch.manual_seed(0)
    encoder = ResNetEncoder(32, width=4, blocks=1, normalization=normalization).eval()
    images = torch.randint(256, (6, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(image[None]) for image in images])
    assert together.shape == (6, 32)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert (together[0] - together[1]).norm() > 0


def test_encoder_reads_the_colour_channels_from_the_last_axis():
    torch.manual_seed(0)
    encoder = ResNetEncoder(8, width=4, blocks=1).eval()
    images = torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8)
    pixels = images.permute(0, 3, 1, 2).contiguous().float() / 255 - 0.5
    expected = encoder.proj(nn.functional.adaptive_avg_pool2d(encoder.stages(encoder.stem(pixels)), 1)[..., 0, 0])
    torch.testing.assert_close(encoder(images), expected)


def test_linear_layers_start_as_in_the_authors_code():
    torch.manual_seed(0)
    network = mlp(256, 512, 3, 101, zero_last=True)
    assert network[0][0].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert network[0][0].bias.abs().max() == 0
    assert network[-1].weight.abs().max() == 0


def test_two_hot_loss_is_zero_for_a_perfect_head_and_has_the_cross_entropys_gradient():
    head = TwoHotHead(4, 8, 101)
    target = torch.tensor([0.0, 1.0, -3.0])
    symlog = torch.sign(target) * torch.log1p(target.abs())
    step = 20 / 100
    below = torch.floor((symlog + 10) / step).long()
    weight = (symlog + 10) / step - below
    code = torch.zeros(3, 101)
    code[torch.arange(3), below], code[torch.arange(3), below + 1] = 1 - weight, weight

    perfect = torch.log(code.clamp_min(1e-30))
    assert head.loss(perfect, target).item() == pytest.approx(0, abs=1e-4)  # float32 bins against the plain ones
    assert head.decode(perfect).tolist() == pytest.approx(target.tolist(), abs=1e-4)

    logits = torch.randn(3, 101, requires_grad=True)
    (gradient,) = torch.autograd.grad(head.loss(logits, target), logits)
    torch.testing.assert_close(gradient, (logits.softmax(-1) - code) / 3, rtol=1e-3, atol=1e-6)


def random_projection(images, dim, seed):
    objective = ObjectiveConfig(auxiliary="random", auxiliary_dim=dim)
    return Auxiliary(dataclasses.replace(make_config(seed=seed), objective=objective))(images, {})


def test_random_projection_is_a_standardised_affine_map_fixed_by_its_seed():
    images = np.random.default_rng(0).integers(256, size=(40, 8, 8, 3)).astype(np.uint8)
    values = random_projection(images, 6, seed=1)
    assert values.shape == (40, 6)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(values, random_projection(images, 6, seed=1))
    assert abs(values - random_projection(images, 6, seed=2)).max() > 0.1
    # Affine: the value at a mean of two images is the mean of their values.
    even = images // 2 * 2
    mixed = np.concatenate([even, (even[:1] // 2 + even[1:2] // 2)])
    values = random_projection(mixed, 6, seed=1)
    np.testing.assert_allclose(values[-1], (values[0] + values[1]) / 2, atol=1e-4)
