"""What planners that sample from a distribution share: its start, its samples, and the choice of the best."""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.config.fields import Between, ConfigError, check_bounds
from pjepa_agent.planning.base import Cost, Dynamics, Generators, Plan, pick_least, rows_of
from pjepa_agent.planning.noise import colored_noise
from pjepa_agent.planning.prefixes import Imagination
from pjepa_agent.planning.spaces import Distribution, Samples, Space

MOST_STEPS = 1_000
"""Longest horizon."""

Candidates = tuple[Tensor, Tensor, Tensor]
"""Samples (B, N, H, C), the embeddings (B, N, H, d) predicted along them, and their costs (B, N)."""


@dataclass
class Decision:
    """One decision of a planner in B environments.

    Attributes:
        space: actions of the environment.
        imagination: predicts and says what that costs.
        embedding: (B, d) where the environments are.
        previous: plan of the step before in the same environments; None at first.
    """

    space: Space
    imagination: Imagination
    embedding: Float[Tensor, "batch latent"]
    previous: Plan | None

    def evaluate(self, samples: Samples) -> Candidates:
        """Predict along samples (B, N, H, C), and return them with the predictions and the costs.

        Raises:
            PlanningError: the cost is NaN, or of a wrong shape.
        """
        return samples, *self.imagination.evaluate(self.space.values(samples))

    def plan(self, chosen: Candidates, memory: dict[str, Tensor]) -> Plan:
        """Return the plan to execute one candidate of each row."""
        samples, predicted, costs = chosen
        calls = self.imagination.calls
        return Plan(self.space.values(samples)[:, 0], predicted[:, 0], costs[:, 0], calls, memory)


@dataclass(eq=False)
class SamplingPlanner:
    """Sample sequences of actions from a distribution that is fitted to the best of them.

    Its location is shifted by a step between decisions, and its deviation begins anew.
    """

    space: Space
    """Actions of the environment."""
    horizon: Annotated[int, Between(1, MOST_STEPS)] = 6
    """Steps that are predicted."""
    samples: Annotated[int, Between(2, 2**20)] = 64
    """Sequences in the first iteration."""
    elites: Annotated[int, Between(2, 2**20)] = 8
    """Best sequences that the next distribution is fitted to."""
    iterations: Annotated[int, Between(1, 1_000)] = 3
    """Distributions that are sampled from."""
    deviation: Annotated[float, Between(1e-6, 1e3)] = 0.5
    """Standard deviation at first, in halves of the actions' range."""
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Seed of the samples."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.elites > self.samples:
            raise ConfigError(f"elites={self.elites}: exceeds samples={self.samples}")
        self._generator = Generators(self.seed)

    @property
    def sequences(self) -> int:
        """Return the most sequences that are compared at a time, per environment."""
        return self.samples + self.elites

    @torch.no_grad()
    def plan(
        self, model: Dynamics, embedding: Float[Tensor, "batch latent"], cost: Cost, previous: Plan | None = None
    ) -> Plan:
        """Plan from embeddings (B, d). `previous` is the plan of the step before in the same environments.

        Raises:
            PlanningError: the cost is NaN, or of a wrong shape.
        """
        first = self._begin(len(embedding), embedding.device, previous)
        return self._decide(Decision(self.space, Imagination(model, embedding, cost), embedding, previous), first)

    def _decide(self, decision: Decision, distribution: Distribution) -> Plan:
        """Make a decision, beginning with a distribution."""
        raise NotImplementedError

    def _begin(self, batch: int, device: torch.device, previous: Plan | None) -> Distribution:
        """Return the distribution to begin a decision with."""
        if previous is None:
            return self.space.start(batch, self.horizon, self.deviation, device)
        location = previous.memory["location"]
        new = self.space.blank(device).expand(batch, 1, -1)
        return self.space.resume(torch.cat([location[:, 1:], new], 1), self.deviation)

    def forget(self, previous: Plan, rows: Tensor) -> Plan:
        """Return a plan with a location that knows nothing in the environments of a mask (B,), where episodes begin."""
        location = previous.memory["location"]
        location = torch.where(rows.to(location.device)[:, None, None], self.space.blank(location.device), location)
        return replace(previous, memory=previous.memory | {"location": location})

    def _draw(self, distribution: Distribution, number: int, beta: float = 0.0) -> Samples:
        """Draw so many samples with noise of a spectrum 1/f^beta."""
        location = self.space.location(distribution)
        shape = (len(location), number, self.horizon, self.space.coordinates)
        return distribution.sample(colored_noise(beta, shape, self._generator(location.device)))

    def _least(self, known: Candidates) -> Candidates:
        """Return the best of each row, one of them at random where several are."""
        index = pick_least(known[2], self._generator(known[2].device, "ties"))
        samples, predicted, cost = (rows_of(each, index)[:, None] for each in known)
        return samples, predicted, cost


def joined(one: Candidates | None, other: Candidates) -> Candidates:
    """Join candidates along the samples."""
    if one is None:
        return other
    samples, predicted, cost = (torch.cat(pair, 1) for pair in zip(one, other, strict=True))
    return samples, predicted, cost


def take_samples(known: Candidates, index: Tensor) -> Candidates:
    """Return candidates of each row by their numbers (B, n)."""
    row = torch.arange(len(index), device=index.device)[:, None]
    return known[0][row, index], known[1][row, index], known[2][row, index]
