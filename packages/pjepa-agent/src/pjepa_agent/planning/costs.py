"""Costs of predicted embeddings: reward, or distance to a goal."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.planning.base import PlanningError

Predicted = Float[Tensor, "batch samples horizon latent"]
Actions = Float[Tensor, "batch samples horizon action"]
Costs = Float[Tensor, "batch samples"]

STEP = 0.01
"""Step that decoded values of P are rounded to, below which their differences say nothing."""


@runtime_checkable
class Valued(Protocol):
    """A model with an auxiliary head."""

    @property
    def head(self) -> Any:
        """Return P, whose outputs its `decode` turns into values."""


def first_arrival(value: Float[Tensor, "batch samples horizon"], discount: float) -> Costs:
    """Return minus the discounted value of the first arrival, where the episode ends.

    Args:
        value: probability of having arrived at each step, clipped to [0, 1].
        discount: of a step.
    """
    value = value.clamp(0, 1)
    going_on = torch.cat([torch.ones_like(value[..., :1]), (1 - value[..., :-1]).cumprod(-1)], -1)
    return -(going_on * value * _powers(value, discount)).sum(-1)


def discounted_sum(value: Float[Tensor, "batch samples horizon"], discount: float) -> Costs:
    """Return minus the discounted sum of values of the steps."""
    return -(value * _powers(value, discount)).sum(-1)


def _powers(value: Tensor, discount: float) -> Tensor:
    return discount ** torch.arange(value.shape[-1], device=value.device, dtype=value.dtype)


class ValueCost:
    """Cost of the values of predicted embeddings: minus their first arrival or their sum, discounted.

    Args:
        discount: of a step.
        ends: the episode ends where the value is 1, see `first_arrival`; False sums the values of all steps.
    """

    def __init__(self, discount: float, ends: bool) -> None:
        self.discount, self.ends = discount, ends

    def value(self, predicted: Predicted) -> Float[Tensor, "batch samples horizon"]:
        """Return the value of every predicted embedding."""
        raise NotImplementedError

    def __call__(self, predicted: Predicted, actions: Actions) -> Costs:
        """Return minus the discounted value along the predictions."""
        return self.total(self.value(predicted))

    def total(self, value: Float[Tensor, "batch samples horizon"]) -> Costs:
        """Return the cost of sequences from the values of their steps."""
        return (first_arrival if self.ends else discounted_sum)(value, self.discount)


class RewardCost(ValueCost):
    """Cost of what P decodes from predicted embeddings, where P predicts the reward.

    Args:
        model: with the head P.
        discount: of a step.
        step: that values are rounded to multiples of; 0 leaves them as they are. The tail of P far from any reward can
            rank actions by differences of 1e-7.
        ends: see `ValueCost`.
    """

    def __init__(self, model: Valued, discount: float = 0.95, step: float = STEP, ends: bool = True) -> None:
        super().__init__(discount, ends)
        self._head, self._step = model.head, step

    def value(self, predicted: Predicted) -> Float[Tensor, "batch samples horizon"]:
        """Return what P decodes."""
        decoded: Tensor = self._head.decode(self._head(predicted.flatten(0, 2)))
        value = decoded.reshape(predicted.shape[:3])
        return (value / self._step).round() * self._step if self._step else value


class ReturnCost:
    """Cost of TD-MPC2: minus the discounted rewards of the actions and the value of the last embedding.

    Args:
        reward: embeddings (M, d) and actions (M, A) -> rewards (M,).
        value: embeddings (M, d) -> values (M,).
        start: (B, d) the embeddings that the sequences begin at.
        discount: of a step.
    """

    def __init__(
        self,
        reward: Callable[[Tensor, Tensor], Tensor],
        value: Callable[[Tensor], Tensor],
        start: Float[Tensor, "batch latent"],
        discount: float,
    ) -> None:
        self._reward, self._value, self._start, self._discount = reward, value, start, discount

    def __call__(self, predicted: Predicted, actions: Actions) -> Costs:
        """Return minus the return along the predictions."""
        start = self._start[:, None, None].expand(-1, predicted.shape[1], 1, -1)
        left = torch.cat([start, predicted[:, :, :-1]], 2)
        rewards = self._reward(left.flatten(0, 2), actions.flatten(0, 2)).view(actions.shape[:3])
        last = self._value(predicted[:, :, -1].flatten(0, 1)).view(actions.shape[:2])
        return discounted_sum(rewards, self._discount) - self._discount ** actions.shape[2] * last


class GoalCost(ValueCost):
    """Cost of the first arrival at an embedding: exp(-distance^2 / tau^2) counts as having arrived.

    The sum of distances would be wrong where the embedding is folded, so that observations far away are near.

    Args:
        goal: (B, d), one for each environment.
        tau: distance at which the value is 1/e.
        discount: of a step.
    """

    def __init__(self, goal: Float[Tensor, "batch latent"], tau: float, discount: float = 0.95) -> None:
        if not tau > 0:
            raise PlanningError(f"tau={tau}: must be positive; all embeddings of the run may coincide")
        super().__init__(discount, True)
        self._goal, self._tau = goal, tau

    def value(self, predicted: Predicted) -> Float[Tensor, "batch samples horizon"]:
        """Return the share of having arrived."""
        goal = self._goal.to(predicted)[:, None, None]
        return (-(predicted - goal).square().sum(-1) / self._tau**2).exp()
