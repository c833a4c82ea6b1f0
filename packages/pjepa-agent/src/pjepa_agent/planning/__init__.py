"""Planning with a learnt model: planners, costs and episodes."""

import importlib
from typing import TYPE_CHECKING, Any

from pjepa_agent.planning.base import Cost, Dynamics, Plan, Planner, PlanningError
from pjepa_agent.planning.cem import CEM
from pjepa_agent.planning.costs import GoalCost, RewardCost
from pjepa_agent.planning.exhaustive import Exhaustive
from pjepa_agent.planning.icem import ICEM
from pjepa_agent.planning.imported import ImportedCost
from pjepa_agent.planning.mppi import MPPI
from pjepa_agent.planning.spaces import Continuous, Discrete

if TYPE_CHECKING:
    from pjepa_agent.planning.control import Answer, plan_run
    from pjepa_agent.planning.goals import arrival_scale

__all__ = [
    "CEM", "ICEM", "MPPI", "Answer", "Continuous", "Cost", "Discrete", "Dynamics", "Exhaustive", "GoalCost",
    "ImportedCost", "Plan", "Planner", "PlanningError", "RewardCost", "arrival_scale", "plan_run",
]  # fmt: skip


_HOMES = {
    "Answer": "pjepa_agent.planning.control",
    "plan_run": "pjepa_agent.planning.control",
    "arrival_scale": "pjepa_agent.planning.goals",
}


def __getattr__(name: str) -> Any:
    # Planners know neither runs nor worlds, which whoever wants a planner alone need not import.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
