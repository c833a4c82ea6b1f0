"""How the encoder starts, what it makes of pixels, and how it normalises."""

import math

import pytest
import torch
from pjepa_agent.networks.encoder import Convolution, ResNetEncoder
from torch import nn


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


@pytest.mark.parametrize("stride", [1, 2])
def test_a_map_of_one_pixel_is_convolved_as_by_pytorch(stride):
    layer = Convolution(8, 16, stride).double()
    maps = torch.randn(5, 8, 1, 1, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.conv2d(maps, layer.weight, None, stride, 1)
    torch.testing.assert_close(layer(maps), expected)
    wanted = torch.autograd.grad(expected.square().sum(), (maps, layer.weight))
    torch.testing.assert_close(torch.autograd.grad(layer(maps).square().sum(), (maps, layer.weight)), wanted)
