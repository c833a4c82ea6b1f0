"""Measure the time of a decision of each planner and of TorchRL's, which take turns on one core, and what each reaches.

Command: ``uv run python -m benchmarks.speed.decisions RUN``, a finished run of the counting world. A decision encodes
one image and plans one action by the reward that P decodes. ``--episodes 0`` leaves out what the planners reach.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pjepa_agent.envs.acting import Acting
from pjepa_agent.integrations.torchrl import PlanningEnv
from pjepa_agent.model import PJEPA
from pjepa_agent.planning import CEM, ICEM, Continuous, Exhaustive, RewardCost
from pjepa_agent.planning.base import Cost, Dynamics, Plan, Planner
from pjepa_agent.planning.costs import ValueCost
from pjepa_agent.planning.episodes import PlannedPolicy, act_in
from pjepa_agent.planning.problems import Problems, counting_rewards
from pjepa_agent.planning.summary import summarize
from pjepa_agent.runs.checkpoint import load
from pjepa_agent.runs.directory import RunDirectory
from tensordict import TensorDict
from torch import Tensor
from torchrl.modules import CEMPlanner

from benchmarks.tables import markdown, spread

ROUNDS, TURN, WARM_UP = 9, 10, 3
"""Rounds, decisions of a planner in each, and decisions before the first round."""

SPACE = Continuous([-1.0], [1.0])
SIGNS = torch.tensor([[-1.0], [1.0]])

SOLVED = 0.99
"""Share of episodes from which on a planner solves the task."""

PEER = "TorchRL `CEMPlanner`"


class TorchRLPlanner:
    """TorchRL's planner, called as ours are.

    Args:
        horizon: steps that are predicted.
        samples, elites, iterations: of the cross-entropy method.
    """

    def __init__(self, horizon: int, samples: int, elites: int, iterations: int) -> None:
        self.horizon, self.sequences = horizon, samples
        self.samples, self.elites, self.iterations = samples, elites, iterations
        self._planner: CEMPlanner | None = None

    def plan(self, model: Dynamics, embedding: Tensor, cost: Cost, previous: Plan | None = None) -> Plan:
        """Plan the first action; each decision begins anew."""
        if self._planner is None:
            assert isinstance(model, PJEPA)
            assert isinstance(cost, ValueCost)
            env = PlanningEnv(model, SPACE, cost)
            self._planner = CEMPlanner(env, self.horizon, self.iterations, self.samples, self.elites)
        batch = len(embedding)
        state = TensorDict({"embedding": embedding, "weight": torch.ones(batch, 1)}, [batch])
        action = self._planner(state)["action"]
        calls = self.samples * self.horizon * self.iterations
        return Plan(action[:, None], embedding[:, None], torch.zeros(batch), calls, {})


class Contestant(NamedTuple):
    """A planner with what the table says of it; TorchRL's with the same samples is its peer."""

    name: str
    planner: Planner
    samples: str
    peer: str | None = None


def contestants() -> dict[str, Contestant]:
    """Return the planners by their key."""
    same = {"samples": 64, "elites": 8, "iterations": 3}
    few = {"samples": 16, "elites": 4, "iterations": 2}
    found = {
        "exhaustive-4": Contestant("`exhaustive`", Exhaustive(SIGNS, horizon=4), "all 16"),
        "icem-4": Contestant("`icem`", ICEM(SPACE, horizon=4), "40, 3 times"),
        "icem-6": Contestant("`icem`", ICEM(SPACE, horizon=6), "40, 3 times"),
        "cem-4": Contestant("`cem`", CEM(SPACE, horizon=4, **same), "64, 3 times", "torchrl-4"),
        "cem-6": Contestant("`cem`", CEM(SPACE, horizon=6, **same), "64, 3 times", "torchrl-6"),
        "torchrl-4": Contestant(PEER, TorchRLPlanner(4, **same), "64, 3 times"),
        "torchrl-6": Contestant(PEER, TorchRLPlanner(6, **same), "64, 3 times"),
        "torchrl-4-few": Contestant(PEER, TorchRLPlanner(4, **few), "16, twice"),
        "torchrl-4-fewest": Contestant(PEER, TorchRLPlanner(4, samples=16, elites=4, iterations=1), "16, once"),
    }
    assert all(isinstance(each.planner, Planner) for each in found.values())
    return found


def interleaved(decide: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the seconds of a decision in each round, by key; the planners take turns."""
    seconds: dict[str, list[float]] = {key: [] for key in decide}
    for work in decide.values():
        for _ in range(WARM_UP):
            work()
    for _ in range(ROUNDS):
        for key, work in decide.items():
            started = time.perf_counter()
            for _ in range(TURN):
                work()
            seconds[key].append((time.perf_counter() - started) / TURN)
    return seconds


def decider(
    model: PJEPA, planner: Planner, cost: Cost, problems: Problems, image: NDArray[np.uint8]
) -> Callable[[], object]:
    """Return what decides once in one environment, from the image on."""
    policy = PlannedPolicy(model, planner, lambda each: cost)
    policy.begin(problems.each[:1])
    running = np.array([0])
    return lambda: policy.act(running, image[None])


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Format how many decisions are made in the time of one of another planner, over the rounds."""
    return spread((b / a for a, b in zip(ours, theirs, strict=True)), ".1f")


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run of the counting world")
    parser.add_argument("--episodes", type=int, default=200, help="that each planner acts in (default: %(default)s)")
    return parser


def main() -> None:
    """Measure, and print the table."""
    options = make_parser().parse_args()
    torch.set_num_threads(1)
    _, config = RunDirectory.open(options.run)
    model = load(options.run)
    acting = Acting(config.collection, model.spec)
    problems = counting_rewards(config, max(options.episodes, 1), seed=0)
    environment = acting.make(problems.each[0].target, problems.each[0].limit)
    image = acting.begin(environment, problems.each[0].seed, problems.each[0].options).observation
    cost = RewardCost(model, config.objective.discount)
    known = contestants()
    seconds = interleaved({key: decider(model, each.planner, cost, problems, image) for key, each in known.items()})

    reached = {}
    for key, each in known.items() if options.episodes else ():
        policy = PlannedPolicy(model, each.planner, lambda asked: cost)
        reached[key] = summarize(act_in(problems, acting, policy), policy.calls, None, True)
    print(table(known, seconds, reached))


def table(
    known: Mapping[str, Contestant], seconds: Mapping[str, list[float]], reached: Mapping[str, Mapping[str, float]]
) -> str:
    """Format a row a planner: its time, its ratio to its peer and to the fastest setting of TorchRL that solves."""
    solving = [
        key for key, each in known.items() if each.name == PEER and reached.get(key, {}).get("success", 0) >= SOLVED
    ]
    fastest = min(solving, key=lambda key: np.median(seconds[key]), default=None)
    header = ["planner", "horizon", "samples", "ms a decision", "as fast as TorchRL's, same samples",
              "as fast as TorchRL's that solves", "success", "optimal", "excess steps", "T calls"]  # fmt: skip
    rows = []
    for key, each in known.items():
        found = reached.get(key)
        rows.append([
            each.name,
            str(each.planner.horizon),
            each.samples,
            spread((1e3 * value for value in seconds[key]), ".1f"),
            ratio(seconds[key], seconds[each.peer]) if each.peer else "",
            ratio(seconds[key], seconds[fastest]) if fastest and each.name != PEER else "",
            *(("", "", "", "") if found is None else (f"{found['success']:.3f}", f"{found['optimal']:.3f}",
              f"{found['excess_steps']:.2f}", f"{found['model_calls']:.0f}")),
        ])  # fmt: skip
    return markdown(header, rows)


if __name__ == "__main__":
    main()
