"""The auxiliary functions p, and the heads P that regress to them (paper Sections 2.1 and 2.3, Appendix D)."""

from typing import Any

import numpy as np
import torch
from bisim_theory.transitions import Frames, chunks
from numpy.typing import NDArray
from torch import Tensor, nn
from torchrl.objectives import symexp, symlog, two_hot_cross_entropy, two_hot_decode, two_hot_encode

from pjepa_agent.config import NetworkConfig, ObjectiveConfig
from pjepa_agent.networks import Initialization, mlp


class TwoHotHead(nn.Module):
    """Regression to one number by classification over bins that are evenly spaced on its symlog (as in TD-MPC2).

    The loss is the cross-entropy less the entropy of the target: a value between two bins has an entropy of up to
    0.69 nats, which no head can get below. The difference has the same gradient, and is zero for a perfect head.
    """

    bins: Tensor

    def __init__(
        self, latent_dim: int, hidden_dim: int, bins: int, initialization: Initialization = "truncated-normal"
    ) -> None:
        super().__init__()
        self.network = mlp(latent_dim, hidden_dim, 3, bins, zero_last=True, initialization=initialization)
        self.register_buffer("bins", torch.linspace(-10, 10, bins), persistent=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, d) -> logits (B, bins)."""
        logits: Tensor = self.network(embedding)
        return logits

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean Kullback-Leibler divergence in nats of logits (B, bins) from the two-hot code of values (B,)."""
        value = symlog(target.float())
        cross_entropy = two_hot_cross_entropy(output.float(), value, self.bins)
        entropy = torch.special.entr(two_hot_encode(value, self.bins)).sum(-1)
        return (cross_entropy - entropy).mean()

    def decode(self, output: Tensor) -> Tensor:
        """Logits (B, bins) -> values (B,)."""
        decoded: Tensor = symexp(two_hot_decode(output.float(), self.bins))
        return decoded


class VectorHead(nn.Module):
    """Regression to k numbers by the squared error, averaged over them."""

    def __init__(
        self, latent_dim: int, hidden_dim: int, values: int, initialization: Initialization = "truncated-normal"
    ) -> None:
        super().__init__()
        self.network = mlp(latent_dim, hidden_dim, 3, values, initialization=initialization)

    def forward(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, d) -> values (B, k)."""
        values: Tensor = self.network(embedding)
        return values

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of (B, k) against (B, k)."""
        return nn.functional.mse_loss(output.float(), target.float())

    def decode(self, output: Tensor) -> Tensor:
        """The values themselves, (B, k)."""
        return output.float()


def make_head(objective: ObjectiveConfig, network: NetworkConfig) -> TwoHotHead | VectorHead:
    """The head that regresses to the configured auxiliary function."""
    if objective.auxiliary == "reward":
        return TwoHotHead(network.latent_dim, network.hidden_dim, network.bins, network.initialization)
    return VectorHead(network.latent_dim, network.hidden_dim, objective.auxiliary_dim, network.initialization)


def random_projection(frames: Frames, dim: int, seed: int) -> NDArray[np.float32]:
    """A fixed random linear map of every image to `dim` numbers, each standardised over the images (Section 2.3).

    Args:
        frames: (F, H, W, C) uint8.
        dim: how many numbers.
        seed: fixes the map.

    Returns:
        (F, dim) float32 of mean 0 and standard deviation 1 per column. On raw pixels the scale of such a map is
        arbitrary; standardised, a loss weight means the same for every map.
    """
    pixels = int(np.prod(frames.shape[1:]))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(pixels, dim, generator=generator) / pixels**0.5
    pieces = [torch.from_numpy(piece.reshape(len(piece), -1)).float() / 255 @ weight for piece in chunks(frames)]
    values: NDArray[Any] = torch.cat(pieces).numpy()
    spread = values.std(0)
    return ((values - values.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
