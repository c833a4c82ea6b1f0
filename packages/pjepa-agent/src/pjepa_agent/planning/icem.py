"""The improved cross-entropy method, iCEM (Pinneri et al., 2021)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pjepa_agent.config.fields import Between
from pjepa_agent.planning.base import Plan
from pjepa_agent.planning.cem import CEM
from pjepa_agent.planning.sampling import Candidates, take_samples
from pjepa_agent.planning.spaces import Distribution, Samples


@dataclass(eq=False)
class ICEM(CEM):
    """CEM with coloured noise, fewer samples in later iterations, and elites that stay.

    A share of the elites stays for the next iteration, and, shifted by a step with a new last action, for the next
    decision. The centre of the distribution replaces one sample of the last iteration. The best sequence is executed.
    Discrete actions are sampled by Gumbel noise of the same spectrum, which keeps the probabilities of every step.
    """

    samples: Annotated[int, Between(2, 2**20)] = 40
    """Sequences in the first iteration."""
    elites: Annotated[int, Between(2, 2**20)] = 10
    """Best sequences that the next distribution is fitted to."""
    beta: Annotated[float, Between(0, 10)] = 2.0
    """Exponent of the noise: its power falls with the frequency to this power. 0 is white."""
    decay: Annotated[float, Between(1, 100)] = 1.25
    """Divisor of the number of samples from one iteration to the next, which stays at least twice `elites`."""
    reuse: Annotated[float, Between(0, 1)] = 0.3
    """Share of the elites that stays."""

    @property
    def _reused(self) -> int:
        return int(self.reuse * self.elites)

    def _sample(self, distribution: Distribution, iteration: int, previous: Plan | None) -> Samples:
        number = min(self.samples, max(2 * self.elites, int(self.samples / self.decay**iteration)))
        samples = self._draw(distribution, number, self.beta)
        if iteration == self.iterations - 1:
            samples[:, :1] = distribution.centre
        if iteration == 0 and previous is not None and self._reused:
            samples = torch.cat([samples, self._shifted(previous.memory["elites"])], 1)
        return samples

    def _shifted(self, elites: Tensor) -> Samples:
        """Shift elites (B, n, H, C) of the last decision by a step, with random last actions."""
        batch, number = elites.shape[:2]
        last = self.space.uniform(batch, number, 1, self._generator(elites.device))
        return torch.cat([elites[:, :, 1:], last], 2)

    def _keep(self, elites: Candidates) -> Candidates | None:
        index = torch.arange(self._reused, device=elites[2].device).expand(len(elites[2]), -1)
        return take_samples(elites, index)

    def _remember(self, elites: Candidates) -> dict[str, Tensor]:
        return {"elites": elites[0][:, : self._reused]}
