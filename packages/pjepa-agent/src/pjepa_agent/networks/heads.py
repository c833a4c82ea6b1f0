"""Heads that regress to numbers, on the embedding or on the embedding and the action (paper Appendix D)."""

import torch
from torch import Tensor, nn
from torchrl.objectives import symexp, symlog, two_hot_cross_entropy, two_hot_decode, two_hot_encode

from pjepa_agent.config.schema import NetworkConfig, ObjectiveConfig
from pjepa_agent.networks.mlp import Initialization, mlp


class TwoHot(nn.Module):
    """One number as weights on the two nearest of some bins, evenly spaced on its symlog in [-10, 10] (as in TD-MPC2).

    The loss is the cross-entropy less the entropy of the target: a value between two bins has an entropy of up to
    0.69 nats, which no head can get below. The difference has the same gradient, and is zero for a perfect head.
    """

    bins: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("bins", torch.linspace(-10, 10, bins), persistent=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean Kullback-Leibler divergence in nats of logits (..., bins) from the two-hot code of values (...)."""
        value = symlog(target.float())
        cross_entropy = two_hot_cross_entropy(output.float(), value, self.bins)
        entropy = torch.special.entr(two_hot_encode(value, self.bins)).sum(-1)
        return (cross_entropy - entropy).mean()

    def decode(self, output: Tensor) -> Tensor:
        """Logits (..., bins) -> values (...)."""
        decoded: Tensor = symexp(two_hot_decode(output.float(), self.bins))
        return decoded


class TwoHotHead(TwoHot):
    """Regression to one number by classification over the bins of its two-hot code."""

    def __init__(
        self, features_in: int, hidden_dim: int, bins: int, initialization: Initialization = "truncated-normal"
    ) -> None:
        super().__init__(bins)
        self.network = mlp(features_in, hidden_dim, 3, bins, zero_last=True, initialization=initialization)

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings, or embeddings and actions, (B, features_in) -> logits (B, bins)."""
        logits: Tensor = self.network(features)
        return logits


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
    """P: the head that regresses to the configured auxiliary function, by the two-hot code if that is one number."""
    if objective.auxiliary_values == 0:
        return TwoHotHead(network.latent_dim, network.hidden_dim, network.bins, network.initialization)
    return VectorHead(network.latent_dim, network.hidden_dim, objective.auxiliary_values, network.initialization)
