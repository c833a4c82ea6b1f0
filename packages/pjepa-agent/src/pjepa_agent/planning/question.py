"""What is asked of a run, and whether the run can answer it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pjepa_agent.config.schema import CollectionConfig, Config, ObjectiveConfig
from pjepa_agent.planning.base import PlanningError
from pjepa_agent.planning.registry import PLANNERS

Task = Literal["reward", "goal"]

HORIZON = {"reward": 6, "goal": 8}
"""Steps that are predicted, by task."""

EPISODES = 200
"""Episodes by default. In the counting world, goals take whole rounds of all pairs: 216 of 72."""


@dataclass(frozen=True)
class Question:
    """What is asked of a run.

    Attributes:
        task: ``reward``, or ``goal`` for observations to be reached.
        goal: held-out observation by number (in the counting world a count), or the file of one; None or
            ``all`` for all.
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

    @property
    def predicted_steps(self) -> int:
        """Return H, the steps that are predicted."""
        return HORIZON[self.task] if self.horizon is None else self.horizon

    @property
    def of_reward(self) -> bool:
        """True where P says what is good."""
        return self.task == "reward" and self.cost is None

    def collection(self, config: Config) -> CollectionConfig:
        """Return how a run of this configuration collected, in the environment to act in."""
        if self.environment is None:
            return config.collection
        return dataclasses.replace(
            config.collection,
            dataset="",
            environment=self.environment,
            arguments=self.arguments,
            max_episode_steps=config.collection.max_episode_steps,
        )

    def check(self, path: Path, config: Config) -> None:
        """Raise `PlanningError` unless a run has what the task needs.

        Args:
            path: of the run.
            config: of the run.
        """
        if untrained := untrained_dynamics(config.objective):
            raise PlanningError(f"{path}: was trained with {untrained}=0, so that its T predicts nothing")
        if self.episodes is not None and self.episodes < 1:
            raise PlanningError(f"--episodes {self.episodes}: must be at least 1")
        if self.planner not in PLANNERS:
            raise PlanningError(f"--planner {self.planner}: must be one of {', '.join(PLANNERS)}")
        if self.goal is not None and self.task != "goal":
            raise PlanningError(f"--goal {self.goal}: needs --task goal")
        if self.of_reward:
            advice = "choose --task goal, or a --cost of your own"
            if reason := no_reward(config.objective):
                raise PlanningError(f"{path}: its P predicts {reason}; {advice}")


def untrained_dynamics(objective: ObjectiveConfig) -> str | None:
    """Name the setting that is 0 where nothing trained T; None where something did."""
    if objective.name == "pjepa":
        return "objective.transition_weight" if objective.transition_weight == 0 else None
    beside = objective.name == "inverse"  # T then learns on detached embeddings
    weight = objective.arguments.get("transition_weight")
    return "objective.arguments.transition_weight" if weight == 0 and not beside else None


def no_reward(objective: ObjectiveConfig) -> str | None:
    """Say what P predicts where that is no reward that can be planned for; None where it is."""
    rewarding = objective.auxiliary.partition(":")[0] in ("reward", "terminated", "q")
    if not rewarding and ":" not in objective.auxiliary:
        return f"{objective.auxiliary}, not the reward"
    if objective.auxiliary_values or objective.auxiliary_weight == 0:
        what = f"{objective.auxiliary_values} numbers" if objective.auxiliary_values else "nothing"
        return f"{what}, and one number is needed"
    return None
