"""Interfaces of planning: the dynamics, the cost and the planner, which know nothing else of each other."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


class PlanningError(ValueError):
    """Signal that nothing can be planned; the message says why and what to do instead."""


@runtime_checkable
class Dynamics(Protocol):
    """A model that predicts embeddings."""

    def rollout(
        self, embedding: Float[Tensor, "batch latent"], actions: Float[Tensor, "batch horizon action"]
    ) -> Float[Tensor, "batch horizon latent"]:
        """Predict the embeddings along actions in the units of the data."""


@runtime_checkable
class Proposing(Dynamics, Protocol):
    """A model that predicts embeddings and proposes actions, such as those of a policy prior."""

    def propose(
        self, embedding: Float[Tensor, "batch latent"], sequences: int, horizon: int
    ) -> Float[Tensor, "batch sequences horizon action"]:
        """Propose sequences of actions in the units of the data."""


@runtime_checkable
class Cost(Protocol):
    """What a planner minimises."""

    def __call__(
        self,
        predicted: Float[Tensor, "batch samples horizon latent"],
        actions: Float[Tensor, "batch samples horizon action"],
    ) -> Float[Tensor, "batch samples"]:
        """Return the cost of every sequence: a number, or infinity for one that is not allowed."""


@dataclass(frozen=True)
class Plan:
    """The sequences of actions that a planner chose for B environments.

    Attributes:
        actions: (B, H, A) in the units of the data. The first of each is to be executed.
        predicted: (B, H, d) embeddings that the dynamics predict along them.
        cost: (B,) their costs.
        calls: applications of the dynamics to one embedding and one action, per environment.
        memory: (B, ...) tensors by name, from which the planner's next decision starts.
    """

    actions: Float[Tensor, "batch horizon action"]
    predicted: Float[Tensor, "batch horizon latent"]
    cost: Float[Tensor, " batch"]
    calls: float
    memory: dict[str, Tensor]

    @property
    def first(self) -> Float[Tensor, "batch action"]:
        """The actions (B, A) to execute."""
        return self.actions[:, 0]

    def take(self, rows: Any) -> "Plan":
        """Keep the plans of some environments, by a mask (B,) or their numbers."""
        memory = {name: value[rows] for name, value in self.memory.items()}
        return replace(
            self, actions=self.actions[rows], predicted=self.predicted[rows], cost=self.cost[rows], memory=memory
        )


@runtime_checkable
class Planner(Protocol):
    """Chooses actions by the predictions of a model.

    Attributes:
        horizon: H, steps that are predicted.
        sequences: N, most sequences of actions that are compared at a time, per environment.
    """

    @property
    def horizon(self) -> int:
        """Return H, the steps that are predicted."""

    @property
    def sequences(self) -> int:
        """Return the most sequences that are compared at a time, per environment."""

    def plan(
        self, model: Dynamics, embedding: Float[Tensor, "batch latent"], cost: Cost, previous: Plan | None = None
    ) -> Plan:
        """Plan from embeddings (B, d). `previous` is the plan of the step before in the same environments."""


def checked_cost(
    cost: Cost,
    predicted: Float[Tensor, "batch samples horizon latent"],
    actions: Float[Tensor, "batch samples horizon action"],
) -> Float[Tensor, "batch samples"]:
    """Return the costs (B, N) of sequences.

    Raises:
        PlanningError: the cost is no tensor of that shape, or NaN somewhere.
    """
    return checked(cost(predicted, actions), tuple(predicted.shape[:2]))


def checked(found: Any, expected: tuple[int, ...]) -> Float[Tensor, "batch samples"]:
    """Return costs as numbers whose differences are finite.

    Args:
        found: what a cost returned.
        expected: (B, N).

    Raises:
        PlanningError: it is no tensor of that shape, or NaN somewhere.
    """
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise PlanningError(f"the cost must be a tensor {expected}, one number a sequence, is {shape}")
    if bool(found.isnan().any()):
        raise PlanningError(
            f"the cost is NaN for {int(found.isnan().sum())} of {found.numel()} sequences; it must be a number, or "
            "infinity for a sequence that is not allowed"
        )
    # Differences of infinite costs would be NaN.
    return found.float().clamp(max=torch.finfo(torch.float32).max / 2)


def pick_least(cost: Float[Tensor, "batch samples"], generator: torch.Generator) -> Tensor:
    """Return the sample (B,) of the least cost in each row, and one of them at random where several have it."""
    ties = cost == cost.min(1, keepdim=True).values
    key = torch.rand(cost.shape, generator=generator, device=cost.device)
    return (ties * (1 + key)).argmax(1)


def rows_of(values: Float[Tensor, "batch samples *rest"], index: Tensor) -> Tensor:
    """Return one sample of each row: values (B, N, ...) at index (B,) -> (B, ...)."""
    return values[torch.arange(len(values), device=values.device), index]


class Generators:
    """Random generators of a planner, one for each device, seeded alike.

    Args:
        seed: non-negative.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._of_device: dict[tuple[str, str], torch.Generator] = {}

    def __call__(self, device: torch.device, purpose: str = "samples") -> torch.Generator:
        """Return the generator of a device and a purpose; none depends on what the others have drawn."""
        key = (str(device), purpose)
        if key not in self._of_device:
            offset = 0 if purpose == "samples" else 2**32 + sum(purpose.encode())
            self._of_device[key] = torch.Generator(device).manual_seed(self._seed + offset)
        return self._of_device[key]
