"""The encoder of vectors, and their standardisation."""

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from pjepa_agent.networks.encoder import LatentNormalization, latent_norm
from pjepa_agent.networks.mlp import Initialization, initialize


class Standardization(nn.Module):
    """Shift and scale every component of vectors by the mean and the deviation of the training data.

    Both are kept in the state dictionary and never change while a model trains, so that one vector always has one
    embedding. Statistics of batches would move the embeddings from update to update, by more than the residuals that
    the theorem asks for. A layer normalisation of the vector would merge observations: it takes away their scale and
    their mean.

    Args:
        size: components of a vector.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    @torch.no_grad()
    def fit(self, vectors: Real[Tensor, "batch features"]) -> None:
        """Take mean and deviation of vectors. A component that is the same in all of them is only shifted."""
        values = vectors.double()
        deviation = values.std(0, correction=0)
        constant = deviation <= 1e-6 * values.abs().amax(0)  # what rounding makes of a constant
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(torch.where(constant, 1.0, deviation))

    def forward(self, vectors: Real[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Standardise vectors, in float32."""
        return (vectors.float() - self.mean) / self.deviation

    def inverse(self, standardized: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Undo `forward`."""
        return standardized.float() * self.deviation + self.mean


class VectorEncoder(nn.Module):
    """E: encode vectors as embeddings by a multilayer perceptron.

    Args:
        features: k, components of a vector.
        latent_dim: size of an embedding.
        hidden_dim: width of the two hidden layers.
        initialization: of the last layer, as in `ResNetEncoder`.
        latent_normalization: of the embeddings.
    """

    def __init__(
        self,
        features: int,
        latent_dim: int,
        hidden_dim: int,
        initialization: Initialization = "pytorch",
        latent_normalization: LatentNormalization = "none",
    ) -> None:
        super().__init__()
        self.standardization = Standardization(features)
        # Without normalisation, which would nearly take the length of a vector away: of a single number little but
        # its sign would be left.
        self.layers = nn.Sequential(
            nn.Linear(features, hidden_dim), nn.Mish(), nn.Linear(hidden_dim, hidden_dim), nn.Mish()
        )
        self.proj = nn.Linear(hidden_dim, latent_dim)
        initialize(self.proj, initialization)
        self.norm = latent_norm(latent_normalization, latent_dim)

    def forward(self, vectors: Real[Tensor, "batch features"]) -> Float[Tensor, "batch latent"]:
        """Encode vectors in the units of the data."""
        embedding: Tensor = self.norm(self.proj(self.layers(self.standardization(vectors))))
        return embedding
