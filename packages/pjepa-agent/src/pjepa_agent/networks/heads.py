"""Heads that regress to numbers, on an embedding or on an embedding and an action (paper Appendix D)."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torchrl.objectives import symexp, symlog, two_hot_cross_entropy, two_hot_decode, two_hot_encode

from pjepa_agent.config.schema import NetworkConfig, ObjectiveConfig
from pjepa_agent.networks.mlp import Initialization, mlp


def masked_mean(values: Float[Tensor, "*batch"], known: Bool[Tensor, "*batch"] | None) -> Float[Tensor, ""]:
    """Average values, or those that are known: 0, with zero gradients, if none is."""
    if known is None:
        return values.mean()
    return (values * known).sum() / known.sum().clamp(min=1)


class TwoHot(nn.Module):
    """Code a number as weights of the two nearest bins, which are evenly spaced in its symlog on [-10, 10].

    TD-MPC2 has the same code. The loss is the cross-entropy less the entropy of the target: a value between two bins
    has an entropy of up to 0.69 nats, below which no head can get. The difference has the same gradient, and is zero
    for a perfect head.

    Args:
        bins: number of bins.
    """

    bins: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("bins", torch.linspace(-10, 10, bins), persistent=False)

    def loss(
        self,
        output: Float[Tensor, "*batch bins"],
        target: Real[Tensor, "*batch"],
        known: Bool[Tensor, "*batch"] | None = None,
    ) -> Float[Tensor, ""]:
        """Average the Kullback-Leibler divergence in nats of logits from the codes of the targets.

        Args:
            output: logits.
            target: finite numbers.
            known: where targets are known; None where all are. The average is over these, and 0 if there is none.
        """
        return masked_mean(self.divergence(output, target), known)

    def divergence(
        self, output: Float[Tensor, "*batch bins"], target: Real[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Compute the Kullback-Leibler divergence in nats of each row of logits from the code of its target."""
        value = symlog(target.float())
        cross_entropy: Tensor = two_hot_cross_entropy(output.float(), value, self.bins)
        return cross_entropy - torch.special.entr(two_hot_encode(value, self.bins)).sum(-1)

    def decode(self, output: Float[Tensor, "*batch bins"]) -> Float[Tensor, "*batch"]:
        """Decode logits to numbers."""
        decoded: Tensor = symexp(two_hot_decode(output.float(), self.bins))
        return decoded


class TwoHotHead(TwoHot):
    """Regress to one number by classification over the bins of its two-hot code.

    Args:
        features_in: size of the input.
        hidden_dim: width of the hidden layers.
        bins: number of bins.
        initialization: of the linear layers.
    """

    def __init__(
        self, features_in: int, hidden_dim: int, bins: int, initialization: Initialization = "truncated-normal"
    ) -> None:
        super().__init__(bins)
        self.network = mlp(features_in, hidden_dim, 3, bins, zero_last=True, initialization=initialization)

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch bins"]:
        """Compute the logits of embeddings, or of embeddings and actions side by side."""
        logits: Tensor = self.network(features)
        return logits


class VectorHead(nn.Module):
    """Regress to a vector by its mean squared error.

    Args:
        latent_dim: size of an embedding.
        hidden_dim: width of the hidden layers.
        values: size of the vector.
        initialization: of the linear layers.
    """

    def __init__(
        self, latent_dim: int, hidden_dim: int, values: int, initialization: Initialization = "truncated-normal"
    ) -> None:
        super().__init__()
        self.network = mlp(latent_dim, hidden_dim, 3, values, initialization=initialization)

    def forward(self, embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch values"]:
        """Predict the vectors of embeddings."""
        values: Tensor = self.network(embedding)
        return values

    def loss(
        self,
        output: Float[Tensor, "batch values"],
        target: Real[Tensor, "batch values"],
        known: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, ""]:
        """Average the squared error over values and the batch, or over the rows of it whose targets are known."""
        if known is None:
            return nn.functional.mse_loss(output.float(), target.float())
        return masked_mean((output.float() - target.float()).square().mean(-1), known)

    def decode(self, output: Float[Tensor, "batch values"]) -> Float[Tensor, "batch values"]:
        """Return the vectors as float32."""
        return output.float()


def make_head(objective: ObjectiveConfig, network: NetworkConfig) -> TwoHotHead | VectorHead:
    """Make P, the head of the configured auxiliary function: two-hot if that is one number, else a vector's."""
    if objective.auxiliary_values == 0:
        return TwoHotHead(network.latent_dim, network.hidden_dim, network.bins, network.initialization)
    return VectorHead(network.latent_dim, network.hidden_dim, objective.auxiliary_values, network.initialization)
