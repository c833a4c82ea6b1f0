"""Costs of predicted embeddings: reward, distance to a goal, or a function of the user's."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from bisim_theory.data.imported import describe_error
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.config.imports import import_function
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


class RewardCost:
    """Cost of what P decodes from predicted embeddings, where P predicts the reward.

    Args:
        model: with the head P.
        discount: of a step.
        step: that values are rounded to multiples of; 0 leaves them as they are. The tail of P far from any reward can
            rank actions by differences of 1e-7.
        ends: the episode ends where the value is 1, see `first_arrival`; False sums the values of all steps.
    """

    def __init__(self, model: Valued, discount: float = 0.95, step: float = STEP, ends: bool = True) -> None:
        self._head, self._discount, self._step = model.head, discount, step
        self._total = first_arrival if ends else discounted_sum

    def __call__(self, predicted: Predicted, actions: Actions) -> Costs:
        """Return minus the discounted value of P along the predictions."""
        decoded: Tensor = self._head.decode(self._head(predicted.flatten(0, 2)))
        value = decoded.reshape(predicted.shape[:3])
        if self._step:
            value = (value / self._step).round() * self._step
        return self._total(value, self._discount)


class GoalCost:
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
        self._goal, self._tau, self._discount = goal, tau, discount

    def __call__(self, predicted: Predicted, actions: Actions) -> Costs:
        """Return minus the discounted value of the first arrival."""
        goal = self._goal.to(predicted)[:, None, None]
        squared = (predicted - goal).square().sum(-1)
        return first_arrival((-squared / self._tau**2).exp(), self._discount)


class ImportedCost:
    """Cost by a function of the user's.

    Args:
        name: ``module:function``, called with predicted embeddings (B, N, H, d), actions (B, N, H, A) and the model; it
            returns costs (B, N).
        model: handed to the function.

    Raises:
        ConfigError: the import fails.
    """

    def __init__(self, name: str, model: Any) -> None:
        self._name, self._model = name, model
        self._function: Callable[..., Any] = import_function(name, "--cost")

    def __call__(self, predicted: Predicted, actions: Actions) -> Costs:
        """Call the function.

        Raises:
            PlanningError: it fails.
        """
        try:
            found: Costs = self._function(predicted, actions, self._model)
        except (Exception, SystemExit) as error:  # a function of the user's can raise anything
            raise PlanningError(f"--cost {self._name}: raised {describe_error(error)}") from error
        return found
