"""Acting in problems: several episodes side by side, by a planner or at random."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from bisim_theory.progress import ProgressCallback, silent
from numpy.typing import NDArray

from pjepa_agent.envs.acting import Acting, Step
from pjepa_agent.model import PJEPA
from pjepa_agent.planning.base import Cost, Dynamics, Plan, Planner
from pjepa_agent.planning.problems import Problem, Problems

SIDE_BY_SIDE = 32
"""Most episodes that are planned together."""

PICTURED, FAULTS = 4, 2
"""Episodes at first whose observations are kept, and later ones that were not optimal."""

MOST_NUMBERS = 2**25
"""Most numbers of predicted embeddings at a time."""

TIMED, WARM_UP = 25, 3
"""Decisions whose time is measured, and decisions before them that are not."""


@dataclass
class Episode:
    """What happened in a problem.

    Attributes:
        problem: the problem.
        steps: the start and what each step returned.
        actions: (T, A) in the units of the data.
        predicted: for every decision, the embeddings (H, d) that its plan expected; empty of a random policy.
        reached: the goal was reached.
    """

    problem: Problem
    steps: list[Step] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    predicted: list[NDArray[np.float32]] = field(default_factory=list)
    reached: bool = False

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def pictured(self) -> bool:
        """True where observations and predictions were kept."""
        return bool(self.steps[0].observation.size)

    @property
    def total(self) -> float:
        """Sum of the rewards."""
        return sum(step.reward for step in self.steps)

    @property
    def over(self) -> bool:
        """True where the goal is reached, or the environment ended the episode."""
        return self.reached or self.steps[-1].terminated or self.steps[-1].truncated

    @property
    def optimal(self) -> bool | None:
        """True where the goal was reached in the fewest steps; None where these are not known."""
        return None if self.problem.optimum is None else self.reached and len(self) == self.problem.optimum


class Policy(Protocol):
    """Chooses actions in several episodes."""

    calls: list[float]
    """Applications of the dynamics of every decision, per environment."""

    def begin(self, problems: Sequence[Problem]) -> None:
        """Begin episodes side by side."""

    def act(
        self, running: NDArray[np.int64], observations: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return actions (B, A) in the running episodes, and the embeddings (B, H, d) that are expected."""


class RandomPolicy:
    """Draw actions that are uniform between the bounds, or among the choices.

    Args:
        acting: the world.
        seed: fixes the actions.
    """

    def __init__(self, acting: Acting, seed: int) -> None:
        self._acting, self._space = acting, copy.deepcopy(acting.space)
        self._space.seed(seed)
        self.calls: list[float] = []

    def begin(self, problems: Sequence[Problem]) -> None:
        """Begin episodes, of which nothing needs to be known."""

    def act(
        self, running: NDArray[np.int64], observations: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Draw actions."""
        self.calls += [0] * len(running)
        drawn = np.stack([np.asarray(self._space.sample()) for _ in running])
        return self._acting.actions.values(drawn), None


class PlannedPolicy:
    """Plan every action from the observation, starting from the plan of the step before.

    Args:
        model: E and T.
        planner: plans.
        cost_of: returns the cost of problems, one row for each.
        dynamics: T in place of the model's.
    """

    def __init__(
        self,
        model: PJEPA,
        planner: Planner,
        cost_of: Callable[[Sequence[Problem]], Cost],
        dynamics: Dynamics | None = None,
    ) -> None:
        self._dynamics: Dynamics = model if dynamics is None else dynamics
        self._model, self._planner, self._cost_of = model, planner, cost_of
        self._problems: Sequence[Problem] = []
        self._plan: Plan | None = None
        self._planned: NDArray[np.int64] = np.zeros(0, np.int64)
        self.calls: list[float] = []

    def begin(self, problems: Sequence[Problem]) -> None:
        """Begin episodes side by side."""
        self._problems, self._plan = problems, None

    def act(
        self, running: NDArray[np.int64], observations: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Plan in the running episodes.

        Raises:
            PlanningError: the cost cannot be used.
        """
        embedding = self._model.encode(observations).to(self._model.device)
        previous = None
        if self._plan is not None:
            previous = self._plan.take(torch.from_numpy(np.isin(self._planned, running)))
        cost = self._cost_of([self._problems[each] for each in running])
        plan = self._planner.plan(self._dynamics, embedding, cost, previous)
        self._plan, self._planned = plan, running
        self.calls += [plan.calls] * len(running)
        return plan.first.cpu().numpy().astype(np.float32), plan.predicted.cpu().numpy()


def side_by_side(planner: Planner, latent_dim: int) -> int:
    """Return how many episodes a planner's predictions have room for at a time."""
    numbers = planner.sequences * planner.horizon * latent_dim
    return max(1, min(SIDE_BY_SIDE, MOST_NUMBERS // numbers))


def act_in(
    problems: Problems,
    acting: Acting,
    policy: Policy,
    together: int = SIDE_BY_SIDE,
    progress: ProgressCallback = silent,
) -> list[Episode]:
    """Act in all problems until each is reached or over.

    Args:
        problems: the problems.
        acting: their world.
        policy: chooses the actions.
        together: most episodes side by side.
        progress: called with the number of episodes that are over and the number of all.

    Raises:
        PlanningError: the cost cannot be used.
        DatasetError: the environment raises.
    """
    episodes: list[Episode] = []
    faults = 0
    for first in range(0, len(problems.each), together):
        group = problems.each[first : first + together]
        policy.begin(group)
        ended = _act_together(group, problems.goals, acting, policy, len(episodes), len(problems.each), progress)
        for number, episode in enumerate(ended, first):
            fault = number >= PICTURED and faults < FAULTS and not (episode.reached and episode.optimal is not False)
            faults += fault
            if number >= PICTURED and not fault:
                _drop_observations(episode)
        episodes += ended
    return episodes


def _drop_observations(episode: Episode) -> None:
    """Free the memory of an episode's observations and predictions."""
    nothing = np.zeros(0, np.uint8)
    episode.steps = [replace(step, observation=nothing) for step in episode.steps]
    episode.predicted = []


def _act_together(
    group: Sequence[Problem],
    goals: NDArray[Any],
    acting: Acting,
    policy: Policy,
    done: int,
    whole: int,
    progress: ProgressCallback,
) -> list[Episode]:
    environments = [acting.make(problem.target, problem.limit) for problem in group]
    episodes = [Episode(problem) for problem in group]
    for episode, environment in zip(episodes, environments, strict=True):
        episode.steps.append(acting.begin(environment, episode.problem.seed, episode.problem.options))
    while len(running := np.array([i for i, each in enumerate(episodes) if not each.over], np.int64)):
        observations = np.stack([episodes[each].steps[-1].observation for each in running])
        values, predicted = policy.act(running, observations)
        for row, each in enumerate(running):
            step = acting.step(environments[each], values[row])
            episodes[each].steps.append(step)
            episodes[each].actions.append(values[row])
            episodes[each].reached = episodes[each].problem.reached(step, goals)
            if predicted is not None:
                episodes[each].predicted.append(predicted[row])
        progress(done + sum(each.over for each in episodes), whole)
    for environment in environments:
        environment.close()
    return episodes


def decision_milliseconds(policy: PlannedPolicy, problem: Problem, observation: NDArray[Any]) -> float:
    """Return the median time of a decision in one environment, with encoding, in milliseconds."""
    calls, seconds = policy.calls, []
    policy.begin([problem])
    for _ in range(WARM_UP + TIMED):
        started = time.perf_counter()
        policy.act(np.array([0]), observation[None])
        seconds.append(time.perf_counter() - started)
    policy.calls = calls[: len(calls) - WARM_UP - TIMED]
    return float(np.median(seconds[WARM_UP:]) * 1e3)
