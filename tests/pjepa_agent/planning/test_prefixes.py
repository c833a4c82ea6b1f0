"""Predictions of sequences that begin alike: the same numbers as one by one, from fewer applications of T."""

import itertools

import pytest
import torch
from pjepa_agent.planning import CEM, Continuous, GoalCost
from pjepa_agent.planning.prefixes import Imagination, evaluate_all


class Alone:
    """A dynamics of 3 numbers that depends on the signs of two actions and does not say so."""

    calls = 0

    def rollout(self, embedding, actions):
        self.calls += len(embedding) * actions.shape[1]
        found = []
        for action in torch.where(actions >= 0, 1.0, -1.0).unbind(1):
            embedding = (embedding.roll(1, -1) + action @ torch.tensor([[0.5, 0.1, -0.3], [0.2, -0.4, 0.7]])).sin()
            found.append(embedding)
        return torch.stack(found, 1)


class Coded(Alone):
    """The same, which says what it is given."""

    def given(self, actions):
        return torch.where(actions >= 0, 1.0, -1.0)


def sequences(batch=3, samples=50, horizon=4, seed=0):
    return torch.rand(batch, samples, horizon, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def evaluate(model, embedding, actions, cost):
    imagination = Imagination(model, embedding, cost)
    return *imagination.evaluate(actions), imagination.calls


def starts(batch=3):
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(1))


def goal_cost(batch=3):
    return GoalCost(torch.linspace(-1, 1, batch * 3).view(batch, 3), tau=0.7)


class Costly(GoalCost):
    """A cost that also counts the actions."""

    def __call__(self, predicted, actions):
        return super().__call__(predicted, actions) + actions.abs().sum((2, 3))


COSTS = {
    "of values": goal_cost(),
    "of values and actions": Costly(torch.linspace(-1, 1, 9).view(3, 3), tau=0.7),
    "a function": lambda predicted, actions: predicted.square().sum((2, 3)) + actions.sum((2, 3)),
}


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("seed", range(3))
def test_sharing_changes_no_number(cost, seed):
    actions = sequences(seed=seed)
    actions[1, 20:] = actions[1, :1]  # an environment with fewer beginnings than the others
    predicted, costs, calls = evaluate(Coded(), starts(), actions, cost)
    alone, costs_alone, calls_alone = evaluate(Alone(), starts(), actions, cost)
    torch.testing.assert_close(predicted, alone)
    torch.testing.assert_close(costs, costs_alone)
    assert calls < calls_alone == 50 * 4


def test_each_beginning_is_predicted_once():
    model, actions = Coded(), sequences(batch=1)
    calls = evaluate(model, starts(1), actions, goal_cost(1))[2]
    signs = torch.where(actions[0] >= 0, 1, 0)
    beginnings = {tuple(row[: step + 1].flatten().tolist()) for row in signs for step in range(4)}
    assert calls == model.calls == len(beginnings)


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize(("number", "horizon"), [(1, 3), (2, 1), (3, 4)])
def test_all_sequences_cost_what_each_costs_by_itself(cost, number, horizon):
    choices = torch.tensor([[-0.5, 0.3], [0.2, 0.9], [-0.1, -0.7]])[:number]
    every = choices[torch.tensor(list(itertools.product(range(number), repeat=horizon)))]
    model = Alone()
    predicted, costs = evaluate_all(model, starts(), cost, choices, every)
    alone, costs_alone, _ = evaluate(Alone(), starts(), every.expand(3, -1, -1, -1), cost)
    torch.testing.assert_close(predicted, alone)
    torch.testing.assert_close(costs, costs_alone)
    assert model.calls == 3 * sum(number**step for step in range(1, horizon + 1))


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_a_second_look_predicts_what_is_new_alone(cost):
    model = Coded()
    imagination = Imagination(model, starts(), cost)
    for seed in range(3):
        actions = sequences(samples=20, seed=seed)
        found = imagination.evaluate(actions)
        for one, other in zip(found, evaluate(Alone(), starts(), actions, cost), strict=False):
            torch.testing.assert_close(one, other)
    every = torch.cat([sequences(samples=20, seed=seed) for seed in range(3)], 1)
    assert model.calls == pytest.approx(3 * imagination.calls)
    assert imagination.calls == evaluate(Coded(), starts(), every, cost)[2]


def test_actions_that_came_in_no_earlier_look_are_known_in_the_next():
    imagination, cost = Imagination(Coded(), starts(), goal_cost()), goal_cost()
    for actions in (sequences().abs(), sequences(), sequences()[:, :1]):
        found = imagination.evaluate(actions)
        torch.testing.assert_close(found[1], evaluate(Alone(), starts(), actions, cost)[1])


def test_sequences_that_are_alike_to_the_model_cost_exactly_the_same():
    costs = evaluate(Coded(), starts(1), sequences(1, 400), goal_cost(1))[1]
    assert len(costs.unique()) <= 4**4


def test_a_model_that_is_given_numbers_predicts_every_sequence():
    class Numbers(Alone):
        def given(self, actions):
            return actions

    model = Numbers()
    assert evaluate(model, starts(), sequences(), goal_cost())[2] == 50 * 4
    assert model.calls == 3 * 50 * 4


def test_a_planner_plans_the_same_with_fewer_applications():
    plans = [
        CEM(Continuous([-1, -1], [1, 1]), horizon=4, seed=2).plan(model, starts(), goal_cost())
        for model in (Coded(), Alone())
    ]
    torch.testing.assert_close(plans[0].cost, plans[1].cost)
    assert plans[0].calls < plans[1].calls / 2
