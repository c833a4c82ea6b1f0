"""The average of the weights over the updates, and batch statistics taken anew for weights that are evaluated."""

import copy
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from pjepa_agent.compute.scalars import Scalar
from pjepa_agent.model import PJEPA


def averaging_weight(update: int, share: float) -> float:
    """Return the weight that the parameters after an update have in the average of all until then.

    Polynomial-decay averaging (Shamir and Zhang, 2013): those of update s have a weight of about s^g, g = 1/share - 2,
    so that their mean age is `share` of the updates so far, however many these are. A share of 1/2 is the plain mean.

    Args:
        update: counted from 1.
        share: in (0, 1/2].
    """
    power = 1 / share - 2
    return (power + 1) / (update + power)


class AveragedWeights:
    """The average of a model's parameters and buffers over the updates, as `averaging_weight` weighs them.

    Args:
        model: the model that is trained.
        share: mean age of what is averaged, as a share of the updates so far.
    """

    def __init__(self, model: PJEPA, share: float) -> None:
        self.model = copy.deepcopy(model)
        self.weight = Scalar(model.device)
        self._share = share

    def prepare(self, update: int) -> None:
        """Write the weight of the parameters after an update, counted from 1, to the device."""
        self.weight.set(averaging_weight(update, self._share))

    @torch.no_grad()
    def update(self, model: PJEPA) -> None:
        """Take weights into the average, with the weight that was prepared; integer buffers are copied."""
        kinds = defaultdict[torch.dtype, list[tuple[Tensor, Tensor]]](list)
        for averaged, current in zip(_tensors(self.model), _tensors(model), strict=True):
            kinds[averaged.dtype].append((averaged, current))
        for dtype, pairs in kinds.items():
            old, new = (list(each) for each in zip(*pairs, strict=True))
            if dtype.is_floating_point:
                _move(old, new, self.weight.tensor.to(dtype))
            else:
                torch._foreach_copy_(old, new)

    @torch.no_grad()
    def copy(self, model: PJEPA) -> None:
        """Replace the average by the weights of a model whose encoder is frozen: from then on there is none."""
        torch._foreach_copy_(list(_tensors(self.model)), list(_tensors(model)))

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged parameters and buffers, by the names that they have in the model."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.model.load_state_dict(state)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Iterate over parameters and buffers."""
    return itertools.chain(model.parameters(), model.buffers())


def _move(old: list[Tensor], new: list[Tensor], weight: Tensor) -> None:
    """Move tensors by a share, a scalar on their device, of their distance to others."""
    if old[0].device.type == "cpu":
        torch._foreach_lerp_(old, new, [weight] * len(old))
    else:  # few kernels for all tensors, where that would take one for each
        distance = torch._foreach_sub(new, old)
        torch._foreach_mul_(distance, weight)
        torch._foreach_add_(old, distance)


def renew_batch_statistics(encoder: nn.Module, images: Tensor, batch_size: int) -> None:
    """Replace the running statistics of batch normalisation by those of images under the present weights.

    Args:
        encoder: changed in place.
        images: (n, H, W, 3) uint8, n at least 2.
        batch_size: most images per forward pass.
    """
    # Of even length, so that none is a single observation, which has no variance.
    update_bn(images.tensor_split(math.ceil(len(images) / batch_size)), encoder)
