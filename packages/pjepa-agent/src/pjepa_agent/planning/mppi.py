"""Model predictive path integral control, MPPI (Williams et al., 2015), over the best samples as in TD-MPC2."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.config.fields import Between
from pjepa_agent.planning.base import Cost, Dynamics, Plan, evaluate
from pjepa_agent.planning.sampling import Candidates, SamplingPlanner, take_samples


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

    @torch.no_grad()
    def plan(
        self, model: Dynamics, embedding: Float[Tensor, "batch latent"], cost: Cost, previous: Plan | None = None
    ) -> Plan:
        """Plan from embeddings (B, d). `previous` is the plan of the step before in the same environments.

        Raises:
            PlanningError: the cost is NaN, or of a wrong shape.
        """
        distribution = self._begin(len(embedding), embedding.device, previous)
        for _ in range(self.iterations):
            samples = self._draw(distribution, self.samples)
            predicted, costs = evaluate(model, embedding, self.space.values(samples), cost)
            least, chosen = costs.topk(self.elites, 1, largest=False)
            weights = torch.softmax((least[:, :1] - least) / self.temperature, 1)
            elites: Candidates = take_samples((samples, predicted, costs), chosen)
            distribution = distribution.fit(elites[0], weights).at_least(self.least_deviation)
        drawn = torch.multinomial(weights, 1, generator=self._generator(embedding.device, "execution"))
        sample, predicted, costs = take_samples(elites, drawn)
        memory = {"location": self.space.location(distribution)}
        calls = self.iterations * self.samples * self.horizon
        return Plan(self.space.values(sample)[:, 0], predicted[:, 0], costs[:, 0], calls, memory)
