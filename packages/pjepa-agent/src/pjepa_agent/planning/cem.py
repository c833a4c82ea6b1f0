"""The cross-entropy method over sequences of actions."""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from pjepa_agent.config.fields import Between
from pjepa_agent.planning.base import Plan
from pjepa_agent.planning.sampling import Candidates, Decision, SamplingPlanner, joined, take_samples
from pjepa_agent.planning.spaces import Distribution, Samples


@dataclass(eq=False)
class CEM(SamplingPlanner):
    """The cross-entropy method: sample sequences, keep the best, and fit the next distribution to them."""

    momentum: Annotated[float, Between(0, 0.999)] = 0.1
    """Share of the last distribution that stays in the next."""
    execute: Literal["best", "mean"] = "best"
    """Sequence that is executed: the best of all, or the centre of the last distribution."""

    def _decide(self, decision: Decision, distribution: Distribution) -> Plan:
        kept: Candidates | None = None  # need not be computed again
        best: Candidates | None = None
        for iteration in range(self.iterations):
            samples = self._sample(distribution, iteration, decision.previous)
            known = joined(kept, decision.evaluate(samples))
            elites = take_samples(known, known[2].topk(self.elites, 1, largest=False).indices)
            distribution = distribution.fit(elites[0]).mixed(distribution, self.momentum)
            best = self._least(joined(best, known))
            kept = self._keep(elites)
        if self.execute == "mean":
            best = decision.evaluate(distribution.centre)
        assert best is not None
        return decision.plan(best, {"location": self.space.location(distribution)} | self._remember(elites))

    def _sample(self, distribution: Distribution, iteration: int, previous: Plan | None) -> Samples:
        """Draw the sequences of an iteration."""
        return self._draw(distribution, self.samples)

    def _keep(self, elites: Candidates) -> Candidates | None:
        """Return the elites that the next iteration knows already."""
        return None

    def _remember(self, elites: Candidates) -> dict[str, Tensor]:
        """Return what the next decision starts from, besides the location."""
        return {}
