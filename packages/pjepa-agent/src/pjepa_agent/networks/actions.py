"""Actions as networks are given them."""

from collections.abc import Sequence

import torch
from bisim_theory.data.action_codes import ActionCodes
from jaxtyping import Float, Real
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

    def unscaled(self, action: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch action"]:
        """Turn actions in [-1, 1] into the units of the data."""
        if self.action_centre is None or self.action_reach is None:
            return action
        return action * self.action_reach + self.action_centre


class GivenActions(ScaledActions):
    """A module that gives the dynamics T actions: scaled values, or what stands for their codes.

    Args:
        low, high: (A,) bounds of actions in the data, see `ScaledActions`.
        codes: how codes are made of the numbers of an action, sign or bins. None gives T the numbers.
    """

    bin_ends: Tensor | None

    def __init__(
        self,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
        codes: ActionCodes | None = None,
    ) -> None:
        super().__init__(low, high)
        self.codes = codes
        bins = None if codes is None else codes.bins
        ends = None if bins is None else torch.tensor([bins.low, bins.high], dtype=torch.float64)
        self.register_buffer("bin_ends", ends, persistent=False)

    def given(self, action: Real[Tensor, "*batch action"]) -> Real[Tensor, "*batch action"]:
        """Return what T is given for actions (..., A) in the units of the data: (..., A), scaled to [-1, 1].

        With codes it is the same for all actions of one code: -1 or 1 for signs, the middles of bins.
        """
        if self.codes is None:
            return self.scaled(action)
        if self.codes.bins is None or self.bin_ends is None:
            return torch.where(action >= 0, 1.0, -1.0)
        return _middles(action, self.codes.bins.count, *self.bin_ends)


def _middles(
    action: Real[Tensor, "*batch action"], count: int, low: Float[Tensor, " action"], high: Float[Tensor, " action"]
) -> Float[Tensor, "*batch action"]:
    """Return the middles of the bins that `bisim_theory.data.bins.Bins.index` puts numbers in, scaled to [-1, 1]."""
    width = torch.where(high > low, high - low, 1.0)
    index = ((action.double() - low) / width * count).floor().clamp(0, count - 1)
    return ((2 * index + 1) / count - 1).float()
