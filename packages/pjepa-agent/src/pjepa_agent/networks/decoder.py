"""The decoder of the paper's Appendix D."""

import torch
from torch import Tensor, nn

from pjepa_agent.networks.mlp import Initialization, initialize


class Decoder(nn.Module):
    """Embeddings (B, latent_dim) -> images (B, 64, 64, 3) in [-1, 1]: the paper's six layers and 202,883 parameters.

    Appendix D gives the number of layers and of parameters; kernel sizes and strides are those of the authors' code.
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

    def forward(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, latent_dim) -> images (B, 64, 64, 3) in [-1, 1]."""
        features = self.proj(embedding).relu().view(-1, 32, 4, 4)
        last = self.layers[:-1](features.contiguous(memory_format=self._format))
        # In bfloat16 a tanh near the black of the background is -1 to the last digit, its gradient zero for good.
        images: Tensor = self.layers[-1](last.float())
        return images.permute(0, 2, 3, 1)
