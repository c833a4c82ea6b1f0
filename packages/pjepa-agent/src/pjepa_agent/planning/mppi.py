"""Model predictive path integral control, MPPI (Williams et al., 2015), over the best samples as in TD-MPC2."""

from dataclasses import dataclass
from typing import Annotated

import torch

from pjepa_agent.config.fields import Between
from pjepa_agent.planning.base import Plan
from pjepa_agent.planning.sampling import Decision, SamplingPlanner, take_samples
from pjepa_agent.planning.spaces import Distribution


@dataclass(eq=False)
class MPPI(SamplingPlanner):
    """Weight the best sequences by the exponential of their costs, and fit the next distribution to all of them.

    One of them, drawn by its weight, is executed.
    """

    elites: Annotated[int, Between(2, 2**20)] = 16
    """Best sequences that are weighted."""
    temperature: Annotated[float, Between(1e-9, 1e9)] = 0.05
    """Difference of costs at which a sequence weighs e times less."""
    least_deviation: Annotated[float, Between(0, 1)] = 0.05
    """Smallest standard deviation; of discrete actions, the share of uniform choices."""

    def _decide(self, decision: Decision, distribution: Distribution) -> Plan:
        for _ in range(self.iterations):
            known = decision.evaluate(self._draw(distribution, self.samples))
            least, chosen = known[2].topk(self.elites, 1, largest=False)
            weights = torch.softmax((least[:, :1] - least) / self.temperature, 1)
            elites = take_samples(known, chosen)
            distribution = distribution.fit(elites[0], weights).at_least(self.least_deviation)
        drawn = torch.multinomial(weights, 1, generator=self._generator(weights.device, "execution"))
        return decision.plan(take_samples(elites, drawn), {"location": self.space.location(distribution)})
