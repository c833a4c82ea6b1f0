"""The encoder that a configuration names: of images, of vectors, or one of the user's."""

import contextlib
import copy
import dataclasses
from collections.abc import Callable

import torch
from bisim_theory.data.imported import describe_error
from torch import Tensor, nn

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.imports import import_function
from pjepa_agent.config.schema import GIVEN, Config, NetworkConfig
from pjepa_agent.envs.base import Spec
from pjepa_agent.networks.encoder import ResNetEncoder, latent_norm
from pjepa_agent.networks.vector_encoder import VectorEncoder

CHECKED_ROWS = 4
"""Observations on which an encoder of the user's is tried."""

TOLERANCE = 1e-3
"""Largest difference of one observation's embeddings in two batches, relative to the largest component."""


EncoderFactory = Callable[[Spec, int], nn.Module]
"""Makes an encoder for the shapes of a world and the width of an embedding."""


def find_encoder(encoder: nn.Module | EncoderFactory | str) -> tuple[str, EncoderFactory | None]:
    """Return how a configuration names an encoder, and what makes it where that name does not lead to it.

    Args:
        encoder: a module, of which copies are trained; a function or class of the user's; or ``module:function``.
    """
    if isinstance(encoder, str):
        return encoder, None
    if isinstance(encoder, nn.Module):
        return GIVEN, lambda spec, latent_dim: copy.deepcopy(encoder)
    name = _name_of(encoder)
    return (GIVEN, encoder) if name is None else (name, None)


def _name_of(function: EncoderFactory) -> str | None:
    """Return ``module:function`` if that leads to the function from another process, else None."""
    module, attribute = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not attribute or module == "__main__":
        return None
    name = f"{module}:{attribute}"
    try:
        return name if import_function(name, "encoder") is function else None
    except ConfigError:
        return None


def make_encoder(config: Config, spec: Spec, given: EncoderFactory | None = None) -> nn.Module:
    """Make E: a residual network for images, a multilayer perceptron for vectors, or the user's.

    ``network.encoder=module:function`` is called as ``function(spec, latent_dim)`` and returns a module from
    observations as the data has them, (B, H, W, C) uint8 or (B, k) float32, to embeddings (B, latent_dim).

    Args:
        config: of the run; `network`, `compute` and `ablation` are used.
        spec: shape of an observation.
        given: makes it in place of what the configuration names.

    Raises:
        ConfigError: the function cannot be imported, fails, or returns no module; or no name leads to it, and it is not
            given.
    """
    network, ablation = config.network, config.ablation
    if given is not None:
        return standardized(_users_encoder(given, "given", spec, network.latent_dim), network)
    if network.encoder == GIVEN:
        raise ConfigError(
            "network.encoder: was given as an object, which cannot be found again by a name; give it once more, to "
            "load(RUN, encoder=...) to use the model, or to fit(..., encoder=..., run=RUN) to train on"
        )
    if network.encoder != "auto":
        function = import_function(network.encoder, "encoder")
        return standardized(_users_encoder(function, network.encoder, spec, network.latent_dim), network)
    if not spec.images:
        return VectorEncoder(
            spec.observation_shape[0],
            network.latent_dim,
            network.hidden_dim,
            network.initialization,
            network.latent_normalization,
        )
    return ResNetEncoder(
        network.latent_dim,
        network.width,
        network.blocks,
        network.normalization,
        network.initialization,
        ablation.convolution_gain,
        ablation.pixel_offset,
        ablation.pixel_scale,
        network.latent_normalization,
        network.stem,
        config.compute.fast_paths,
        spec.observation_shape[2],
    )


def standardized(encoder: nn.Module, network: NetworkConfig) -> nn.Module:
    """Append the configured normalisation of embeddings to an encoder of the user's."""
    if network.latent_normalization == "none":
        return encoder
    return nn.Sequential(encoder, latent_norm(network.latent_normalization, network.latent_dim))


def _users_encoder(function: EncoderFactory, name: str, spec: Spec, latent_dim: int) -> nn.Module:
    try:
        module = function(spec, latent_dim)
    except (Exception, SystemExit) as error:  # a function of the user's can raise anything
        raise ConfigError(
            f"encoder {name}: raised {describe_error(error)}; it is called with the spec and latent_dim"
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"encoder {name}: returned a {type(module).__name__}, must return a torch.nn.Module")
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in module.parameters()):
        with torch.no_grad():  # lazy layers take their shapes from the first batch
            _apply(module, _observations(spec), name)
    return module


def find_width(make: EncoderFactory, spec: Spec, latent_dim: int) -> int:
    """Return the width of the embeddings of an encoder, or the configured one where it cannot be told.

    Args:
        make: makes the encoder.
        spec: shape of an observation.
        latent_dim: the configured width.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad(), contextlib.suppress(ConfigError):
        module = _users_encoder(make, "given", spec, latent_dim).eval()
        embedding = _apply(module, _observations(spec), "given")
        if isinstance(embedding, Tensor) and embedding.ndim == 2 and embedding.shape[1] > 1:
            return int(embedding.shape[1])
    return latent_dim


def check_encoder(
    module: nn.Module, spec: Spec, latent_dim: int, name: str = "given", observations: Tensor | None = None
) -> None:
    """Check that a module can be trained as E. The module is left as it was, but for statistics of batches.

    Args:
        module: the encoder.
        spec: shape of an observation.
        latent_dim: size of an embedding.
        name: of the encoder, for messages.
        observations: (B, ...) at least two to try it on, as the data has them; None makes some up.

    Raises:
        ConfigError: it has nothing to train, cannot be copied, fails on a batch or on a single observation, returns a
            wrong shape or type, NaN or infinity, or embeds an observation differently in another batch.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError(f"encoder {name}: has no parameters to train; return a module that has some")
    try:
        trial = copy.deepcopy(module)
    except Exception as error:
        raise ConfigError(
            f"encoder {name}: cannot be copied, as averaged weights need it ({describe_error(error)})"
        ) from error
    observations = _observations(spec) if observations is None else observations[:CHECKED_ROWS]
    _check_gradient(_checked(trial.train(), observations, latent_dim, name, "in training mode"), trial, name)
    trial.eval()
    with torch.no_grad():
        together = _checked(trial, observations, latent_dim, name, "in evaluation mode")
        alone = [_checked(trial, row, latent_dim, name, "on a batch of one") for row in observations.split(1)]
    difference = (torch.cat(alone).double() - together.double()).abs().amax()
    if difference > TOLERANCE * together.double().abs().amax():
        raise ConfigError(
            f"encoder {name}: embeds an observation differently in another batch, by {float(difference):.2g}, in "
            "evaluation mode; use no statistics of the batch and no random numbers there"
        )


def _check_gradient(embedding: Tensor, module: nn.Module, name: str) -> None:
    """Raise `ConfigError` unless a gradient reaches a parameter of the module, and all gradients are finite."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients: tuple[Tensor | None, ...] = (None,)
    if embedding.requires_grad:
        gradients = torch.autograd.grad(embedding.float().square().sum(), parameters, allow_unused=True)
    found = [gradient for gradient in gradients if gradient is not None]
    if not found:
        raise ConfigError(f"encoder {name}: no gradient reaches its parameters; detach nothing and use no no_grad")
    if not all(gradient.isfinite().all() for gradient in found):
        raise ConfigError(f"encoder {name}: its gradients are not finite")


def _checked(module: nn.Module, observations: Tensor, latent_dim: int, name: str, when: str) -> Tensor:
    """Return the embeddings of observations; raise `ConfigError` unless they are finite (B, latent_dim) floats."""
    embedding = _apply(module, observations, name, when)
    wanted = f"({len(observations)}, {latent_dim}) floating-point numbers"
    if not isinstance(embedding, Tensor):
        raise ConfigError(f"encoder {name}: returns a {type(embedding).__name__}, must return a tensor of {wanted}")
    if embedding.shape != (len(observations), latent_dim) or not embedding.is_floating_point():
        kind = str(embedding.dtype).removeprefix("torch.")
        raise ConfigError(
            f"encoder {name}: returns {tuple(embedding.shape)} {kind} {when}, must return {wanted}; its width is "
            f"network.latent_dim={latent_dim}"
        )
    if not embedding.isfinite().all():
        raise ConfigError(f"encoder {name}: returns NaN or infinity {when}")
    return embedding


def _apply(module: nn.Module, observations: Tensor, name: str, when: str = "on its first batch") -> Tensor:
    try:
        embedding: Tensor = module(observations)
    except (Exception, SystemExit) as error:  # a module of the user's can raise anything
        given = f"{tuple(observations.shape)} {str(observations.dtype).removeprefix('torch.')}"
        raise ConfigError(f"encoder {name}: fails {when}, given {given}: {describe_error(error)}") from error
    return embedding


def _observations(spec: Spec) -> Tensor:
    """Make observations that fit a spec, the first all zero, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    shape = (CHECKED_ROWS, *spec.observation_shape)
    if spec.images:
        observations = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    else:
        observations = torch.rand(shape, generator=generator)
    observations[0] = 0
    return observations


def check_networks(
    config: Config, spec: Spec, observations: Tensor | None = None, given: EncoderFactory | None = None
) -> None:
    """Check that the configured networks can be made for a world, before anything is written.

    Args:
        config: of the run.
        spec: shapes of the world.
        observations: (B, ...) at least two of the world's, see `check_encoder`.
        given: makes the encoder, see `make_encoder`.

    Raises:
        ConfigError: the encoder cannot be used (`check_encoder`), or the control heads do not fit the actions.
    """
    if config.network.control_heads and not config.counting and spec.action_low is None:
        raise ConfigError(
            "network.control_heads=True: their policy needs continuous actions between bounds, which this world does "
            "not have; set network.control_heads=false"
        )
    if config.ablation.start != "drawn" and not spec.images:
        raise ConfigError(f"ablation.start={config.ablation.start!r}: is for images, and this world is seen in vectors")
    if config.network.encoder != "auto":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            bare = dataclasses.replace(config.network, latent_normalization="none")
            encoder = make_encoder(dataclasses.replace(config, network=bare), spec, given)
            name = config.network.encoder if given is None else "given"
            check_encoder(encoder, spec, config.network.latent_dim, name, observations)
