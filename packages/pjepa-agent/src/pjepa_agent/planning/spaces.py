"""Spaces of actions, and distributions over sequences of them that sampling planners fit."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.planning.base import PlanningError

Samples = Float[Tensor, "batch samples horizon coordinate"]
"""Sequences of actions in the coordinates of a distribution."""

SMALLEST = 1e-6
"""Smallest probability in a logarithm, and distance of a uniform number to 0 and 1."""


@runtime_checkable
class Distribution(Protocol):
    """A distribution over sequences of H actions, for each of B environments."""

    def sample(self, noise: Samples) -> Samples:
        """Turn standard normal noise (B, N, H, C) into samples."""

    def fit(self, samples: Samples, weights: Float[Tensor, "batch samples"] | None = None) -> "Distribution":
        """Fit a distribution to samples, all alike or by weights (B, N) that sum to 1."""

    def mixed(self, old: "Distribution", share: float) -> "Distribution":
        """Mix with another distribution, of which a share is taken."""

    def at_least(self, deviation: float) -> "Distribution":
        """Widen the distribution to a smallest standard deviation, where it has one."""

    @property
    def centre(self) -> Samples:
        """The sequence (B, 1, H, C) in its middle: the mean, or the most probable action of each step."""


@runtime_checkable
class Space(Protocol):
    """Actions of an environment.

    Attributes:
        coordinates: C, numbers of a sample at each step.
    """

    coordinates: int

    def values(self, samples: Samples) -> Float[Tensor, "batch samples horizon action"]:
        """Turn samples into actions in the units of the data."""

    def samples(self, values: Float[Tensor, "batch samples horizon action"]) -> Samples:
        """Turn actions in the units of the data into samples, as `values` takes them."""

    def start(self, batch: int, horizon: int, deviation: float, device: torch.device) -> Distribution:
        """Return the distribution that knows nothing: around the middle, or uniform."""

    def resume(self, memory: Tensor, deviation: float) -> Distribution:
        """Return the distribution whose location (B, H, C) is that of an earlier one, with new deviations."""

    def location(self, distribution: Distribution) -> Tensor:
        """Return the location (B, H, C) of a distribution, as `resume` takes it."""

    def blank(self, device: torch.device) -> Float[Tensor, " coordinate"]:
        """Return the location (C,) of a step of which nothing is known."""

    def uniform(
        self, batch: int, samples: int, horizon: int, generator: torch.Generator
    ) -> Float[Tensor, "batch samples horizon coordinate"]:
        """Draw samples (B, N, H, C) that the random policy might."""


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions, clipped to [-1, 1].

    Attributes:
        mean, deviation: (B, H, A).
    """

    mean: Tensor
    deviation: Tensor

    def sample(self, noise: Samples) -> Samples:
        """Scale and clip standard normal noise (B, N, H, A)."""
        return (self.mean[:, None] + self.deviation[:, None] * noise).clamp(-1, 1)

    def fit(self, samples: Samples, weights: Float[Tensor, "batch samples"] | None = None) -> "Gaussian":
        """Fit mean and standard deviation to samples."""
        if weights is None:
            return Gaussian(samples.mean(1), samples.std(1))
        weight = weights[..., None, None]
        mean = (weight * samples).sum(1)
        return Gaussian(mean, (weight * (samples - mean[:, None]).square()).sum(1).sqrt())

    def mixed(self, old: Distribution, share: float) -> "Gaussian":
        """Interpolate mean and deviation."""
        assert isinstance(old, Gaussian)
        return Gaussian(self.mean.lerp(old.mean, share), self.deviation.lerp(old.deviation, share))

    def at_least(self, deviation: float) -> "Gaussian":
        """Widen the deviations to a smallest one."""
        return Gaussian(self.mean, self.deviation.clamp(min=deviation))

    @property
    def centre(self) -> Samples:
        """The mean (B, 1, H, A)."""
        return self.mean[:, None].clamp(-1, 1)


class Continuous:
    """Actions between bounds. Samples are in [-1, 1].

    Args:
        low, high: (A,) bounds in the units of the data.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        self.low, self.high = torch.tensor(low, dtype=torch.float32), torch.tensor(high, dtype=torch.float32)
        if self.low.shape != self.high.shape or self.low.ndim != 1 or not bool((self.low <= self.high).all()):
            raise PlanningError(f"actions from {list(low)} to {list(high)}: must be as many bounds, the lower first")
        self.coordinates = len(self.low)

    def values(self, samples: Samples) -> Float[Tensor, "batch samples horizon action"]:
        """Scale samples from [-1, 1] to the bounds."""
        low, high = self.low.to(samples), self.high.to(samples)
        return (low + (samples + 1) / 2 * (high - low)).clamp(low, high)

    def samples(self, values: Float[Tensor, "batch samples horizon action"]) -> Samples:
        """Scale actions from the bounds to [-1, 1]."""
        low, high = self.low.to(values), self.high.to(values)
        return (2 * (values - low) / torch.where(high > low, high - low, 1.0) - 1).clamp(-1, 1)

    def start(self, batch: int, horizon: int, deviation: float, device: torch.device) -> Gaussian:
        """Return normal distributions around the middle; the deviation is in halves of the range."""
        mean = torch.zeros(batch, horizon, self.coordinates, device=device)
        return self.resume(mean, deviation)

    def resume(self, memory: Tensor, deviation: float) -> Gaussian:
        """Return normal distributions around means (B, H, A)."""
        return Gaussian(memory, torch.full_like(memory, deviation))

    def location(self, distribution: Distribution) -> Tensor:
        """Return the means (B, H, A)."""
        assert isinstance(distribution, Gaussian)
        return distribution.mean

    def blank(self, device: torch.device) -> Float[Tensor, " coordinate"]:
        """Return the middle."""
        return torch.zeros(self.coordinates, device=device)

    def uniform(
        self, batch: int, samples: int, horizon: int, generator: torch.Generator
    ) -> Float[Tensor, "batch samples horizon coordinate"]:
        """Draw uniformly between the bounds."""
        shape = (batch, samples, horizon, self.coordinates)
        return torch.rand(shape, generator=generator, device=generator.device) * 2 - 1


@dataclass(frozen=True)
class Categorical:
    """Independent choices at every step, of one or several components.

    Attributes:
        probability: (B, H, C), summing to 1 within each component.
        counts: number of choices of each component, C in all.
    """

    probability: Tensor
    counts: tuple[int, ...]

    def sample(self, noise: Samples) -> Samples:
        """Draw one-hot choices (B, N, H, C) by Gumbel noise, made of standard normal noise of the same correlations."""
        uniform = torch.special.ndtr(noise).clamp(SMALLEST, 1 - SMALLEST)
        score = self.probability[:, None].clamp(min=SMALLEST).log() - (-uniform.log()).log()
        return _largest(score, self.counts)

    def fit(self, samples: Samples, weights: Float[Tensor, "batch samples"] | None = None) -> "Categorical":
        """Fit probabilities: the shares of the choices."""
        share = samples.mean(1) if weights is None else (weights[..., None, None] * samples).sum(1)
        return Categorical(share, self.counts)

    def mixed(self, old: Distribution, share: float) -> "Categorical":
        """Mix the probabilities."""
        assert isinstance(old, Categorical)
        return Categorical(self.probability.lerp(old.probability, share), self.counts)

    def at_least(self, deviation: float) -> "Categorical":
        """Mix with uniform choices, so that every one stays possible; the share is the deviation."""
        uniform = torch.cat([torch.full((count,), 1 / count) for count in self.counts]).to(self.probability)
        return Categorical(self.probability.lerp(uniform.expand_as(self.probability), deviation), self.counts)

    @property
    def centre(self) -> Samples:
        """The most probable choices (B, 1, H, C)."""
        return _largest(self.probability[:, None], self.counts)


def _largest(score: Tensor, counts: Sequence[int]) -> Tensor:
    """Return one-hot rows of the largest score within each component."""
    parts = score.split(list(counts), -1)
    hot = [torch.nn.functional.one_hot(part.argmax(-1), part.shape[-1]) for part in parts]
    return torch.cat(hot, -1).to(score.dtype)


class Discrete:
    """Choices of one or several components. Samples are one-hot, one part for each component.

    Args:
        counts: number of choices of each component.
        one_hot: actions in the data are one-hot, too; False where they are the numbers 0, 1, ... of the choices.
    """

    def __init__(self, counts: Sequence[int], one_hot: bool = True) -> None:
        if not counts or min(counts) < 1:
            raise PlanningError(f"actions with {list(counts)} choices: every component needs at least one")
        self.counts, self.one_hot = tuple(counts), one_hot
        self.coordinates = sum(counts)

    def values(self, samples: Samples) -> Float[Tensor, "batch samples horizon action"]:
        """Return the samples, or the numbers of their choices."""
        if self.one_hot:
            return samples
        parts = samples.split(list(self.counts), -1)
        return torch.stack([part.argmax(-1) for part in parts], -1).to(samples.dtype)

    def samples(self, values: Float[Tensor, "batch samples horizon action"]) -> Samples:
        """Return the values, or the one-hot rows of numbers of choices."""
        if self.one_hot:
            return values
        numbers = values.round().long()
        hot = [torch.nn.functional.one_hot(numbers[..., i], count) for i, count in enumerate(self.counts)]
        return torch.cat(hot, -1).to(values.dtype)

    def start(self, batch: int, horizon: int, deviation: float, device: torch.device) -> Categorical:
        """Return uniform choices; the deviation changes nothing."""
        blank = self.blank(device).expand(batch, horizon, -1)
        return Categorical(blank, self.counts)

    def resume(self, memory: Tensor, deviation: float) -> Categorical:
        """Return earlier probabilities (B, H, C), half mixed with uniform ones: a certain choice can be revised."""
        return Categorical(memory, self.counts).at_least(0.5)

    def location(self, distribution: Distribution) -> Tensor:
        """Return the probabilities (B, H, C)."""
        assert isinstance(distribution, Categorical)
        return distribution.probability

    def blank(self, device: torch.device) -> Float[Tensor, " coordinate"]:
        """Return uniform probabilities."""
        return torch.cat([torch.full((count,), 1 / count) for count in self.counts]).to(device)

    def uniform(
        self, batch: int, samples: int, horizon: int, generator: torch.Generator
    ) -> Float[Tensor, "batch samples horizon coordinate"]:
        """Draw every choice with equal probability."""
        shape = (batch, samples, horizon, self.coordinates)
        return _largest(torch.rand(shape, generator=generator, device=generator.device), self.counts)

    def all_choices(self) -> Float[Tensor, "choices coordinate"]:
        """Return every combination of choices, one-hot: (K, C) with K the product of the counts."""
        numbers = torch.tensor(list(itertools.product(*map(range, self.counts))))
        parts = [torch.nn.functional.one_hot(numbers[:, i], count) for i, count in enumerate(self.counts)]
        return torch.cat(parts, -1).float()

    @property
    def combinations(self) -> int:
        """K, the number of combinations of choices."""
        return math.prod(self.counts)
