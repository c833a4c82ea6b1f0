"""The encoder of the paper's Appendix D, a residual network."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from pjepa_agent.networks.mlp import Initialization, initialize

Normalization = Literal["batch", "group", "none"]
Stem = Literal["pooled", "strided"]
PixelScale = Literal["fixed", "image"]
LatentNormalization = Literal["none", "layer", "batch", "simplicial"]

STATISTICS_MOMENTUM = 0.02
"""Weight of a batch in the running statistics of batch normalisation.

They are averages over some 50 batches. With PyTorch's 0.1 they move an accuracy by 0.02 from one evaluation to
the next.
"""

LEAST_CHANNELS_LAST = 8
"""Smallest width for which feature maps are kept with channels last in memory.

A narrower network is no faster with it, and there the gradient of a strided 1x1 convolution writes beyond its memory on
processors without AVX-512 (oneDNN of PyTorch 2.15).
"""

GROUPS = 8
"""Largest number of groups of group normalisation; taken is its greatest common divisor with the channels."""


SIMPLEX = 8
"""Components of an embedding that make up one point of a simplex."""


def _normalization(kind: Normalization, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, momentum=STATISTICS_MOMENTUM)
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels) if kind == "group" else nn.Identity()


class Simplicial(nn.Module):
    """Apply the softmax to every eight components, as TD-MPC2 normalises its embeddings (SimNorm)."""

    def forward(self, embedding: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """Make each eight components a point of a simplex, in float32."""
        return embedding.float().unflatten(-1, (-1, SIMPLEX)).softmax(-1).flatten(-2)


def latent_norm(kind: LatentNormalization, latent_dim: int) -> nn.Module:
    """Make the normalisation of embeddings, without parameters; ``none`` is the identity."""
    if kind == "layer":
        return nn.LayerNorm(latent_dim, elementwise_affine=False)
    if kind == "batch":
        return nn.BatchNorm1d(latent_dim, momentum=STATISTICS_MOMENTUM, affine=False)
    return Simplicial() if kind == "simplicial" else nn.Identity()


class _StridedConvolution(nn.Conv2d):
    """Convolve images with 8x8 kernels in steps of 4, so that every pixel is seen.

    Of a side of 4n + 3 pixels the last would be beyond the last kernel, and a side below 4 has no room for any: both
    get a longer border of zeros.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, 8, 4, 2, bias=False)

    def forward(
        self, input: Float[Tensor, "batch channels_in height width"]
    ) -> Float[Tensor, "batch channels_out height_out width_out"]:
        """Convolve a batch of images."""
        below, right = (max(4 - side, int(side % 4 == 3)) for side in input.shape[2:])
        if below or right:
            input = nn.functional.pad(input, (0, right, 0, below))
        return super().forward(input)


def _stem(kind: Stem, normalization: Normalization, channels: int, width: int) -> nn.Sequential:
    """Make the first layers: (batch, `channels`, height, width) -> (batch, `width`, height / 4, width / 4)."""
    if kind == "strided":
        return nn.Sequential(
            _StridedConvolution(channels, width), _normalization(normalization, width), nn.ReLU(inplace=True)
        )
    return nn.Sequential(
        nn.Conv2d(channels, width, 7, 2, 3, bias=False),
        _normalization(normalization, width),
        # Pooling before rectifying gives the same as the paper's order, and rectifies a quarter of the numbers.
        nn.MaxPool2d(3, 2, 1),
        nn.ReLU(inplace=True),
    )


class Convolution(nn.Conv2d):
    """Convolve a map with 3x3 kernels and a border of zeros.

    On a map of 2x2 every output depends on every input, and more than half of each kernel meets zeros. There, if
    `dense`, the convolution is computed as a product with a (4 C', 4 C) matrix of the other weights.

    Args:
        channels_in: C, channels of the input.
        channels: C', channels of the output.
        stride: 1 or 2.
    """

    dense = True

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels, 3, stride, 1, bias=False)

    def forward(
        self, input: Float[Tensor, "batch channels_in height width"]
    ) -> Float[Tensor, "batch channels_out height_out width_out"]:
        """Convolve a batch of maps."""
        if input.shape[2:] == (1, 1):
            # All of the kernel but its centre meets zeros. oneDNN can leave NaN as their gradient in bfloat16.
            return nn.functional.linear(input.flatten(1), self.weight[:, :, 1, 1])[..., None, None]
        if not self.dense or input.shape[2:] != (2, 2) or self.stride != (1, 1):
            return super().forward(input)
        kernel = self.weight.permute(0, 2, 3, 1)
        # The lower part of the kernel meets the map where an output in its first row is computed, and so on.
        parts = [kernel[:, row : row + 2, column : column + 2] for row in (1, 0) for column in (1, 0)]
        matrix = torch.stack(parts).reshape(4 * self.out_channels, 4 * self.in_channels)
        outputs = nn.functional.linear(input.permute(0, 2, 3, 1).flatten(1), matrix)
        return outputs.view(-1, 2, 2, self.out_channels).permute(0, 3, 1, 2)


class BasicBlock(nn.Module):
    """Add two 3x3 convolutions to their input, a residual block (He et al., 2016).

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        stride: 1 or 2, of the first convolution.
        normalization: after each convolution.
    """

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

    def forward(
        self, x: Float[Tensor, "batch channels_in height width"]
    ) -> Float[Tensor, "batch channels_out height_out width_out"]:
        """Compute the block's output maps."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class ResNetEncoder(nn.Module):
    """E: encode images of any height and width as embeddings.

    Width 32, 8 blocks, no normalisation and a pooled stem give the paper's 69 layers and 12,260,192 parameters. The
    arguments are fields of the configuration, but for the number of the images' channels.
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
        latent_normalization: LatentNormalization = "none",
        stem: Stem = "pooled",
        fast_paths: bool = True,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        self.pixel_offset, self.pixel_scale, self.image_channels = pixel_offset, pixel_scale, image_channels
        self.stem = _stem(stem, normalization, image_channels, width)
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
        self.norm = latent_norm(latent_normalization, latent_dim)
        if convolution_gain:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=convolution_gain / math.sqrt(layer.weight[0].numel()))
        last = fast_paths and width >= LEAST_CHANNELS_LAST
        self._format = torch.channels_last if last else torch.contiguous_format
        self.to(memory_format=self._format)

    def forward(
        self, images: Real[Tensor, "batch height width {self.image_channels}"]
    ) -> Float[Tensor, "batch latent"]:
        """Encode images with values from 0 to 255, usually uint8.

        Pixels are scaled to [`pixel_offset`, `pixel_offset` + 1]. The upper end is the value 255, or with a
        `pixel_scale` of "image" each image's largest value. An image that is all black stays so.
        """
        # Images come with channels last, so the permuted view is already in the layout the convolutions are fast in.
        pixels = images.permute(0, 3, 1, 2).to(self.proj.weight.dtype, copy=True, memory_format=self._format)
        largest = pixels.amax((1, 2, 3), keepdim=True).clamp_(min=1) if self.pixel_scale == "image" else 255
        pixels.div_(largest).add_(self.pixel_offset)
        features = self.stages(self.stem(pixels))
        embedding: Tensor = self.norm(self.proj(features.mean((2, 3))))
        return embedding
