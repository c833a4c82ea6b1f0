"""The decoder of the paper's Appendix D."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pjepa_agent.networks.mlp import Initialization, initialize


class Decoder(nn.Module):
    """Decode embeddings to images in [-1, 1], by the paper's six layers of 202,883 parameters.

    Appendix D gives the numbers of layers and parameters; kernel sizes and strides are those of the authors' code.

    Args:
        latent_dim: size of an embedding.
        initialization: of the linear layer.
        channels_last: whether feature maps are kept with channels last in memory.
    """

    def __init__(
        self, latent_dim: int = 256, initialization: Initialization = "truncated-normal", channels_last: bool = True
    ) -> None:
        super().__init__()
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.proj = nn.Linear(latent_dim, 512)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(32, 32, 3, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 3, 2, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 5, 2, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 5, 2, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 3, 4, 2, 1),
            nn.Tanh(),
        )
        initialize(self, initialization)
        self.to(memory_format=self._format)

    def forward(self, embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch 64 64 3"]:
        """Decode a batch; the result is float32 even under autocast."""
        features = self.proj(embedding).relu().view(-1, 32, 4, 4)
        last = self.layers[:-1](features.contiguous(memory_format=self._format))
        # In bfloat16 the tanh of the black background rounds to -1, and its gradient is zero for good.
        images: Tensor = self.layers[-1](last.float())
        return images.permute(0, 2, 3, 1)
