"""Several environments of a world that step together, each in an episode of its own."""

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pjepa_agent.envs.acting import Acting, Step

RECENT = 100
"""Latest episodes that have ended, whose returns are averaged."""


class Outcome(NamedTuple):
    """How an episode ended.

    Attributes:
        total: the sum of its rewards.
        success: it had a reward above 0.
    """

    total: float
    success: bool


@dataclass
class Running:
    """An episode that goes on.

    Attributes:
        number: its place among all episodes, which fixes the seed of its reset.
        step: what the environment returned last.
        trivial: it began at the rewarded count, so that there is nothing to reach.
        steps: that were taken.
        total: sum of the rewards.
        success: a reward was above 0.
    """

    number: int
    step: Step
    trivial: bool
    steps: int = 0
    total: float = 0.0
    success: bool = False


class Lockstep:
    """Step environments of a world together. Each begins a new episode where one has ended.

    The seed and the number of an episode fix its reset. What all actions were therefore fixes all that happened, unless
    the world keeps more from one episode to the next than its reset allows.

    Args:
        acting: the world.
        number: of environments.
        seed: fixes the episodes.

    Raises:
        DatasetError: an environment raises.
    """

    def __init__(self, acting: Acting, number: int, seed: int) -> None:
        self.acting, self._seed = acting, seed
        self._environments = [acting.make() for _ in range(number)]
        self._begun = 0
        self.running = [self._begin(slot) for slot in range(number)]
        self.ended: deque[Outcome] = deque(maxlen=RECENT)
        self.episodes = 0

    def __len__(self) -> int:
        """Return the number of environments."""
        return len(self.running)

    @property
    def observations(self) -> NDArray[Any]:
        """The current observations (n, ...)."""
        return np.stack([each.step.observation for each in self.running])

    @property
    def fresh(self) -> NDArray[np.bool_]:
        """(n,) where an episode begins."""
        return np.array([each.steps == 0 for each in self.running])

    def step(self, values: NDArray[Any]) -> tuple[list[Running], list[Step]]:
        """Take a step in every environment with actions (n, A) in the units of the data.

        Returns:
            The episodes in which the steps were taken, and what these returned. Where an episode has ended, `running`
            then has the next one.
        """
        episodes = list(self.running)
        steps = [self._step(slot, value) for slot, value in enumerate(values)]
        return episodes, steps

    def means(self) -> tuple[float, float]:
        """Average return and success of the latest episodes that have ended; NaN before the first.

        Episodes of the counting world that begin at the rewarded count are left out: they end after a step, unrewarded.
        """
        if not self.ended:
            return float("nan"), float("nan")
        total, success = np.mean(np.array(self.ended, np.float64), 0).tolist()
        return total, success

    def close(self) -> None:
        """Close the environments."""
        for environment in self._environments:
            environment.close()

    def _begin(self, slot: int) -> Running:
        seed = int(np.random.SeedSequence([self._seed, self._begun]).generate_state(1)[0] >> 1)
        first = self.acting.begin(self._environments[slot], seed)
        trivial = self.acting.counting and first.labels["count"] == self.acting.config.target
        self._begun += 1
        return Running(self._begun - 1, first, trivial)

    def _step(self, slot: int, value: NDArray[Any]) -> Step:
        episode = self.running[slot]
        step = self.acting.step(self._environments[slot], value)
        episode.step, episode.steps = step, episode.steps + 1
        episode.total += step.reward
        episode.success |= step.reward > 0
        if step.terminated or step.truncated:
            if not episode.trivial:
                self.ended.append(Outcome(episode.total, episode.success))
            self.episodes += 1
            self.running[slot] = self._begin(slot)
        return step
