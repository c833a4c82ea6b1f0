"""Control after knowledge: plan with the trained model of a run, in its world."""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bisim_theory.console import counted
from bisim_theory.data.labels import default_label, label_values
from bisim_theory.progress import progress_bar
from numpy.typing import NDArray

from pjepa_agent.config.schema import Config
from pjepa_agent.envs.acting import Acting
from pjepa_agent.envs.actions import Numbers
from pjepa_agent.evaluation.clusters import clusters, pairwise_distances
from pjepa_agent.evaluation.dynamics_fit import fitted_dynamics
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.planning.base import Planner, checked_cost
from pjepa_agent.planning.costs import STEP
from pjepa_agent.planning.episodes import (
    Episode,
    PlannedPolicy,
    Policy,
    RandomPolicy,
    act_in,
    decision_milliseconds,
    side_by_side,
)
from pjepa_agent.planning.question import Question
from pjepa_agent.planning.registry import action_space, make_planner, planner_settings
from pjepa_agent.planning.summary import by_goal, by_optimum, optimum_summary, summarize
from pjepa_agent.planning.tasks import RunTask
from pjepa_agent.runs.checkpoint import Which, load
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

CLASSIFIED = 2_048
"""Most observations of another world that make the centroids of its labels."""


@dataclass(frozen=True)
class Answer:
    """What planning found.

    Attributes:
        numbers: as ``plan.json`` has them.
        episodes: that were planned, P rounded.
        goals: (G, ...) goal observations.
        classify: embeddings (n, d) -> what they are taken for, as text; None where the world has no labels.
    """

    numbers: dict[str, Any]
    episodes: list[Episode]
    goals: NDArray[Any]
    classify: Callable[[NDArray[Any]], list[str]] | None


def plan_run(
    run: str | os.PathLike[str], at: Which = "last", device: torch.device | str = "cpu", **question: Any
) -> Answer:
    """Plan with the trained model of a run, in its world, and measure how well that goes.

    Examples:
        >>> from pjepa_agent.planning import plan_run
        >>> answer = plan_run("runs/NAME", task="goal", episodes=72)             # doctest: +SKIP
        >>> answer.numbers["success"], answer.numbers["random_policy"]["success"]    # doctest: +SKIP

    Args:
        run: a run directory.
        at: the checkpoint of the ``last`` update or of the ``best``.
        device: where the model computes.
        **question: fields of `Question`.

    Raises:
        RunError, ConfigError, DatasetError, PlanningError: what is asked for cannot be done; nothing was acted then,
            except where an environment raises.
    """
    asked = Question(**question)
    directory, config = RunDirectory.open(run)
    return _Control(directory, config, load(run, device, at), at, asked).answer()


class _Control:
    """Plan for a question."""

    def __init__(self, run: RunDirectory, config: Config, model: PJEPA, at: Which, asked: Question) -> None:
        asked.check(run.path, config)
        self.run, self.model, self.at, self.asked = run, model, at, asked
        self.config = dataclasses.replace(config, collection=asked.collection(config))
        self.acting = Acting(self.config.collection, model.spec)
        self.task = RunTask(run, self.config, model, self.acting, asked)
        self.problems = self.task.problems
        self.planner = self._planner()
        self._try_cost()

    def answer(self) -> Answer:
        """Act in all problems, by the planner and at random, and return the numbers."""
        logger.info(
            "planning %s: %s, horizon %d, task %s",
            *(counted(len(self.problems.each), "episode"), self.asked.planner, self.planner.horizon, self.asked.task),
        )
        episodes, numbers = self._measure("planning", self._policy(STEP))
        unrounded = None
        if self.asked.of_reward:
            unrounded = self._measure("planning with P as it is", self._policy(0.0))[1]
        refitted = self._measure_refitted() if self.asked.refit else None
        chance = self._measure("acting at random", RandomPolicy(self.acting, self.asked.seed))[1]
        found = {
            **self._how(),
            **numbers,
            "unrounded": unrounded,
            "refitted": refitted,
            "random_policy": chance,
            "optimum": optimum_summary(episodes) | {"from": self.problems.optimum_from},
            "by_optimum": by_optimum(episodes),
            "by_goal": by_goal(episodes, self.problems.goal_names),
        }
        return Answer(found, episodes, self.problems.goals, self.classify)

    def _measure_refitted(self) -> dict[str, Any]:
        """Plan with T refitted on the frozen encoder, and given the codes of actions where these are continuous."""
        data = self.task.data
        if data is None or data.action_value is None:
            raise RunError(f"{self.run.transitions}: has no observations and action values, to which T is fitted")
        actions = self.acting.actions
        codes = actions.code_meaning if isinstance(actions, Numbers) else None
        dynamics = fitted_dynamics(self.run, self.config, self.model, data, codes, self.at)
        policy = PlannedPolicy(self.model, self._planner(), functools.partial(self.task.cost, STEP), dynamics)
        given = "values" if codes is None else "bins" if codes.bins else "signs"
        return {"given": given} | self._measure("planning with T refitted", policy)[1]

    @functools.cached_property
    def classify(self) -> Callable[[NDArray[Any]], list[str]] | None:
        """Return what takes embeddings for the label of the nearest centroid; None where there are no labels."""
        if self.config.counting:
            held_out = HeldOut(self.config)
            reference = ~held_out.scored
            return _nearest(self.model.encode(held_out.images[reference]).numpy(), held_out.counts[reference])
        data = self.task.data
        if data is None or (label := default_label(data)) is None:
            return None
        frames: Any = data.observation
        number = min(data.frames, CLASSIFIED)
        return _nearest(self.model.encode(np.asarray(frames[:number])).numpy(), label_values(data, label)[:number])

    def _how(self) -> dict[str, Any]:
        """Say what was asked and how it was done."""
        asked = self.asked
        return {
            "run": str(self.run.path),
            "at": self.at,
            "world": self.config.collection.environment,
            "task": asked.task,
            "goal": asked.goal,
            **self.task.describe(),
            "planner": asked.planner,
            **planner_settings(self.planner),
            "seed": asked.seed,
            "episodes": len(self.problems.each),
            "trivial_left_out": self.problems.trivial,
        }

    def _measure(self, title: str, policy: Policy) -> tuple[list[Episode], dict[str, Any]]:
        together = side_by_side(self.planner, self.model.latent_dim)
        with progress_bar(title) as progress:
            episodes = act_in(self.problems, self.acting, policy, together, progress)
        milliseconds = None
        if isinstance(policy, PlannedPolicy):
            milliseconds = decision_milliseconds(policy, episodes[0].problem, episodes[0].steps[0].observation)
        ends = self.asked.task == "goal" or self.task.rewards_end
        return episodes, summarize(episodes, policy.calls, milliseconds, ends)

    def _policy(self, step: float) -> PlannedPolicy:
        return PlannedPolicy(self.model, self._planner(), functools.partial(self.task.cost, step))

    def _planner(self) -> Planner:
        asked = self.asked
        return make_planner(
            asked.planner, self.acting, self.task.taken, asked.predicted_steps, asked.seed, asked.settings
        )

    def _try_cost(self) -> None:
        """Raise what the cost raises, before any episode."""
        space, spec = action_space(self.acting, self.task.taken), self.model.spec
        device = self.model.device
        generator = torch.Generator(device).manual_seed(0)
        actions = space.values(space.uniform(1, 2, self.planner.horizon, generator))
        problem = self.problems.each[0]
        environment = self.acting.make(problem.target, problem.limit)
        first = self.acting.begin(environment, problem.seed, problem.options).observation
        environment.close()
        assert first.shape == spec.observation_shape
        embedding = self.model.encode(first[None]).to(device)
        with torch.no_grad():
            predicted = self.model.rollout(embedding.repeat(2, 1), actions[0])[None]
            checked_cost(self.task.cost(STEP, [problem]), predicted, actions)


def _nearest(embedding: NDArray[Any], labels: NDArray[Any]) -> Callable[[NDArray[Any]], list[str]]:
    classes, centroids, _ = clusters(embedding, labels)
    return lambda rows: [str(each) for each in classes[pairwise_distances(rows, centroids).argmin(1)].tolist()]
