"""The average of the weights over the updates, and batch statistics taken anew for weights that are evaluated."""

import math
import typing
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from pjepa_agent.model import PJEPA

Tensors = tuple[Tensor, ...] | list[Tensor]


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
        self._share, self._update = share, 0
        self._averaged = AveragedModel(model, multi_avg_fn=self._average, use_buffers=True)

    @property
    def model(self) -> PJEPA:
        """The model with averaged weights."""
        return typing.cast(PJEPA, self._averaged.module)

    def update(self, model: PJEPA, update: int) -> None:
        """Take the weights after an update, counted from 1, into the average."""
        self._update = update
        self._averaged.update_parameters(model)

    def copy(self, model: PJEPA) -> None:
        """Replace the average by the weights of a model whose encoder is frozen: from then on there is none."""
        self.model.load_state_dict(model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged parameters and buffers, by the names that they have in the model."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], update: int) -> None:
        """Continue from a state that was saved after an update."""
        self.model.load_state_dict(state)
        self._averaged.n_averaged.fill_(update)

    @torch.no_grad()
    def _average(self, averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        """Move averaged tensors towards current ones. `count`, on the device, is not used: that would wait for it."""
        del count
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, averaging_weight(self._update, self._share))
        else:
            torch._foreach_copy_(averaged, current)


def renew_batch_statistics(encoder: nn.Module, images: Tensor, batch_size: int) -> None:
    """Replace the running statistics of batch normalisation by those of images under the present weights.

    Args:
        encoder: changed in place.
        images: (n, H, W, 3) uint8, n at least 2.
        batch_size: most images per forward pass.
    """
    # Of even length, so that none is a single observation, which has no variance.
    update_bn(images.tensor_split(math.ceil(len(images) / batch_size)), encoder)
