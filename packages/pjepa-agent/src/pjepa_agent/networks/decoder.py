"""The decoders: of images, the paper's (Appendix D) where they are of 64x64x3, and of vectors."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Real, UInt8
from torch import Tensor, nn

from pjepa_agent.config.schema import Config
from pjepa_agent.networks.mlp import Initialization, initialize, mlp
from pjepa_agent.networks.vector_encoder import Standardization

CHANNELS = 32
"""Channels of the feature maps."""

DOUBLINGS = 4
"""Least number of layers that double height and width, as many as the paper's decoder has."""

LARGEST_START = 16
"""Largest side of the first feature map, whose pixels each have weights of their own."""


class Decoder(nn.Module):
    """Decode embeddings to images in [-1, 1].

    For images of 64x64x3 these are the paper's six layers of 202,883 parameters: Appendix D gives the numbers of layers
    and parameters; kernel sizes and strides are those of the authors' code. Other images have a first feature map of
    another size, and a margin of what it grows to is cut off. Images of more than 256 pixels a side have more layers.

    Args:
        latent_dim: size of an embedding.
        initialization: of the linear layer.
        channels_last: whether feature maps are kept with channels last in memory.
        shape: (H, W, C) of an image.
    """

    def __init__(
        self,
        latent_dim: int = 256,
        initialization: Initialization = "truncated-normal",
        channels_last: bool = True,
        shape: Sequence[int] = (64, 64, 3),
    ) -> None:
        super().__init__()
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.height, self.width, channels = shape
        doublings = max(DOUBLINGS, math.ceil(math.log2(max(self.height, self.width) / LARGEST_START)))
        self._start = tuple(math.ceil(side / 2**doublings) for side in (self.height, self.width))
        self.proj = nn.Linear(latent_dim, CHANNELS * math.prod(self._start))
        layers: list[nn.Module] = [nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, 1, 1), nn.ReLU()]
        layers += [nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, 2, 1, 1), nn.ReLU()]
        for _ in range(doublings - 2):
            layers += [nn.ConvTranspose2d(CHANNELS, CHANNELS, 5, 2, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(CHANNELS, channels, 4, 2, 1), nn.Tanh())
        initialize(self, initialization)
        self.to(memory_format=self._format)

    def forward(
        self, embedding: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "batch {self.height} {self.width} channels"]:
        """Decode a batch; the result is float32 even under autocast."""
        features = self.proj(embedding).relu().view(-1, CHANNELS, *self._start)
        last = self.layers[:-1](features.contiguous(memory_format=self._format))
        # In bfloat16 the tanh of the black background rounds to -1, and its gradient is zero for good.
        images: Tensor = self.layers[-1](last.float())
        above, left = (images.shape[2] - self.height) // 2, (images.shape[3] - self.width) // 2
        return images[:, :, above : above + self.height, left : left + self.width].permute(0, 2, 3, 1)

    def targets(
        self, observations: UInt8[Tensor, "batch height width channels"]
    ) -> Float[Tensor, "batch height width channels"]:
        """Return what `forward` should return for images: their values in [-1, 1]."""
        return observations.float() / 127.5 - 1

    def observations(
        self, output: Float[Tensor, "batch height width channels"]
    ) -> UInt8[Tensor, "batch height width channels"]:
        """Turn what `forward` returns into images."""
        return ((output + 1) * 127.5).round().to(torch.uint8)


class VectorDecoder(nn.Module):
    """Decode embeddings to vectors, standardised by the training data as `Standardization` says.

    Args:
        latent_dim: size of an embedding.
        hidden_dim: width of the hidden layers.
        features: k, components of a vector.
        initialization: of the linear layers.
    """

    def __init__(
        self, latent_dim: int, hidden_dim: int, features: int, initialization: Initialization = "truncated-normal"
    ) -> None:
        super().__init__()
        self.standardization = Standardization(features)
        self.layers = mlp(latent_dim, hidden_dim, 3, features, initialization=initialization)

    def forward(self, embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch features"]:
        """Decode a batch; the result is float32 even under autocast."""
        vectors: Tensor = self.layers(embedding)
        return vectors.float()

    def targets(self, observations: Real[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Return what `forward` should return for vectors: standardised ones."""
        standardized: Tensor = self.standardization(observations)
        return standardized

    def observations(self, output: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Turn what `forward` returns into vectors in the units of the data."""
        return self.standardization.inverse(output)


def make_decoder(config: Config, shape: Sequence[int]) -> Decoder | VectorDecoder:
    """Make the decoder of images (H, W, C) or of vectors (k,)."""
    network = config.network
    if len(shape) == 3:
        return Decoder(network.latent_dim, network.initialization, config.compute.fast_paths, shape=shape)
    return VectorDecoder(network.latent_dim, network.hidden_dim, shape[0], network.initialization)
