"""The task of a question in the world of a run: its problems, and what an imagined way to their goals costs."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset, read_transitions
from bisim_theory.data.auxiliary import stored_values
from numpy.typing import NDArray
from torch import Tensor

from pjepa_agent.config.schema import Config
from pjepa_agent.envs.acting import Acting
from pjepa_agent.model import PJEPA
from pjepa_agent.planning import problems as making
from pjepa_agent.planning.base import Cost, PlanningError
from pjepa_agent.planning.costs import STEP, GoalCost, RewardCost
from pjepa_agent.planning.goals import arrival_scale, find_goal
from pjepa_agent.planning.imported import ImportedCost
from pjepa_agent.planning.problems import Problem, Problems
from pjepa_agent.planning.question import EPISODES, Question
from pjepa_agent.runs.directory import RunDirectory, RunError


class RunTask:
    """The task that is asked of a run.

    Args:
        run: the run directory.
        config: of the run, with the environment to act in.
        model: of the run.
        acting: the world.
        asked: the question.
    """

    def __init__(self, run: RunDirectory, config: Config, model: PJEPA, acting: Acting, asked: Question) -> None:
        self._run, self._config, self._model, self._acting, self._asked = run, config, model, acting, asked

    @functools.cached_property
    def data(self) -> TransitionDataset | None:
        """Transitions of the run with observations; None where there are none on disk."""
        if not self._run.transitions.is_file():
            return None
        data = read_transitions(self._run.transitions)
        return None if data.observation is None else data

    @functools.cached_property
    def rewards_end(self) -> bool:
        """True where a reward above 0 is the end of an episode, so that there is something to reach."""
        if self._acting.counting:
            return True
        data = self.data
        if data is None or data.reward is None or data.terminated is None:
            return False
        rewarded = data.reward > 0
        return bool(rewarded.any() and data.terminated[rewarded].all())

    @functools.cached_property
    def problems(self) -> Problems:
        """The problems, whose making raises what cannot be asked."""
        asked, config = self._asked, self._config
        episodes = EPISODES if asked.episodes is None else asked.episodes
        if asked.task == "reward":
            if self._acting.counting:
                return making.counting_rewards(config, episodes, asked.seed)
            if config.objective.auxiliary.startswith("terminated") and not self.rewards_end and asked.cost is None:
                raise PlanningError(
                    f"{self._run.path}: its P predicts terminated, and no end of an episode is rewarded; give a --cost"
                )
            return making.world_rewards(self._acting, episodes, asked.seed, self.data, self.rewards_end)
        return find_goal(config, self._acting, self._model, self.data, asked.goal, asked.episodes, EPISODES, asked.seed)

    def taken(self) -> NDArray[Any]:
        """Return actions (N, A) of the run, for ranges that the world leaves open."""
        if self.data is None or self.data.action_value is None:
            return np.stack([-np.ones(self._model.spec.action_dim), np.ones(self._model.spec.action_dim)])
        return self.data.action_value

    def cost(self, step: float, problems: Sequence[Problem]) -> Cost:
        """Return the cost of problems, P rounded to multiples of a step."""
        discount = self._config.objective.discount
        if self._asked.cost is not None:
            return self._imported
        if self._asked.task == "reward":
            return RewardCost(self._model, discount, step, self._arrives)
        return GoalCost(self._goal_embedding[[problem.goal for problem in problems]], self._tau, discount)

    def describe(self) -> dict[str, Any]:
        """Say how the cost is computed."""
        asked = self._asked
        return {
            "cost": asked.cost or self._name,
            "rounded_to": STEP if asked.of_reward else None,
            "tau": self._tau if asked.task == "goal" and asked.cost is None else None,
            "discount": self._config.objective.discount,
        }

    @property
    def _name(self) -> str:
        if self._asked.task == "goal":
            return "first arrival at the goal's embedding"
        kind = "first arrival" if self._arrives else "discounted sum"
        return f"{kind} of P, which predicts {self._config.objective.auxiliary}"

    @functools.cached_property
    def _imported(self) -> ImportedCost:
        assert self._asked.cost is not None
        return ImportedCost(self._asked.cost, self._model)

    @functools.cached_property
    def _arrives(self) -> bool:
        """True where a positive value of p is the end of an episode and at most 1: a probability of having arrived."""
        if not self.rewards_end or self._acting.counting:
            return self.rewards_end
        assert self.data is not None
        values = stored_values(self.data)
        known = values.value[values.known]
        return bool(known.min() >= 0 and known.max() <= 1)

    @functools.cached_property
    def _goal_embedding(self) -> Tensor:
        return self._model.encode(self.problems.goals)

    @functools.cached_property
    def _tau(self) -> float:
        data = self.data
        if data is None:
            raise RunError(f"{self._run.transitions}: has no observations, from which the length of a step is measured")
        return arrival_scale(self._model, data)
