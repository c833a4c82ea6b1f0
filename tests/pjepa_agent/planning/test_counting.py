"""Planning in the counting world with its exact dynamics: what is left to go wrong is the planner or the cost."""

import functools

import pytest
import torch
from counting_env.rules import next_count
from pjepa_agent.planning import CEM, ICEM, MPPI, Continuous, Exhaustive, GoalCost, RewardCost
from pjepa_agent.planning.costs import first_arrival
from support.planned import MOST, TARGET, Decoded, ExactCounting, ExactModel, folded_embeddings

SPACE = Continuous([-1], [1])
PAIRS = torch.tensor([(start, goal) for start in range(MOST + 1) for goal in range(MOST + 1) if start != goal])
PLANNERS = {
    "exhaustive": functools.partial(Exhaustive, torch.tensor([[-1.0], [1.0]])),
    "icem": functools.partial(ICEM, SPACE),
    "cem": functools.partial(CEM, SPACE),
    "mppi": functools.partial(MPPI, SPACE),
}


def steps_needed(planner, table, start, goal, cost, limit=16):
    """Steps (n,) of each of n episodes until its goal; `limit` where it is not reached."""
    model, count, plan = ExactCounting(table), start.clone(), None
    steps = torch.full_like(start, limit)
    for step in range(1, limit + 1):
        plan = planner.plan(model, table[count], cost, plan)
        count = next_count(count, (plan.first[:, 0] >= 0).long(), MOST)
        steps = torch.where((count == goal) & (steps == limit), step, steps)
    return steps


@pytest.mark.parametrize("name", PLANNERS)
def test_exact_dynamics_solve_all_72_pairs_of_start_and_goal_image(name):
    table = folded_embeddings()
    start, goal = PAIRS.T
    tau = float((table[1:] - table[:-1]).norm(dim=1).median()) / 2
    steps = steps_needed(PLANNERS[name](horizon=8), table, start, goal, GoalCost(table[goal], tau))
    assert (steps < 16).all()
    optimal = (steps == (start - goal).abs()).float().mean()
    assert optimal == 1 if name == "exhaustive" else optimal > 0.9


@pytest.mark.parametrize("over_steps", [lambda distance: distance.sum(-1), lambda distance: distance[..., -1]])
def test_sums_and_ends_of_distances_are_defeated_by_a_folded_embedding_and_arrival_is_not(over_steps):
    table = folded_embeddings(apart=0.2)
    start, goal = PAIRS.T
    planner = PLANNERS["exhaustive"](horizon=8)

    def distance(predicted, actions):
        return over_steps((predicted - table[goal][:, None, None]).norm(dim=-1))

    assert (steps_needed(planner, table, start, goal, distance) == 16).sum() >= 6
    arrival = GoalCost(table[goal], tau=0.5)
    assert torch.equal(steps_needed(planner, table, start, goal, arrival), (start - goal).abs())


@pytest.mark.parametrize(("step", "right"), [(0.01, False), (0, True)])
def test_rounding_takes_away_what_the_tail_of_p_tells_below_the_horizon(step, right):
    table = folded_embeddings()
    count = torch.tensor([0, 1, 7, 8]).repeat(500)  # 3 or 4 steps away, where 2 are predicted
    model = ExactModel(table)
    model.head = Decoded(table, tail=1e-5)
    cost = RewardCost(model, step=step)
    plan = PLANNERS["exhaustive"](horizon=2).plan(ExactCounting(table), table[count], cost)
    towards = ((plan.first[:, 0] >= 0) == (count < TARGET)).float().mean()
    assert towards == 1 if right else abs(towards - 0.5) < 0.06
    far = PLANNERS["exhaustive"](horizon=4).plan(ExactCounting(table), table[count], cost)
    assert ((far.first[:, 0] >= 0) == (count < TARGET)).all()


def test_the_first_arrival_counts_and_the_sooner_the_better():
    value = torch.tensor([[[0, 0, 1.0, 1.0]], [[0, 1.0, 0, 0]], [[0.5, 1.0, 0, 0]], [[0, 0, 0, 0]], [[2.0, 0, 0, 0]]])
    assert first_arrival(value, 0.5)[:, 0].tolist() == [-0.25, -0.5, -0.75, 0, -1]
