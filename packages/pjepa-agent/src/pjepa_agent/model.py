"""P-JEPA: encoder E, latent dynamics T and auxiliary head P (paper Figure 1), with its readouts."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.counting import SPEC
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.networks.heads import TwoHotHead, VectorHead, make_head
from pjepa_agent.networks.mlp import mlp

ROWS_AT_ONCE = 128
"""Rows per forward pass on arrays. The activations stay near the processor: a fifth faster than 512."""


class WorldModel(nn.Module):
    """Encoder E, dynamics T and auxiliary head P: what an objective trains.

    Args:
        encoder: E, images (B, H, W, 3) uint8 -> embeddings (B, d).
        dynamics: T, embeddings joined with actions (B, d + A) -> embeddings (B, d).
        head: P, embeddings (B, d) -> outputs, which `head.decode` turns into values of p.
    """

    def __init__(self, encoder: ResNetEncoder, dynamics: nn.Module, head: TwoHotHead | VectorHead) -> None:
        super().__init__()
        self.encoder, self.dynamics, self.head = encoder, dynamics, head

    def transition(
        self, embedding: Float[Tensor, "batch latent"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, "batch latent"]:
        """Apply T once: embeddings (B, d) and actions (B, A) -> embeddings (B, d)."""
        predicted: Tensor = self.dynamics(torch.cat([embedding, action.to(embedding.dtype)], -1))
        return predicted

    def rollout(
        self, embedding: Float[Tensor, "batch latent"], actions: Float[Tensor, "batch horizon action"]
    ) -> Float[Tensor, "batch horizon latent"]:
        """Apply T along h actions: embeddings (B, d) and actions (B, h, A) -> predicted embeddings (B, h, d)."""
        predicted = []
        for action in actions.unbind(1):
            embedding = self.transition(embedding, action)
            predicted.append(embedding)
        return torch.stack(predicted, 1)


class Readouts(nn.Module):
    """Control heads and decoder: read embeddings that they do not train (paper Appendix D).

    Args:
        control: reward, termination, Q and policy prior, or None.
        decoder: embeddings -> images, or None.
    """

    def __init__(self, control: ControlHeads | None, decoder: Decoder | None) -> None:
        super().__init__()
        self.control, self.decoder = control, decoder

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The networks by name. The gradient of each is clipped by itself."""
        parts: dict[str, nn.Module] = {}
        if self.control is not None:
            parts |= {name: getattr(self.control, name) for name in ("reward", "termination", "q", "policy")}
        if self.decoder is not None:
            parts["decoder"] = self.decoder
        return parts


class ArrayFunctions(NamedTuple):
    """E, T and P as functions of NumPy arrays, as `bisim_theory.write_representation` takes them."""

    encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
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
    """

    def __init__(self, config: Config, spec: Spec = SPEC) -> None:
        network, ablation, action_dim = config.network, config.ablation, spec.action_dim
        encoder = ResNetEncoder(
            network.latent_dim,
            network.width,
            network.blocks,
            network.normalization,
            network.initialization,
            ablation.convolution_gain,
            ablation.pixel_offset,
            ablation.pixel_scale,
            ablation.latent_normalization,
            network.stem,
            config.compute.fast_paths,
        )
        dynamics = mlp(
            network.latent_dim + action_dim,
            network.hidden_dim,
            2,
            network.latent_dim,
            initialization=network.initialization,
        )
        super().__init__(encoder, dynamics, make_head(config.objective, network))
        # From random streams of their own: the initial weights of E, T and P do not depend on the readouts.
        self.control: ControlHeads | None = None
        if network.control_heads:
            with random_stream(config.seed, "control"):
                self.control = ControlHeads(network, action_dim)
        self.decoder: Decoder | None = None
        if network.decoder:
            with random_stream(config.seed, "decoder"):
                self.decoder = Decoder(network.latent_dim, network.initialization, config.compute.fast_paths)

    @classmethod
    def untrained(cls, config: Config, spec: Spec = SPEC) -> "PJEPA":
        """Create the model as a run of the configuration starts with it, without touching the global random stream."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return cls(config, spec)

    @property
    def core(self) -> WorldModel:
        """E, T and P alone: a module that shares them with this one and has no readouts."""
        return WorldModel(self.encoder, self.dynamics, self.head)

    @property
    def readouts(self) -> Readouts:
        """The control heads and the decoder: a module that shares them with this one."""
        return Readouts(self.control, self.decoder)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def encode(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """Apply E: images (B, 64, 64, 3) uint8 -> embeddings (B, latent_dim) float32 on the CPU.

        Raises:
            ValueError: the images have another shape or type.
        """
        if len(images.shape) != 4 or images.shape[-1] != 3 or str(images.dtype).removeprefix("torch.") != "uint8":
            raise ValueError(f"images must be (B, H, W, 3) uint8, are {tuple(images.shape)} {images.dtype}")
        return self._apply_rows(self.encoder, images)

    def predict(self, embedding: NDArray[Any] | Tensor, action: NDArray[Any] | Tensor) -> Tensor:
        """Apply T: embeddings (B, latent_dim), actions (B, A) in [-1, 1] -> embeddings (B, latent_dim) on the CPU."""
        return self._apply_rows(self.transition, embedding, action)

    def auxiliary(self, embedding: NDArray[Any] | Tensor) -> Tensor:
        """Apply P: embeddings (B, latent_dim) -> values (B,) or (B, k) in the units of p, on the CPU."""
        return self._apply_rows(lambda z: self.head.decode(self.head(z)), embedding)

    def as_arrays(self) -> ArrayFunctions:
        """Return `encode`, `predict` and `auxiliary` as functions of NumPy arrays."""
        return ArrayFunctions(
            lambda images: self.encode(images).numpy(),
            lambda embedding, action: self.predict(embedding, action).numpy(),
            lambda embedding: self.auxiliary(embedding).numpy(),
        )

    def auxiliary_loss(self, embedding: NDArray[Any] | Tensor, value: NDArray[Any]) -> float:
        """Compute L_p of embeddings (B, latent_dim) against values (B,) or (B, k) of p, above its entropy floor."""
        outputs = self._apply_rows(self.head, embedding).to(self.device)
        return float(self.head.loss(outputs, torch.as_tensor(value, device=self.device)))

    def decode(self, embedding: NDArray[Any] | Tensor) -> Tensor:
        """Decode embeddings (B, latent_dim) to images (B, 64, 64, 3) uint8 on the CPU.

        Raises:
            ValueError: the configuration has no decoder.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder; train one with network.decoder=True")
        return ((self._apply_rows(self.decoder, embedding) + 1) * 127.5).round().to(torch.uint8)

    @torch.no_grad()
    def _apply_rows(self, function: Any, *arrays: NDArray[Any] | Tensor) -> Tensor:
        training = self.training
        self.eval()
        try:
            outputs = []
            for start in range(0, max(len(arrays[0]), 1), ROWS_AT_ONCE):
                rows = [torch.as_tensor(array[start : start + ROWS_AT_ONCE], device=self.device) for array in arrays]
                rows = [row if row.dtype == torch.uint8 else row.float() for row in rows]
                outputs.append(function(*rows).cpu())
            return torch.cat(outputs)
        finally:
            self.train(training)
