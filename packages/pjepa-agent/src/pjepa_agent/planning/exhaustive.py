"""Comparison of all sequences of actions up to a horizon: the oracle of the other planners."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.config.fields import Between, ConfigError, check_bounds
from pjepa_agent.planning.base import Cost, Dynamics, Generators, Plan, pick_least, rows_of
from pjepa_agent.planning.prefixes import evaluate_all

MOST_SEQUENCES = 2**14
"""Most sequences that are compared."""


@dataclass(eq=False)
class Exhaustive:
    """Compare all sequences of some actions, and execute the best; of several, one at random.

    Sequences that begin alike share their predictions: 30 applications of the dynamics for two actions and four steps.
    """

    choices: Float[Tensor, "choices action"]
    """Actions (K, A) to choose from, in the units of the data."""
    horizon: Annotated[int, Between(1, 14)] = 4
    """Steps that are predicted."""
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Seed of the choice among several best sequences."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.sequences > MOST_SEQUENCES:
            raise ConfigError(
                f"horizon={self.horizon}: {len(self.choices)} actions make {self.sequences} sequences, more than "
                f"{MOST_SEQUENCES}; choose a shorter one, or another planner"
            )
        self._generator = Generators(self.seed)

    @property
    def sequences(self) -> int:
        """Return the number of sequences, per environment."""
        return len(self.choices) ** self.horizon

    @torch.no_grad()
    def plan(
        self, model: Dynamics, embedding: Float[Tensor, "batch latent"], cost: Cost, previous: Plan | None = None
    ) -> Plan:
        """Plan from embeddings (B, d). Nothing of `previous` is used.

        Raises:
            PlanningError: the cost is NaN, or of a wrong shape.
        """
        choices = self.choices.to(embedding)
        numbers = torch.arange(len(choices), device=embedding.device)
        sequences = choices[torch.cartesian_prod(*[numbers] * self.horizon).view(-1, self.horizon)]
        predicted, costs = evaluate_all(model, embedding, cost, choices, sequences)
        index = pick_least(costs, self._generator(embedding.device))
        return Plan(sequences[index], rows_of(predicted, index), rows_of(costs, index), self._calls, {})

    @property
    def _calls(self) -> float:
        return float(sum(len(self.choices) ** step for step in range(1, self.horizon + 1)))
