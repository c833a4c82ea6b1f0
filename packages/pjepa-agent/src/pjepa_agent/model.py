"""P-JEPA: encoder E, latent dynamics T and auxiliary head P (paper Figure 1), with its readouts."""

import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from bisim_theory.data.action_codes import ActionCodes
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.counting import SPEC
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder, VectorDecoder, make_decoder
from pjepa_agent.networks.dynamics import LatentDynamics
from pjepa_agent.networks.encoder import Simplicial
from pjepa_agent.networks.encoders import EncoderFactory, make_encoder, standardized
from pjepa_agent.networks.heads import TwoHotHead, VectorHead, make_head
from pjepa_agent.networks.mlp import mlp
from pjepa_agent.networks.vector_encoder import Standardization

ROWS_AT_ONCE = 128
"""Rows per forward pass on arrays. The activations stay near the processor: a fifth faster than 512."""


class WorldModel(LatentDynamics):
    """Encoder E, dynamics T and auxiliary head P: what an objective trains.

    Args:
        encoder: E, images (B, H, W, C) uint8 or vectors (B, k) float32 -> embeddings (B, d).
        dynamics: T, embeddings joined with given actions (B, d + A) -> embeddings (B, d).
        head: P, embeddings (B, d) -> outputs, which `head.decode` turns into values of p.
        low, high, codes: what T is given for actions, see `GivenActions`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dynamics: nn.Module,
        head: nn.Module,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
        codes: ActionCodes | None = None,
    ) -> None:
        super().__init__(low, high, codes)
        self.encoder, self.dynamics = encoder, dynamics
        self.head = typing.cast("TwoHotHead | VectorHead", head)

    def transition(
        self, embedding: Float[Tensor, "batch latent"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, "batch latent"]:
        """Apply T once: embeddings (B, d) and actions (B, A) in the units of the data -> embeddings (B, d)."""
        predicted: Tensor = self.dynamics(self.with_action(embedding, action))
        return predicted

    def with_action(
        self, embedding: Float[Tensor, "*batch latent"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch features"]:
        """Join embeddings (..., d) and actions (..., A) in the units of the data, scaled or coded: what T is given."""
        return torch.cat([embedding, self.given(action).to(embedding.dtype)], -1)


class Absent(nn.Module):
    """Stand for E, T or P where an objective does not train it.

    Args:
        name: of the part.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, *_: Any) -> Any:
        """Refuse.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"{self.name} is no part of what this objective trains; name it in `trains`")


class Readouts(nn.Module):
    """Control heads, decoder, and T or P beside an objective without: read embeddings that they do not train.

    Args:
        control: reward, termination, Q and policy prior (paper Appendix D), or None.
        decoder: embeddings -> observations, or None.
        beside: T and P where they are readouts; None where neither is.
    """

    def __init__(
        self,
        control: ControlHeads | None,
        decoder: Decoder | VectorDecoder | None,
        beside: WorldModel | None = None,
    ) -> None:
        super().__init__()
        self.control, self.decoder, self.beside = control, decoder, beside

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The networks by name. The gradient of each is clipped by itself."""
        parts: dict[str, nn.Module] = {}
        if self.control is not None:
            parts |= {name: getattr(self.control, name) for name in ("reward", "termination", "q", "policy")}
        if self.decoder is not None:
            parts["decoder"] = self.decoder
        if self.beside is not None:
            parts |= {name: part for name, part in self.beside.named_children() if not isinstance(part, Absent)}
        return parts


class ArrayFunctions(NamedTuple):
    """E, T and P as functions of NumPy arrays, as `bisim_theory.write_representation` takes them."""

    encode: Callable[[NDArray[Any]], NDArray[np.float32]]
    predict: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float32]]
    auxiliary: Callable[[NDArray[Any]], NDArray[np.float32]]


class PJEPA(WorldModel):
    """The model of a configuration: E, T, P and the configured readouts.

    `encoder`, `dynamics` and `head` are modules for training, and so are `control` and `decoder`, None where the
    configuration has none. `encode`, `predict`, `auxiliary` and `decode` apply them in evaluation mode to arrays of any
    length, without gradients and in float32.

    Args:
        config: of the run; `network`, `objective`, `compute`, `ablation` and `seed` are used.
        spec: shapes of the world's observations and actions.
        encoder: E in place of the one that the configuration names, or what makes it; see
            `networks.encoders.check_encoder`.

    Raises:
        ConfigError: the configuration names an encoder that cannot be made.
    """

    def __init__(self, config: Config, spec: Spec = SPEC, encoder: nn.Module | EncoderFactory | None = None) -> None:
        network, bounds = config.network, (spec.action_low, spec.action_high)
        if isinstance(encoder, nn.Module):
            encoder = standardized(encoder, network)
        else:
            encoder = make_encoder(config, spec, encoder)
        dynamics = mlp(
            network.latent_dim + spec.action_dim,
            network.hidden_dim,
            2,
            network.latent_dim,
            initialization=network.initialization,
        )
        if network.latent_normalization == "simplicial":
            dynamics.append(Simplicial())  # T predicts what E embeds
        codes = spec.action_codes if network.action == "code" else None
        super().__init__(encoder, dynamics, make_head(config.objective, network), *bounds, codes)
        self.spec, self.latent_dim = spec, network.latent_dim
        # From random streams of their own: the initial weights of E, T and P do not depend on the readouts.
        self.control: ControlHeads | None = None
        if network.control_heads:
            with random_stream(config.seed, "control"):
                self.control = ControlHeads(network, spec.action_dim, *bounds)
        self.decoder: Decoder | VectorDecoder | None = None
        if network.decoder:
            with random_stream(config.seed, "decoder"):
                self.decoder = make_decoder(config, spec.observation_shape)

    @classmethod
    def untrained(cls, config: Config, spec: Spec = SPEC, encoder: EncoderFactory | None = None) -> "PJEPA":
        """Create the model as a run of the configuration starts with it, without touching the global random stream."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return cls(config, spec, encoder)

    @property
    def core(self) -> WorldModel:
        """E, T and P alone: a module that shares them with this one and has no readouts."""
        return self.with_parts({"encoder", "dynamics", "head"})

    def with_parts(self, names: Collection[str]) -> WorldModel:
        """Return those of ``encoder``, ``dynamics`` and ``head`` alone: a module that shares them with this one."""
        parts: dict[str, Any] = dict(super().named_children())
        for name in {"encoder", "dynamics", "head"} - set(names):
            parts[name] = Absent(name)
        core = WorldModel(parts["encoder"], parts["dynamics"], parts["head"], codes=self.codes)
        core.action_centre, core.action_reach = self.action_centre, self.action_reach
        core.bin_ends = self.bin_ends
        return core

    @property
    def readouts(self) -> Readouts:
        """The control heads and the decoder: a module that shares them with this one."""
        return self.readouts_beside({"dynamics", "head"})

    def readouts_beside(self, trained: Collection[str]) -> Readouts:
        """Return control heads, decoder, and those of ``dynamics`` and ``head`` that an objective does not train."""
        rest = {"dynamics", "head"} - set(trained)
        return Readouts(self.control, self.decoder, self.with_parts(rest) if rest else None)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def standardize(self, observations: Tensor) -> None:
        """Fit the standardisation of vectors to observations (n, k) of the training. Does nothing for images."""
        for module in self.modules():
            if isinstance(module, Standardization):
                module.fit(observations)

    def copy_standardization(self, other: "PJEPA") -> None:
        """Take the standardisation of vectors from another model of the same world. Does nothing for images."""
        of_other = [module for module in other.modules() if isinstance(module, Standardization)]
        mine = [module for module in self.modules() if isinstance(module, Standardization)]
        for module, from_other in zip(mine, of_other, strict=True):
            module.load_state_dict(from_other.state_dict())

    def encode(self, observations: NDArray[Any] | Tensor) -> Tensor:
        """Apply E: images (B, H, W, C) uint8, or vectors (B, k) of floats -> embeddings (B, latent_dim) float32.

        The embeddings are on the CPU.

        Raises:
            ValueError: the observations have another shape or type than those of the model's world.
        """
        kind, shape = str(observations.dtype).removeprefix("torch."), tuple(observations.shape)
        fits = kind == "uint8" if self.spec.images else kind.startswith(("float", "bfloat"))
        if len(shape) != 1 + len(self.spec.observation_shape) or shape[1:] != self.spec.observation_shape or not fits:
            what, wanted = ("images", "uint8") if self.spec.images else ("vectors", "float32")
            expected = ", ".join(["B", *map(str, self.spec.observation_shape)])
            raise ValueError(f"{what} must be ({expected}) {wanted}, are {shape} {kind}")
        return self._apply_rows(self.encoder, observations)

    def predict(self, embedding: NDArray[Any] | Tensor, action: NDArray[Any] | Tensor) -> Tensor:
        """Apply T: embeddings (B, latent_dim) and actions (B, A) -> embeddings (B, latent_dim) on the CPU.

        Actions are as the data has them in ``action_value``: one-hot, or continuous in the environment's own units.
        """
        return self._apply_rows(self.transition, embedding, action)

    def auxiliary(self, embedding: NDArray[Any] | Tensor) -> Tensor:
        """Apply P: embeddings (B, latent_dim) -> values (B,) or (B, k) in the units of p, on the CPU."""
        return self._apply_rows(lambda z: self.head.decode(self.head(z)), embedding)

    def as_arrays(self) -> ArrayFunctions:
        """Return `encode`, `predict` and `auxiliary` as functions of NumPy arrays."""
        return ArrayFunctions(
            lambda observations: self.encode(observations).numpy(),
            lambda embedding, action: self.predict(embedding, action).numpy(),
            lambda embedding: self.auxiliary(embedding).numpy(),
        )

    def auxiliary_loss(
        self, embedding: NDArray[Any] | Tensor, value: NDArray[Any], known: NDArray[np.bool_] | None = None
    ) -> float:
        """Compute L_p of embeddings (B, latent_dim) against values (B,) or (B, k) of p, above its entropy floor.

        Args:
            embedding: of B observations.
            value: of p.
            known: (B,) where p is known; None where it is everywhere.
        """
        outputs = self._apply_rows(self.head, embedding).to(self.device)
        mask = None if known is None else torch.as_tensor(known, device=self.device)
        return float(self.head.loss(outputs, torch.as_tensor(value, device=self.device), mask))

    def decode(self, embedding: NDArray[Any] | Tensor) -> Tensor:
        """Decode embeddings (B, latent_dim) to images (B, H, W, C) uint8 or vectors (B, k) float32, on the CPU.

        Raises:
            ValueError: the configuration has no decoder.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder; train one with network.decoder=True")
        decoder = self.decoder
        return self._apply_rows(lambda z: decoder.observations(decoder(z)), embedding)

    @torch.no_grad()
    def _apply_rows(self, function: Any, *arrays: NDArray[Any] | Tensor) -> Tensor:
        training = [module for module in self.modules() if module.training]
        if training:
            self.eval()
        try:
            outputs = []
            for start in range(0, max(len(arrays[0]), 1), ROWS_AT_ONCE):
                rows = [torch.as_tensor(array[start : start + ROWS_AT_ONCE], device=self.device) for array in arrays]
                rows = [row if row.dtype == torch.uint8 else row.float() for row in rows]
                outputs.append(function(*rows).cpu())
            return torch.cat(outputs)
        finally:
            for module in training:
                module.training = True
