"""A loss as a module, and the batches that losses are computed on."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from pjepa_agent.model import PJEPA

Batch = Mapping[str, Tensor]
"""Tensors of a batch by name: plain, for a compiler to see through."""


class Objective(nn.Module):
    """A loss of a model as the forward pass of a module, which has those parts of the model that the loss trains.

    Args:
        loss: `joint_losses` or `beside_losses`.
        model: its first argument.
        parts: of the model, by name.
        constants: arguments by name that are the same in every forward pass; the others are those of the pass.
    """

    def __init__(
        self, loss: Callable[..., Any], model: PJEPA, parts: Mapping[str, nn.Module], **constants: Any
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        # In here the model is no submodule, with parts of other losses.
        self._loss = functools.partial(loss, model, **constants)

    def forward(self, *arguments: Any) -> Any:
        """What the loss returns."""
        return self._loss(*arguments)
