"""Model predictive path integral control, MPPI (Williams et al., 2015), over the best samples as in TD-MPC2."""

from dataclasses import dataclass
from typing import Annotated

import torch

from pjepa_agent.config.fields import Between
from pjepa_agent.planning.base import Plan, Proposing
from pjepa_agent.planning.sampling import Candidates, Decision, SamplingPlanner, joined, take_samples
from pjepa_agent.planning.spaces import Distribution


@dataclass(eq=False)
class MPPI(SamplingPlanner):
    """Weight the best sequences by the exponential of their costs, and fit the next distribution to all of them.

    One of them, drawn by its weight, is executed. Where the model proposes actions, as TD-MPC2's policy prior does,
    some of the sequences are its own in every iteration.
    """

    elites: Annotated[int, Between(2, 2**20)] = 16
    """Best sequences that are weighted."""
    temperature: Annotated[float, Between(1e-9, 1e9)] = 0.05
    """Difference of costs at which a sequence weighs e times less."""
    least_deviation: Annotated[float, Between(0, 1)] = 0.05
    """Smallest standard deviation; of discrete actions, the share of uniform choices."""

    proposals: Annotated[int, Between(0, 2**20)] = 8
    """Sequences of the model among the samples, at most half of them, where it proposes any."""

    def _decide(self, decision: Decision, distribution: Distribution) -> Plan:
        proposed = self._proposed(decision)
        drawn_ones = self.samples - (0 if proposed is None else proposed[2].shape[1])
        for _ in range(self.iterations):
            known = joined(proposed, decision.evaluate(self._draw(distribution, drawn_ones)))
            least, chosen = known[2].topk(self.elites, 1, largest=False)
            weights = torch.softmax((least[:, :1] - least) / self.temperature, 1)
            elites = take_samples(known, chosen)
            distribution = distribution.fit(elites[0], weights).at_least(self.least_deviation)
        drawn = torch.multinomial(weights, 1, generator=self._generator(weights.device, "execution"))
        return decision.plan(take_samples(elites, drawn), {"location": self.space.location(distribution)})

    def _proposed(self, decision: Decision) -> Candidates | None:
        """Return the sequences that the model proposes, with their costs; None without any."""
        model, number = decision.imagination.model, min(self.proposals, self.samples // 2)
        if not number or not isinstance(model, Proposing):
            return None
        return decision.evaluate(self.space.samples(model.propose(decision.embedding, number, self.horizon)))
