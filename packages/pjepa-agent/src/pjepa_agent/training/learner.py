"""Minimise one objective: forward pass, gradients, a step of the optimiser, target networks."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple

import torch
from torch import Tensor, nn

from pjepa_agent.compute.random import UpdateStreams
from pjepa_agent.compute.scalars import Scalar
from pjepa_agent.objectives.base import Batch, Objective, Terms, Trained, weighted_sum
from pjepa_agent.training.optimizer import Optimizer


class Learnt(NamedTuple):
    """What a step on an objective has found.

    Attributes:
        terms: losses and embeddings, see `Terms`.
        total: weighted sum of the losses.
        finite: boolean scalar, whether the sum and its gradient are finite.
    """

    terms: Terms
    total: Tensor
    finite: Tensor


class Learner(Generic[Trained]):
    """Minimise one objective. What `prepare` writes to the device, `learn` reads there: it is a function of tensors.

    Args:
        objective: what is minimised.
        model: what `Objective.after_step` is given.
        step: the forward pass of the objective, perhaps compiled and wrapped in DDP.
        optimizer: of the parameters that the objective trains.
        purpose: of the random numbers that the objective draws, if it draws any.
        device: of all tensors.
    """

    def __init__(
        self,
        objective: Objective[Trained],
        model: Trained,
        step: nn.Module,
        optimizer: Optimizer,
        purpose: str,
        device: torch.device,
    ) -> None:
        self.objective, self.model, self.optimizer, self.purpose = objective, model, optimizer, purpose
        self.step: nn.Module | None = step
        self.steps = 1
        """Steps on each batch."""
        self.weights: dict[str, float | Tensor] = {}
        self._scalars: dict[str, Scalar] = {}
        self._device = device

    def prepare(self, progress: float) -> None:
        """Write weights of losses and learning rates to the device.

        Args:
            progress: share of the updates, in (0, 1], that is being done.
        """
        self.weights = {}
        for name, weight in self.objective.weights_at(progress).items():
            if isinstance(weight, Tensor):  # an objective of the user's may learn its weights
                self.weights[name] = weight
                continue
            scalar = self._scalars.setdefault(name, Scalar(self._device))
            scalar.set(weight)
            self.weights[name] = scalar.tensor
        self.optimizer.prepare()

    def learn(
        self, batch: Batch, streams: UpdateStreams, autocast: Callable[[], AbstractContextManager[object]]
    ) -> Learnt:
        """Compute the losses of a batch, step, and update what follows the parameters, as often as `steps` says.

        Args:
            batch: see `collection.replay.Replay.sample`.
            streams: of the random numbers of this update.
            autocast: context of the forward pass.

        Returns:
            What the last step has found; it counts as finite if all were.
        """
        with streams.of(self.purpose, self.objective.stochastic):
            found = [self._learn_once(batch, autocast) for _ in range(self.steps)]
        return found[-1]._replace(finite=torch.stack([each.finite for each in found]).all())

    def _learn_once(self, batch: Batch, autocast: Callable[[], AbstractContextManager[object]]) -> Learnt:
        assert self.step is not None
        with autocast():
            terms: Terms = self.step(batch)
        total = weighted_sum(terms.losses, self.weights)
        finite = self.optimizer.minimize(total)
        self.objective.after_step(self.model)
        return Learnt(terms, total, finite)

    @property
    def obstacle(self) -> str | None:
        """Say what the host does in a step, which a graph would not repeat; None if nothing is known."""
        name = type(self.objective).__name__
        if self.weights.keys() - self._scalars.keys():
            return f"weights_at of {name} returns tensors"
        if not self.objective.follows_on_device():
            return f"after_step of {name} may act on the host; set after_step_on_device where it changes tensors alone"
        return None
