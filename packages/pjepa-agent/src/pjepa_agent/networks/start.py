"""Where an encoder without normalisation begins: weights that are scaled and centred on observations of the training.

The parameters stay those of the architecture. Drawn as in the paper, the response to what all observations share hides
what differs between them, and each layer makes it smaller; L_p is then on a plateau for thousands of updates
(docs/stability.md).
"""

from typing import Literal

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from pjepa_agent.networks.encoder import ResNetEncoder

Start = Literal["drawn", "centred", "scaled", "centred-scaled"]

LEAST = 1e-12
"""Smallest norm or deviation that is divided by: what differs less is left as it is."""


@torch.no_grad()
def begin(encoder: ResNetEncoder, images: Real[Tensor, "batch height width channels"], start: Start) -> None:
    """Change the weights of a residual network in place, layer by layer, each given what the layers before it make.

    ``centred`` takes from each kernel of a convolution its component along the mean of what the layer is given, so that
    a map that is that mean everywhere is answered with 0 inside of the border. ``scaled`` gives the outputs of each
    convolution a deviation of 1 (LSUV: Mishkin and Matas, 2016). With either, the embeddings of the images then have
    mean 0 and a deviation of 1, by the last layer's bias and weight. ``drawn`` changes nothing.

    Args:
        encoder: without normalisation.
        images: of the training, values from 0 to 255.
        start: what is done.
    """
    if start == "drawn":
        return
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]

    def prepare(layer: nn.Module, given: tuple[Tensor]) -> None:
        assert isinstance(layer, nn.Conv2d)
        if "centred" in start:
            _centre(layer, given[0])
        if "scaled" in start:
            _scale(layer, given[0])

    hooks = [layer.register_forward_pre_hook(prepare) for layer in layers]
    embedding: Tensor = encoder(images)
    for hook in hooks:
        hook.remove()
    scale = _over(embedding.std(0).mean())
    encoder.proj.weight.mul_(scale)
    encoder.proj.bias.copy_((encoder.proj.bias - embedding.mean(0)) * scale)


def _centre(layer: nn.Conv2d, given: Float[Tensor, "batch channels height width"]) -> None:
    """Take from kernels (C', C, k, k) their component along the mean of what they see, and keep their norms."""
    weight = layer.weight
    mean = given.mean((0, 2, 3)).view(1, -1, 1, 1).expand_as(weight[:1])
    direction = mean * _over(mean.norm())
    norms = _norms(weight)
    weight.sub_((weight * direction).sum((1, 2, 3), keepdim=True) * direction)
    weight.mul_(norms / _norms(weight).clamp_min(LEAST))


def _norms(weight: Float[Tensor, "out channels height width"]) -> Float[Tensor, "out 1 1 1"]:
    return weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def _scale(layer: nn.Conv2d, given: Float[Tensor, "batch channels height width"]) -> None:
    """Scale all kernels alike, so that the deviation of outputs is 1 in the mean over channels."""
    outputs = nn.functional.conv2d(given, layer.weight, None, layer.stride, layer.padding)
    layer.weight.mul_(_over(outputs.std((0, 2, 3)).mean()))


def _over(deviation: Float[Tensor, ""]) -> float:
    """Return 1 over a deviation, or 1 where there is none."""
    return 1 / float(deviation) if float(deviation) > LEAST else 1.0
