"""Networks for observations and actions of any shape."""

import pytest
import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.base import Spec
from pjepa_agent.networks.actions import ScaledActions
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder, VectorDecoder, make_decoder
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.networks.encoders import make_encoder
from pjepa_agent.networks.vector_encoder import Standardization, VectorEncoder
from support.models import count_parameters
from torch import nn

IMAGES = [
    (1, 1, 1),
    (2, 9, 3),
    (3, 3, 12),
    (7, 7, 3),
    (7, 11, 2),
    (40, 40, 3),
    (64, 64, 12),
    (84, 84, 4),
    (210, 160, 3),
]


def small(stem="strided", **network):
    sizes = {"latent_dim": 9, "width": 4, "hidden_dim": 16, "stem": stem} | network
    return make_config().override([f"network.{name}={value}" for name, value in sizes.items()])


def random_images(shape, count=3):
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stem", ["strided", "pooled"])
@pytest.mark.parametrize("shape", IMAGES)
def test_images_of_any_size_and_channels_are_encoded(shape, stem):
    torch.manual_seed(0)
    encoder = make_encoder(small(stem), Spec(shape, "uint8", 1)).train()
    embedding = encoder(random_images(shape))
    assert embedding.shape == (3, 9)
    embedding.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("stem", ["strided", "pooled"])
@pytest.mark.parametrize("side", range(1, 14))
def test_every_pixel_is_seen(side, stem):
    """Or observations that differ in it alone would have one embedding, whatever is trained."""
    torch.manual_seed(0)
    encoder = ResNetEncoder(8, 8, 1, "none", "pytorch", stem=stem, image_channels=1).double().eval()
    black = torch.zeros(1, side, side, 1)
    for row, column in [(0, 0), (0, side - 1), (side - 1, 0), (side - 1, side - 1), (side // 2, side // 2)]:
        one = black.clone()
        one[0, row, column] = 255
        assert not torch.equal(encoder(one), encoder(black)), (row, column)


def test_a_vector_is_encoded_by_its_deviations_from_the_training_data():
    torch.manual_seed(0)
    vectors = torch.randn(500, 3) * torch.tensor([1e-3, 1.0, 1e4]) + torch.tensor([5.0, 0.0, -1e5])
    encoder = make_encoder(small(), Spec((3,), "float32", 1))
    assert isinstance(encoder, VectorEncoder)
    encoder.standardization.fit(vectors)
    standard = encoder.standardization(vectors)
    torch.testing.assert_close(standard.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.std(0), torch.ones(3), atol=1e-2, rtol=0)
    torch.testing.assert_close(encoder.standardization.inverse(standard), vectors)
    # The same whatever the batch, in training mode too, and after a round through the state dictionary.
    other = make_encoder(small(), Spec((3,), "float32", 1))
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other.train()(vectors[:1]), encoder.eval()(vectors)[:1])


def test_a_constant_component_stays_finite():
    standardization = Standardization(3)
    standardization.fit(torch.tensor([[1e30, 0.1, 3.0], [1e30, 0.1, 4.0], [1e30, 0.1, 8.0]]))
    standard = standardization(torch.tensor([[1e30, 0.1, 5.0], [1e30, 1.1, 5.0]]))
    torch.testing.assert_close(standard[:, 1:], torch.tensor([[0.0, 0.0], [1.0, 0.0]]), atol=1e-5, rtol=0)
    assert standard.isfinite().all()


def test_a_vector_of_one_number_keeps_its_size():
    torch.manual_seed(0)
    embedding = VectorEncoder(1, 8, 64, "truncated-normal")(torch.tensor([[1.0], [2.0], [3.0]]))
    distances = torch.cdist(embedding, embedding)
    assert distances[0, 2] > 1.5 * distances[0, 1] > 0


@pytest.mark.parametrize("shape", [*IMAGES, (300, 20, 3)])
def test_a_decoder_has_the_shape_of_the_images(shape):
    decoder = make_decoder(small(), shape)
    decoded = decoder(torch.randn(2, 9, requires_grad=True))
    assert decoded.shape == (2, *shape)
    images = random_images(shape)
    assert torch.equal(decoder.observations(decoder.targets(images)), images)
    decoded.square().sum().backward()
    assert all(p.grad.abs().max() > 0 for name, p in decoder.named_parameters() if name.endswith("weight"))


def test_the_papers_images_have_the_papers_decoder():
    torch.manual_seed(0)
    linear = nn.Linear(256, 512)
    layers = [
        nn.ConvTranspose2d(32, 32, 3, 1, 1),
        nn.ConvTranspose2d(32, 32, 3, 2, 1, 1),
        nn.ConvTranspose2d(32, 32, 5, 2, 2, 1),
        nn.ConvTranspose2d(32, 32, 5, 2, 2, 1),
        nn.ConvTranspose2d(32, 3, 4, 2, 1),
    ]
    torch.manual_seed(0)
    made = make_decoder(make_config(), (64, 64, 3))
    assert count_parameters(made) == 202_883
    z = torch.randn(2, 256)
    features = linear(z).relu().view(-1, 32, 4, 4)
    for layer in layers[:-1]:
        features = layer(features).relu()
    torch.testing.assert_close(made(z), layers[-1](features).tanh().permute(0, 2, 3, 1))


def test_large_images_have_decoders_of_a_bearable_size():
    assert count_parameters(Decoder(256, shape=(1000, 1400, 3))) < 3_000_000


def test_a_vector_is_decoded_in_the_units_of_the_data():
    decoder = make_decoder(small(), (2,))
    assert isinstance(decoder, VectorDecoder)
    vectors = torch.tensor([[1.0, 100.0], [2.0, 300.0], [4.0, 200.0]])
    decoder.standardization.fit(vectors)
    torch.testing.assert_close(decoder.observations(decoder.targets(vectors)), vectors)
    assert decoder(torch.randn(5, 9)).shape == (5, 2)


def test_actions_are_scaled_from_their_bounds():
    scaling = ScaledActions((-2.0, 0.0, 3.0), (2.0, 10.0, 3.0))
    actions = torch.tensor([[-2.0, 0.0, 3.0], [2.0, 10.0, 3.0], [1.0, 5.0, 3.0]])
    torch.testing.assert_close(scaling.scaled(actions), torch.tensor([[-1.0, -1, 0], [1, 1, 0], [0.5, 0, 0]]))
    assert scaling.state_dict() == {}
    assert ScaledActions().scaled(actions) is actions
    heads = ControlHeads(small().network, 1, (-2.0,), (2.0,))
    torch.testing.assert_close(heads.scaled(torch.tensor([[2.0]])), torch.tensor([[1.0]]))
