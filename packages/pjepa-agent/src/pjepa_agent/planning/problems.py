"""Problems to plan in: where episodes start, what has to be reached, and in how many steps it can be."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset
from counting_env.drawing import SHAPES
from numpy.typing import NDArray

from pjepa_agent.config.schema import Config
from pjepa_agent.envs.acting import Acting, Step
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.evaluation.held_out import EPISODE, HELD_OUT_SEED, HeldOut
from pjepa_agent.planning.base import PlanningError
from pjepa_agent.planning.shortest import ShortestPaths

RULES = "the rules of the counting world"


@dataclass(frozen=True)
class Problem:
    """One episode to plan in.

    Attributes:
        seed: of the environment's reset.
        optimum: fewest steps in which the goal can be reached; None where that is not known.
        options: of the reset.
        target: of the counting world; None leaves the configured one.
        limit: steps after which the counting world truncates the episode; None as configured.
        goal: number of the goal among `Problems.goals`; None where the reward is the goal.
        count: objects that have to be seen, in the counting world.
        ends: without a goal, the first reward above 0 is one; False where there is nothing to reach.
    """

    seed: int
    optimum: int | None
    options: dict[str, Any] | None = None
    target: int | None = None
    limit: int | None = None
    goal: int | None = None
    count: int | None = None
    ends: bool = True

    def reached(self, step: Step, goals: NDArray[Any]) -> bool:
        """Tell whether a step reached what has to be reached: the count, the very observation, or a reward above 0."""
        if self.count is not None:
            return step.labels["count"] == self.count
        if self.goal is not None:
            return np.array_equal(step.observation, goals[self.goal])
        return self.ends and step.reward > 0


@dataclass(frozen=True)
class Problems:
    """Problems of one task.

    Attributes:
        each: the problems.
        goals: (G, ...) observations that are goals.
        goal_names: (G,) what they are called.
        optimum_from: where the optimum is known from; None where it is not.
        trivial: starts that were left out, since the goal was reached already.
    """

    each: list[Problem]
    goals: NDArray[Any]
    goal_names: list[str] = field(default_factory=list)
    optimum_from: str | None = None
    trivial: int = 0


NOTHING: NDArray[Any] = np.zeros((0, 1), np.uint8)
"""Goals of problems without."""


def episode_seed(seed: int, number: int) -> int:
    """Return the seed of the reset of an episode, the same whatever acts in it."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def counting_rewards(config: Config, episodes: int, seed: int) -> Problems:
    """Make problems whose goal is the rewarded count, from all other counts in turn."""
    target, limit = config.collection.target, max(EPISODE, config.collection.max_episode_steps)
    starts = [count for count in range(9) if count != target]
    each = [
        Problem(
            episode_seed(seed, number),
            abs(starts[number % len(starts)] - target),
            {"count": starts[number % len(starts)]},
            limit=limit,
            count=target,
        )
        for number in range(episodes)
    ]
    return Problems(each, NOTHING, optimum_from=RULES, trivial=1)


def counting_goals(config: Config, episodes: int, seed: int, count: int | None) -> Problems:
    """Make problems whose goal is a held-out image of a count, of another shape and colour than the episode's objects.

    All pairs of a start and another goal take turns, in an order that the seed fixes. Each is in an environment whose
    target is the goal, so that no episode ends on the way.

    Args:
        config: of the run.
        episodes: number of problems.
        seed: fixes them.
        count: of all goals; None takes all counts in turn.
    """
    held_out = HeldOut(config)
    rng = np.random.default_rng([seed, 1])
    goals = range(9) if count is None else [count]
    pairs = rng.permutation([(start, goal) for goal in goals for start in range(9) if start != goal]).tolist()
    limit = max(EPISODE, config.collection.max_episode_steps)
    each, images = [], []
    for number in range(episodes):
        start, goal = pairs[number % len(pairs)]
        image = int(rng.choice(np.flatnonzero(held_out.counts == goal)))
        shape = (int(held_out.labels["shape"][image]) + 1 + number % (len(SHAPES) - 1)) % len(SHAPES)
        options = {"count": start, "shape": SHAPES[shape]}
        images.append(image)
        each.append(
            Problem(episode_seed(seed, number), abs(start - goal), options, goal, limit, goal=number, count=goal)
        )
    names = [str(problem.count) for problem in each]
    return Problems(each, held_out.images[images], names, RULES, trivial=len(goals))


def counting_goal_image(config: Config, episodes: int, seed: int, image: NDArray[Any], count: int) -> Problems:
    """Make problems whose goal is a given image, from all counts but that of the image in turn."""
    problems = counting_goals(config, episodes, seed, count)
    each = [replace(problem, goal=0) for problem in problems.each]
    return replace(problems, each=each, goals=image[None], goal_names=[str(count)])


def world_rewards(acting: Acting, episodes: int, seed: int, data: TransitionDataset | None, ends: bool) -> Problems:
    """Make problems of another world whose goal is the reward, from its own starts.

    Args:
        acting: the world.
        episodes: number of problems.
        seed: fixes them.
        data: transitions in which the fewest steps are searched.
        ends: the first reward above 0 is the goal.
    """
    each = [Problem(episode_seed(seed, number), None, ends=ends) for number in range(episodes)]
    paths = ShortestPaths(data if ends else None)
    if data is not None and data.reward is not None:
        paths.to_rows(data.reward > 0)
    starts = _starts(acting, each)
    each = [replace(problem, optimum=paths.steps(start)) for problem, start in zip(each, starts, strict=True)]
    return Problems(each, NOTHING, optimum_from=paths.said)


def world_goals(
    acting: Acting,
    episodes: int,
    seed: int,
    data: TransitionDataset | None,
    goals: NDArray[Any],
    names: Sequence[str],
) -> Problems:
    """Make problems of another world whose goals are given observations in turn, from its own starts.

    An episode that starts at its goal takes the next one, and is left out where all are its start.

    Args:
        acting: the world.
        episodes: number of problems.
        seed: fixes them.
        data: transitions in which the fewest steps are searched.
        goals: (G, ...) observations.
        names: (G,) what they are called.

    Raises:
        PlanningError: all episodes start at the goal.
    """
    blank = [Problem(episode_seed(seed, number), None) for number in range(episodes)]
    starts = _starts(acting, blank)
    of_goal: dict[int, list[int]] = defaultdict(list)
    trivial = 0
    for number, start in enumerate(starts):
        order = [(number + offset) % len(goals) for offset in range(len(goals))]
        chosen = next((goal for goal in order if not np.array_equal(start, goals[goal])), None)
        trivial += chosen != order[0]
        if chosen is not None:
            of_goal[chosen].append(number)
    if not of_goal:
        raise PlanningError("every episode starts at the goal; choose another --goal")
    paths, each = ShortestPaths(data), []
    for goal, numbers in of_goal.items():
        paths.to_observation(goals[goal])
        each += [replace(blank[number], goal=goal, optimum=paths.steps(starts[number])) for number in numbers]
    return Problems(each, goals, list(names), paths.said, trivial)


def held_out_observations(config: Config) -> NDArray[Any]:
    """Collect observations (n, ...) of another world's episodes that no update saw, by a seed of their own.

    Raises:
        ConfigError, DatasetError: see the domain.
    """
    number = min(config.evaluation.transitions, config.collection.transitions)
    domain = make_domain(replace(config.collection, transitions=number))
    data = domain.collect(HELD_OUT_SEED + config.seed)
    assert data.observation is not None
    return np.asarray(data.observation[: data.frames])


def _starts(acting: Acting, problems: Sequence[Problem]) -> list[NDArray[Any]]:
    """Return the first observation of every problem."""
    environment = acting.make()
    starts = [acting.begin(environment, problem.seed, problem.options).observation for problem in problems]
    environment.close()
    return starts
