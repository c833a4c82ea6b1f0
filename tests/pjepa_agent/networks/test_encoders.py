"""Encoders of the user's: what is accepted, and what is refused in one line."""

import pytest
import torch
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.base import Spec
from pjepa_agent.networks.encoders import check_encoder, check_networks, make_encoder
from torch import nn

IMAGES, VECTORS = Spec((5, 6, 2), "uint8", 1), Spec((3,), "float32", 1)
D = 8


class Encoder(nn.Module):
    """A linear map of an observation, with something done to what it returns."""

    def __init__(self, spec, latent_dim=D, then=lambda module, z: z):
        super().__init__()
        size = torch.Size(spec.observation_shape).numel()
        self.linear, self.then = nn.Linear(size, latent_dim), then

    def forward(self, observations):
        return self.then(self, self.linear(observations.flatten(1).float() / 255))


def with_norm(spec):
    return nn.Sequential(Encoder(spec), nn.BatchNorm1d(D), nn.Dropout(0.5))


def always_training(spec):
    return Encoder(spec, then=lambda self, z: nn.functional.batch_norm(z, None, None, training=True))


def frozen(spec):
    return Encoder(spec).requires_grad_(False)


ACCEPTED = {"linear": Encoder, "batch normalisation and dropout": with_norm}

REFUSED = {
    "no parameters": (lambda spec: nn.Flatten(), "has no parameters to train"),
    "frozen": (frozen, "has no parameters to train"),
    "detached": (lambda spec: Encoder(spec, then=lambda m, z: z.detach()), "no gradient reaches its parameters"),
    "wrong width": (lambda spec: Encoder(spec, D + 1), r"returns \(4, 9\) float32 .*must return \(4, 8\)"),
    "a map": (lambda spec: Encoder(spec, then=lambda m, z: z[:, :, None]), r"returns \(4, 8, 1\) float32"),
    "whole numbers": (lambda spec: Encoder(spec, then=lambda m, z: z.long()), "returns .* int64"),
    "a tuple": (lambda spec: Encoder(spec, then=lambda m, z: (z, z)), "returns a tuple"),
    "NaN": (lambda spec: Encoder(spec, then=lambda m, z: z / 0 * 0), "returns NaN or infinity"),
    "NaN in gradients": (
        lambda spec: Encoder(spec, then=lambda m, z: (z - z).abs().sqrt()),
        "gradients are not finite",
    ),
    "statistics of the batch": (
        lambda spec: Encoder(spec, then=lambda m, z: z - z.mean(0)),
        "embeds an observation differently in another batch",
    ),
    "noise": (lambda spec: Encoder(spec, then=lambda m, z: z + torch.rand_like(z)), "differently in another batch"),
    "batch normalisation that is always in training mode": (always_training, "fails on a batch of one"),
    "another number of channels": (lambda spec: nn.Sequential(nn.Conv2d(9, D, 1)), "fails in training mode, given"),
    "no copy": (lambda spec: Uncopyable(spec), "cannot be copied"),
}


class Uncopyable(Encoder):
    def __deepcopy__(self, memo):
        raise TypeError("holds a\nlock")


@pytest.mark.parametrize("spec", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_can_be_trained_is_accepted_and_left_as_it_was(name, spec):
    module = ACCEPTED[name](spec)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    check_encoder(module, spec, D)
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("spec", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_in_one_line(name, spec):
    make, said = REFUSED[name]
    with pytest.raises(ConfigError, match=f"^encoder mine: .*{said}") as error:
        check_encoder(make(spec), spec, D, "mine")
    assert "\n" not in str(error.value)


def test_the_worlds_own_observations_are_tried():
    class Table(nn.Embedding):
        def forward(self, observations):
            return super().forward(observations[:, 0].long())

    spec = Spec((1,), "float32", 4)
    check_encoder(Table(16, D), spec, D, observations=torch.tensor([[3.0], [15.0]]))
    with pytest.raises(ConfigError, match="IndexError"):
        check_encoder(Table(10, D), spec, D, observations=torch.tensor([[3.0], [15.0]]))


def config_of(name):
    return make_config().override([f"network.encoder={name}", f"network.latent_dim={D}", "collection.environment=X-v0"])


def linear(spec, latent_dim):
    return Encoder(spec, latent_dim)


def lazy(spec, latent_dim):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(latent_dim))


def of_one_argument(spec):
    return Encoder(spec)


def nothing(spec, latent_dim):
    return None


def exits(spec, latent_dim):
    raise SystemExit("bye")


class Exits(Encoder):
    """Ends the program when it is called."""

    def forward(self, observations):
        raise SystemExit(0)


def test_a_named_encoder_is_called_with_spec_and_width():
    config = config_of(f"{__name__}:lazy")
    check_networks(config, VECTORS)
    assert make_encoder(config, VECTORS)[1].weight.shape == (D, 3)
    with pytest.raises(ConfigError, match=r"raised TypeError.*called with the spec and latent_dim"):
        check_networks(config_of(f"{__name__}:of_one_argument"), VECTORS)
    with pytest.raises(ConfigError, match=r"returned a NoneType, must return a torch.nn.Module"):
        check_networks(config_of(f"{__name__}:nothing"), VECTORS)
    with pytest.raises(ConfigError, match=r"exits: raised SystemExit: bye"):
        check_networks(config_of(f"{__name__}:exits"), VECTORS)
    with pytest.raises(ConfigError, match=r"Exits: fails .*: SystemExit: 0"):
        check_networks(config_of(f"{__name__}:Exits"), VECTORS)


def test_checking_an_encoder_draws_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    check_networks(config_of(f"{__name__}:linear"), IMAGES)
    assert torch.equal(torch.rand(1), expected)


def test_control_heads_need_continuous_actions_between_bounds():
    config = make_config().override(["network.control_heads=true"])
    check_networks(config, IMAGES)  # the counting world
    other = config.override(["collection.environment=X-v0"])
    check_networks(other, Spec((3,), "float32", 1, (-2.0,), (2.0,)))
    with pytest.raises(ConfigError, match=r"network.control_heads=True: .*set network.control_heads=false"):
        check_networks(other, IMAGES)
