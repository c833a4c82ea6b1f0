"""P-JEPA: encoder E, latent dynamics T and auxiliary head P (paper Figure 1), and what learns beside them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.schema import Config
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.networks.heads import make_head
from pjepa_agent.networks.mlp import mlp

ROWS_AT_ONCE = 128
"""Few enough for the activations of a piece to stay near the processor: a fifth faster than 512."""


class PJEPA(nn.Module):
    """Encoder, dynamics and auxiliary head of a configuration.

    `encoder`, `dynamics` and `head` are modules for training, and so are `control` and `decoder`, None where the
    configuration has none. `encode`, `predict`, `auxiliary` and `decode` apply them in evaluation mode to arrays of any
    length, without gradients and in float32.
    """

    def __init__(self, config: Config, action_dim: int = 1) -> None:
        super().__init__()
        network, ablation = config.network, config.ablation
        self.encoder = ResNetEncoder(
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
        self.dynamics = mlp(
            network.latent_dim + action_dim,
            network.hidden_dim,
            2,
            network.latent_dim,
            initialization=network.initialization,
        )
        self.head = make_head(config.objective, network)
        # From a random stream of their own: what the core starts from does not depend on what learns beside it.
        self.control: ControlHeads | None = None
        if network.control_heads:
            with random_stream(config.seed, "control"):
                self.control = ControlHeads(network, action_dim)
        self.decoder: Decoder | None = None
        if network.decoder:
            with random_stream(config.seed, "decoder"):
                self.decoder = Decoder(network.latent_dim, network.initialization, config.compute.fast_paths)

    @classmethod
    def untrained(cls, config: Config) -> "PJEPA":
        """The very model that a run of the configuration starts from, whenever it is made."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return cls(config)

    @property
    def core(self) -> dict[str, nn.Module]:
        """What the joint objective trains: encoder, dynamics and auxiliary head."""
        return {"encoder": self.encoder, "dynamics": self.dynamics, "head": self.head}

    @property
    def beside(self) -> dict[str, nn.Module]:
        """What learns on the embeddings without reaching the encoder: each optional part by its name."""
        parts: dict[str, nn.Module] = {}
        if self.control is not None:
            parts |= {name: getattr(self.control, name) for name in ("reward", "termination", "q", "policy")}
        if self.decoder is not None:
            parts["decoder"] = self.decoder
        return parts

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def transition(self, embedding: Tensor, action: Tensor) -> Tensor:
        """T: embeddings (B, d) and actions (B, A) -> embeddings (B, d)."""
        predicted: Tensor = self.dynamics(torch.cat([embedding, action.to(embedding.dtype)], -1))
        return predicted

    def encode(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """E: images (B, 64, 64, 3) uint8 -> embeddings (B, latent_dim) float32 on the CPU.

        Raises:
            ValueError: the images have another shape or type.
        """
        if len(images.shape) != 4 or images.shape[-1] != 3 or str(images.dtype).removeprefix("torch.") != "uint8":
            raise ValueError(f"images must be (B, H, W, 3) uint8, are {tuple(images.shape)} {images.dtype}")
        return self._apply_rows(self.encoder, images)

    def predict(self, embedding: NDArray[Any] | Tensor, action: NDArray[Any] | Tensor) -> Tensor:
        """T: embeddings (B, latent_dim) and actions (B, A) in [-1, 1] -> embeddings (B, latent_dim) on the CPU."""
        return self._apply_rows(self.transition, embedding, action)

    def auxiliary(self, embedding: NDArray[Any] | Tensor) -> Tensor:
        """P: embeddings (B, latent_dim) -> values (B,) or (B, k) in the units of p, on the CPU."""
        return self._apply_rows(lambda z: self.head.decode(self.head(z)), embedding)

    def auxiliary_loss(self, embedding: NDArray[Any] | Tensor, value: NDArray[Any]) -> float:
        """L_p of embeddings (B, latent_dim) against values (B,) or (B, k) of p, above its entropy floor."""
        outputs = self._apply_rows(self.head, embedding).to(self.device)
        return float(self.head.loss(outputs, torch.as_tensor(value, device=self.device)))

    def decode(self, embedding: NDArray[Any] | Tensor) -> Tensor:
        """Embeddings (B, latent_dim) -> the decoder's images (B, 64, 64, 3) uint8 on the CPU.

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
