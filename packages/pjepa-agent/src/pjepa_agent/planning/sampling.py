"""What planners that sample from a distribution share: its start, its samples, and the choice of the best."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pjepa_agent.config.fields import Between, ConfigError, check_bounds
from pjepa_agent.planning.base import Generators, Plan, pick_least, rows_of
from pjepa_agent.planning.noise import colored_noise
from pjepa_agent.planning.spaces import Distribution, Samples, Space

MOST_STEPS = 1_000
"""Longest horizon."""

Candidates = tuple[Tensor, Tensor, Tensor]
"""Samples (B, N, H, C), the embeddings (B, N, H, d) predicted along them, and their costs (B, N)."""


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

    def _begin(self, batch: int, device: torch.device, previous: Plan | None) -> Distribution:
        """Return the distribution to begin a decision with."""
        if previous is None:
            return self.space.start(batch, self.horizon, self.deviation, device)
        location = previous.memory["location"]
        new = self.space.blank(device).expand(batch, 1, -1)
        return self.space.resume(torch.cat([location[:, 1:], new], 1), self.deviation)

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
