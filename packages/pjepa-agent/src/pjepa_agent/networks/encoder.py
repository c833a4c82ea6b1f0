"""The encoder of the paper's Appendix D, a residual network."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pjepa_agent.networks.mlp import Initialization, initialize

Normalization = Literal["batch", "group", "none"]
Stem = Literal["pooled", "strided"]
PixelScale = Literal["fixed", "image"]

STATISTICS_MOMENTUM = 0.02
"""Share of a batch in the running statistics: averaged over some 50 batches, they no longer move an accuracy by 0.02
from one evaluation to the next, as PyTorch's 0.1 does."""


LEAST_CHANNELS_LAST = 8
"""Width from which the layout with channels last is used. In a narrower network it is no faster, and the gradient of a
strided 1x1 convolution writes beyond its memory on processors without AVX-512 (oneDNN of PyTorch 2.15)."""


GROUPS = 8
"""Groups of channels that are normalised together, where their number can be divided by it."""


def _normalization(kind: Normalization, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, momentum=STATISTICS_MOMENTUM)
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels) if kind == "group" else nn.Identity()


def _stem(kind: Stem, normalization: Normalization, width: int) -> nn.Sequential:
    """What every encoder begins with: (B, 3, H, W) -> (B, width, H / 4, W / 4)."""
    if kind == "strided":
        return nn.Sequential(
            nn.Conv2d(3, width, 8, 4, 2, bias=False), _normalization(normalization, width), nn.ReLU(inplace=True)
        )
    return nn.Sequential(
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        _normalization(normalization, width),
        # Largest first, then rectified, is the same as the paper's other order, with a quarter of the numbers.
        nn.MaxPool2d(3, 2, 1),
        nn.ReLU(inplace=True),
    )


class Convolution(nn.Conv2d):
    """A 3x3 convolution with zeros around the map: (B, C, H, W) -> (B, C', H / stride, W / stride).

    On a map of 2x2 every output sees every input, and more than half of the kernel meets zeros. There, if `dense`, it
    is computed as the product with a (4 C', 4 C) matrix of the parts of the kernel that do not.
    """

    dense = True

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels, 3, stride, 1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve a map."""
        if not self.dense or input.shape[2:] != (2, 2) or self.stride != (1, 1):
            return super().forward(input)
        kernel = self.weight.permute(0, 2, 3, 1)
        # An output in the first row of the map is under the lower part of the kernel, and so on.
        parts = [kernel[:, row : row + 2, column : column + 2] for row in (1, 0) for column in (1, 0)]
        matrix = torch.stack(parts).reshape(4 * self.out_channels, 4 * self.in_channels)
        outputs = nn.functional.linear(input.permute(0, 2, 3, 1).flatten(1), matrix)
        return outputs.view(-1, 2, 2, self.out_channels).permute(0, 3, 1, 2)


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions (He et al., 2016): (B, C, H, W) -> (B, C', H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels: int, stride: int, normalization: Normalization) -> None:
        super().__init__()
        self.conv1 = Convolution(channels_in, channels, stride)
        self.norm1 = _normalization(normalization, channels)
        self.conv2 = Convolution(channels, channels)
        self.norm2 = _normalization(normalization, channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class ResNetEncoder(nn.Module):
    """E: images (B, H, W, 3) uint8 -> embeddings (B, latent_dim).

    Width 32, 8 blocks, no normalisation and a pooled stem give the paper's 69 layers and 12,260,192 parameters.
    """

    def __init__(
        self,
        latent_dim: int = 256,
        width: int = 32,
        blocks: int = 8,
        normalization: Normalization = "none",
        initialization: Initialization = "truncated-normal",
        convolution_gain: float = 0.0,
        pixel_offset: float = -0.5,
        pixel_scale: PixelScale = "fixed",
        latent_normalization: Literal["none", "layer", "batch"] = "none",
        stem: Stem = "pooled",
        fast_paths: bool = True,
    ) -> None:
        super().__init__()
        self.pixel_offset, self.pixel_scale = pixel_offset, pixel_scale
        self.stem = _stem(stem, normalization, width)
        stages = []
        channels = width
        for stage in range(4):
            out = width * 2**stage
            first = BasicBlock(channels, out, 1 if stage == 0 else 2, normalization)
            rest = [BasicBlock(out, out, 1, normalization) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            channels = out
        self.stages = nn.Sequential(*stages)
        for layer in self.stages.modules():
            if isinstance(layer, Convolution):
                layer.dense = fast_paths
        self.proj = nn.Linear(channels, latent_dim)
        initialize(self.proj, initialization)
        self.norm: nn.Module = nn.Identity()
        if latent_normalization == "layer":
            self.norm = nn.LayerNorm(latent_dim, elementwise_affine=False)
        elif latent_normalization == "batch":
            self.norm = nn.BatchNorm1d(latent_dim, momentum=STATISTICS_MOMENTUM, affine=False)
        if convolution_gain:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=convolution_gain / math.sqrt(layer.weight[0].numel()))
        last = fast_paths and width >= LEAST_CHANNELS_LAST
        self._format = torch.channels_last if last else torch.contiguous_format
        self.to(memory_format=self._format)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, H, W, 3) uint8 -> embeddings (B, latent_dim).

        Pixels are scaled to [`pixel_offset`, `pixel_offset` + 1]: 255, or with `pixel_scale` "image" the largest value
        of an image, becomes the upper end. An image that is all black stays so.
        """
        # Images come with channels last, so the permuted view is already in the layout the convolutions are fast in.
        pixels = images.permute(0, 3, 1, 2).to(self.proj.weight.dtype, copy=True, memory_format=self._format)
        largest = pixels.amax((1, 2, 3), keepdim=True).clamp_(min=1) if self.pixel_scale == "image" else 255
        pixels.div_(largest).add_(self.pixel_offset)
        features = self.stages(self.stem(pixels))
        embedding: Tensor = self.norm(self.proj(features.mean((2, 3))))
        return embedding
