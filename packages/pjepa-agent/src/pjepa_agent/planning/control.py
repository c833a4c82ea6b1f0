"""Control after knowledge: plan with the trained model of a run, in its world."""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from bisim_theory import TransitionDataset, read_transitions
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.labels import default_label, label_values
from bisim_theory.progress import progress_bar
from numpy.typing import NDArray
from torch import Tensor

from pjepa_agent.config.fields import ConfigError, parse_value
from pjepa_agent.config.schema import CollectionConfig, Config
from pjepa_agent.envs.acting import Acting
from pjepa_agent.envs.actions import Choices, Numbers
from pjepa_agent.evaluation.clusters import clusters, pairwise_distances
from pjepa_agent.evaluation.dynamics_fit import fitted_dynamics
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.planning import problems as making
from pjepa_agent.planning.base import Cost, Planner, PlanningError, checked_cost
from pjepa_agent.planning.cem import CEM
from pjepa_agent.planning.costs import STEP, GoalCost, ImportedCost, RewardCost
from pjepa_agent.planning.episodes import (
    Episode,
    PlannedPolicy,
    Policy,
    RandomPolicy,
    act_in,
    decision_milliseconds,
    side_by_side,
)
from pjepa_agent.planning.exhaustive import Exhaustive
from pjepa_agent.planning.goals import find_goal
from pjepa_agent.planning.icem import ICEM
from pjepa_agent.planning.mppi import MPPI
from pjepa_agent.planning.problems import Problem, Problems
from pjepa_agent.planning.spaces import Continuous, Discrete, Space
from pjepa_agent.planning.summary import by_optimum, optimum_summary, summarize
from pjepa_agent.runs.checkpoint import Which, load
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

Task = Literal["reward", "goal"]
PLANNERS = {"icem": ICEM, "cem": CEM, "mppi": MPPI, "exhaustive": Exhaustive}
"""Planners by name."""

HORIZON = {"reward": 6, "goal": 8}
"""Steps that are predicted, by task."""

EPISODES = 200
"""Episodes by default. In the counting world, goals take whole rounds of all pairs: 216 of 72."""

MEASURED = 250
"""Transitions from which the length of a latent step is measured."""

CLASSIFIED = 2_048
"""Most observations of another world that make the centroids of its labels."""


@dataclass(frozen=True)
class Question:
    """What is asked of a run.

    Attributes:
        task: ``reward``, or ``goal`` for observations to be reached.
        goal: held-out observation by number (in the counting world a count), or the file of one; None for all.
        planner: name in `PLANNERS`.
        horizon: steps that are predicted; None for those of the task.
        episodes: number; None for `EPISODES`.
        cost: ``module:function`` instead of the task's cost, see `ImportedCost`; the task still says what is reached.
        seed: fixes episodes and samples.
        settings: ``NAME=VALUE`` of the planner, such as ``samples=100``.
        environment: to act in, instead of the one that the run collected in.
        arguments: of that environment.
        refit: plan also with T refitted on the frozen encoder, see `evaluation.dynamics_fit`.
    """

    task: Task = "reward"
    goal: int | str | None = None
    planner: str = "icem"
    horizon: int | None = None
    episodes: int | None = None
    cost: str | None = None
    seed: int = 0
    settings: Sequence[str] = ()
    environment: str | None = None
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    refit: bool = False


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
        self.run, self.model, self.at, self.asked = run, model, at, asked
        self.config = dataclasses.replace(config, collection=_collection(config, asked))
        self._check()
        self.acting = Acting(self.config.collection, model.spec)
        self.problems = self._problems()
        self.planner = self._planner()
        self._try_cost()

    @functools.cached_property
    def data(self) -> TransitionDataset | None:
        """Transitions of the run with observations; None where there are none on disk."""
        if not self.run.transitions.is_file():
            return None
        data = read_transitions(self.run.transitions)
        return None if data.observation is None else data

    @functools.cached_property
    def rewards_end(self) -> bool:
        """True where a reward above 0 is the end of an episode, so that there is something to reach."""
        if self.acting.counting:
            return True
        data = self.data
        if data is None or data.reward is None or data.terminated is None:
            return False
        rewarded = data.reward > 0
        return bool(rewarded.any() and data.terminated[rewarded].all())

    def answer(self) -> Answer:
        """Act in all problems, by the planner and at random, and return the numbers."""
        logger.info(
            "planning %d episodes: %s, horizon %d, task %s",
            *(len(self.problems.each), self.asked.planner, self.planner.horizon, self.asked.task),
        )
        policy = self._policy(STEP)
        episodes, numbers = self._measure("planning", policy)
        unrounded = None
        if self.asked.task == "reward" and self.asked.cost is None:
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
        }
        return Answer(found, episodes, self.problems.goals, self.classify)

    def _measure_refitted(self) -> dict[str, Any]:
        """Plan with T refitted on the frozen encoder, and given the signs of actions where these are their codes."""
        data = self.data
        if data is None or data.action_value is None:
            raise RunError(f"{self.run.transitions}: has no observations and action values, to which T is fitted")
        actions = self.acting.actions
        signs = isinstance(actions, Numbers) and actions.abstraction == "sign"
        dynamics = fitted_dynamics(self.run, self.config, self.model, data, signs, self.at)
        policy = PlannedPolicy(self.model, self._planner(), functools.partial(self._cost, STEP), dynamics)
        return {"given": "signs" if signs else "values"} | self._measure("planning with T refitted", policy)[1]

    @functools.cached_property
    def classify(self) -> Callable[[NDArray[Any]], list[str]] | None:
        """Return what takes embeddings for the label of the nearest centroid; None where there are no labels."""
        if self.config.counting:
            held_out = HeldOut(self.config)
            reference = ~held_out.scored
            return _nearest(self.model.encode(held_out.images[reference]).numpy(), held_out.counts[reference])
        if self.data is None or (label := default_label(self.data)) is None:
            return None
        frames: Any = self.data.observation
        number = min(self.data.frames, CLASSIFIED)
        return _nearest(self.model.encode(np.asarray(frames[:number])).numpy(), label_values(self.data, label)[:number])

    def _how(self) -> dict[str, Any]:
        """Say what was asked and how it was done."""
        asked = self.asked
        settings = {
            each.name: getattr(self.planner, each.name)
            for each in dataclasses.fields(self.planner)  # type: ignore[arg-type]
            if each.name not in ("space", "choices")
        }
        return {
            "run": str(self.run.path),
            "at": self.at,
            "world": self.config.collection.environment,
            "task": asked.task,
            "goal": asked.goal,
            "cost": asked.cost or self._cost_name,
            "rounded_to": STEP if asked.task == "reward" and asked.cost is None else None,
            "tau": self._tau if asked.task == "goal" and asked.cost is None else None,
            "discount": self.config.objective.discount,
            "planner": asked.planner,
            **settings,
            "seed": asked.seed,
            "episodes": len(self.problems.each),
            "trivial_left_out": self.problems.trivial,
        }

    @property
    def _cost_name(self) -> str:
        if self.asked.task == "goal":
            return "first arrival at the goal's embedding"
        kind = "first arrival" if self._arrives else "discounted sum"
        return f"{kind} of P, which predicts {self.config.objective.auxiliary}"

    def _measure(self, title: str, policy: Policy) -> tuple[list[Episode], dict[str, Any]]:
        together = side_by_side(self.planner, self.model.latent_dim)
        with progress_bar(title) as progress:
            episodes = act_in(self.problems, self.acting, policy, together, progress)
        milliseconds = None
        if isinstance(policy, PlannedPolicy):
            milliseconds = decision_milliseconds(policy, episodes[0].problem, episodes[0].steps[0].observation)
        ends = self.asked.task == "goal" or self.rewards_end
        return episodes, summarize(episodes, policy.calls, milliseconds, ends)

    def _policy(self, step: float) -> PlannedPolicy:
        return PlannedPolicy(self.model, self._planner(), functools.partial(self._cost, step))

    def _cost(self, step: float, problems: Sequence[Problem]) -> Cost:
        """Return the cost of problems, P rounded to multiples of a step."""
        discount = self.config.objective.discount
        if self.asked.cost is not None:
            return self._imported
        if self.asked.task == "reward":
            return RewardCost(self.model, discount, step, self._arrives)
        return GoalCost(self._goal_embedding[[problem.goal for problem in problems]], self._tau, discount)

    @functools.cached_property
    def _imported(self) -> ImportedCost:
        assert self.asked.cost is not None
        return ImportedCost(self.asked.cost, self.model)

    @functools.cached_property
    def _arrives(self) -> bool:
        """True where a positive value of p is the end of an episode and at most 1: a probability of having arrived."""
        if not self.rewards_end or self.acting.counting:
            return self.rewards_end
        assert self.data is not None
        values = stored_values(self.data)
        known = values.value[values.known]
        return bool(known.min() >= 0 and known.max() <= 1)

    @functools.cached_property
    def _goal_embedding(self) -> Tensor:
        return self.model.encode(self.problems.goals)

    @functools.cached_property
    def _tau(self) -> float:
        """Half of the median distance of embeddings between which a step lies that changed the observation."""
        data = self.data
        if data is None:
            raise RunError(f"{self.run.transitions}: has no observations, from which the length of a step is measured")
        frames: Any = data.observation
        rows = np.arange(min(len(data), MEASURED))
        source, successor = np.asarray(frames[data.source[rows]]), np.asarray(frames[data.successor[rows]])
        changed = (source != successor).reshape(len(rows), -1).any(1)
        if not changed.any():
            raise RunError(f"{self.run.transitions}: its first {len(rows)} transitions change no observation")
        steps = self.model.encode(successor[changed]) - self.model.encode(source[changed])
        return float(steps.norm(dim=1).median()) / 2

    def _check(self) -> None:
        """Raise `PlanningError` unless the run has what the task needs."""
        objective, asked = self.config.objective, self.asked
        if objective.transition_weight == 0:
            raise PlanningError(
                f"{self.run.path}: was trained with objective.transition_weight=0, so that its T predicts nothing"
            )
        if asked.episodes is not None and asked.episodes < 1:
            raise PlanningError(f"--episodes {asked.episodes}: must be at least 1")
        if asked.planner not in PLANNERS:
            raise PlanningError(f"--planner {asked.planner}: must be one of {', '.join(PLANNERS)}")
        if asked.goal is not None and asked.task != "goal":
            raise PlanningError(f"--goal {asked.goal}: needs --task goal")
        if asked.task == "reward" and asked.cost is None:
            self._check_reward()

    def _check_reward(self) -> None:
        objective, advice = self.config.objective, "choose --task goal, or a --cost of your own"
        rewarding = objective.auxiliary.partition(":")[0] in ("reward", "terminated", "q")
        if not rewarding and ":" not in objective.auxiliary:
            raise PlanningError(f"{self.run.path}: its P predicts {objective.auxiliary}, not the reward; {advice}")
        if objective.auxiliary_values or objective.auxiliary_weight == 0:
            what = f"{objective.auxiliary_values} numbers" if objective.auxiliary_values else "nothing"
            raise PlanningError(f"{self.run.path}: its P predicts {what}, and one number is needed; {advice}")

    def _problems(self) -> Problems:
        asked, config = self.asked, self.config
        episodes = EPISODES if asked.episodes is None else asked.episodes
        if asked.task == "reward":
            if self.acting.counting:
                return making.counting_rewards(config, episodes, asked.seed)
            if config.objective.auxiliary.startswith("terminated") and not self.rewards_end and asked.cost is None:
                raise PlanningError(
                    f"{self.run.path}: its P predicts terminated, and no end of an episode is rewarded; give a --cost"
                )
            return making.world_rewards(self.acting, episodes, asked.seed, self.data, self.rewards_end)
        return find_goal(config, self.acting, self.model, self.data, asked.goal, asked.episodes, EPISODES, asked.seed)

    def _planner(self) -> Planner:
        asked = self.asked
        kind: Any = PLANNERS[asked.planner]
        horizon = HORIZON[asked.task] if asked.horizon is None else asked.horizon
        given = {"horizon": horizon, "seed": asked.seed} | _settings(kind, asked.settings)
        if kind is Exhaustive:
            choices = torch.from_numpy(self.acting.choices(self._action_values))
            return Exhaustive(choices, **given)
        planner: Planner = kind(self._space(), **given)
        return planner

    @property
    def _action_values(self) -> NDArray[Any]:
        """Return actions (N, A) of the run, for ranges that the world leaves open."""
        if self.data is None or self.data.action_value is None:
            return np.stack([-np.ones(self.model.spec.action_dim), np.ones(self.model.spec.action_dim)])
        return self.data.action_value

    def _space(self) -> Space:
        actions = self.acting.actions
        if isinstance(actions, Choices):
            return Discrete(actions.counts.tolist(), actions.one_hot)
        if actions.low is not None and actions.high is not None:
            return Continuous(actions.low, actions.high)
        values = self._action_values
        logger.info("actions have no bounds; they are planned within the range of the run's transitions")
        return Continuous(values.min(0).tolist(), values.max(0).tolist())

    def _try_cost(self) -> None:
        """Raise what the cost raises, before any episode."""
        space, spec = self._space(), self.model.spec
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
            checked_cost(self._cost(STEP, [problem]), predicted, actions)


def _collection(config: Config, asked: Question) -> CollectionConfig:
    if asked.environment is None:
        return config.collection
    return dataclasses.replace(
        config.collection,
        dataset="",
        environment=asked.environment,
        arguments=asked.arguments,
        max_episode_steps=config.collection.max_episode_steps,
    )


def _settings(kind: Any, settings: Iterable[str]) -> dict[str, Any]:
    """Read settings ``NAME=VALUE`` of a planner.

    Raises:
        ConfigError: a setting has another form, or the planner has none of that name.
    """
    fields = [
        each.name for each in dataclasses.fields(kind) if each.name not in ("space", "choices", "horizon", "seed")
    ]
    given = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in fields:
            raise ConfigError(f"--set {setting}: must be NAME=VALUE, the name one of {', '.join(fields) or 'none'}")
        given[name] = parse_value(text)
    return given


def _nearest(embedding: NDArray[Any], labels: NDArray[Any]) -> Callable[[NDArray[Any]], list[str]]:
    classes, centroids, _ = clusters(embedding, labels)
    return lambda rows: [str(each) for each in classes[pairwise_distances(rows, centroids).argmin(1)].tolist()]
