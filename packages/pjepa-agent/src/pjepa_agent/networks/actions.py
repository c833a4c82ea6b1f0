"""Actions as networks are given them."""

from collections.abc import Sequence

import torch
from jaxtyping import Real
from torch import Tensor, nn


class ScaledActions(nn.Module):
    """A module that scales actions from their bounds to [-1, 1].

    The bounds are no part of the state dictionary, since a run's spec has them.

    Args:
        low: (A,) smallest actions; None leaves actions as they are.
        high: (A,) largest actions.
    """

    action_centre: Tensor | None
    action_reach: Tensor | None

    def __init__(self, low: Sequence[float] | None = None, high: Sequence[float] | None = None) -> None:
        super().__init__()
        bounds = None if low is None or high is None else torch.tensor([low, high], dtype=torch.float64)
        centre = reach = None
        if bounds is not None:
            half = (bounds[1] - bounds[0]) / 2
            centre, reach = bounds.mean(0).float(), torch.where(half > 0, half, 1.0).float()
        self.register_buffer("action_centre", centre, persistent=False)
        self.register_buffer("action_reach", reach, persistent=False)

    def scaled(self, action: Real[Tensor, "*batch action"]) -> Real[Tensor, "*batch action"]:
        """Scale actions in the units of the data."""
        if self.action_centre is None or self.action_reach is None:
            return action
        return (action - self.action_centre) / self.action_reach
