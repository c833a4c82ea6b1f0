"""The cross-entropy method over sequences of actions."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.config.fields import Between
from pjepa_agent.planning.base import Cost, Dynamics, Plan, evaluate
from pjepa_agent.planning.sampling import Candidates, SamplingPlanner, joined, take_samples
from pjepa_agent.planning.spaces import Distribution, Samples


@dataclass(eq=False)
class CEM(SamplingPlanner):
    """The cross-entropy method: sample sequences, keep the best, and fit the next distribution to them."""

    momentum: Annotated[float, Between(0, 0.999)] = 0.1
    """Share of the last distribution that stays in the next."""
    execute: Literal["best", "mean"] = "best"
    """Sequence that is executed: the best of all, or the centre of the last distribution."""

    @torch.no_grad()
    def plan(
        self, model: Dynamics, embedding: Float[Tensor, "batch latent"], cost: Cost, previous: Plan | None = None
    ) -> Plan:
        """Plan from embeddings (B, d). `previous` is the plan of the step before in the same environments.

        Raises:
            PlanningError: the cost is NaN, or of a wrong shape.
        """
        distribution = self._begin(len(embedding), embedding.device, previous)
        kept: Candidates | None = None  # need not be computed again
        best: Candidates | None = None
        calls = 0
        for iteration in range(self.iterations):
            samples = self._sample(distribution, iteration, previous)
            predicted, costs = evaluate(model, embedding, self.space.values(samples), cost)
            calls += samples.shape[1] * self.horizon
            known = joined(kept, (samples, predicted, costs))
            elites = take_samples(known, known[2].topk(self.elites, 1, largest=False).indices)
            distribution = distribution.fit(elites[0]).mixed(distribution, self.momentum)
            best = self._least(joined(best, known))
            kept = self._keep(elites)
        memory = {"location": self.space.location(distribution)} | self._remember(elites)
        if self.execute == "mean":
            actions = self.space.values(distribution.centre)
            predicted, costs = evaluate(model, embedding, actions, cost)
            return Plan(actions[:, 0], predicted[:, 0], costs[:, 0], calls + self.horizon, memory)
        assert best is not None
        return Plan(self.space.values(best[0])[:, 0], best[1][:, 0], best[2][:, 0], calls, memory)

    def _sample(self, distribution: Distribution, iteration: int, previous: Plan | None) -> Samples:
        """Draw the sequences of an iteration."""
        return self._draw(distribution, self.samples)

    def _keep(self, elites: Candidates) -> Candidates | None:
        """Return the elites that the next iteration knows already."""
        return None

    def _remember(self, elites: Candidates) -> dict[str, Tensor]:
        """Return what the next decision starts from, besides the location."""
        return {}
