"""Planning with a learnt model: planners, costs and episodes."""

from pjepa_agent.planning.base import Cost, Dynamics, Plan, Planner, PlanningError
from pjepa_agent.planning.cem import CEM
from pjepa_agent.planning.costs import GoalCost, ImportedCost, RewardCost
from pjepa_agent.planning.exhaustive import Exhaustive
from pjepa_agent.planning.icem import ICEM
from pjepa_agent.planning.mppi import MPPI
from pjepa_agent.planning.spaces import Continuous, Discrete

__all__ = [
    "CEM", "ICEM", "MPPI", "Continuous", "Cost", "Discrete", "Dynamics", "Exhaustive", "GoalCost", "ImportedCost",
    "Plan", "Planner", "PlanningError", "RewardCost",
]  # fmt: skip
