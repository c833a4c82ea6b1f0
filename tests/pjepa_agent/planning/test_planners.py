"""The contract of every planner, on dynamics whose best plans are known."""

import functools
import itertools

import pytest
import torch
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.planning import (
    CEM,
    ICEM,
    MPPI,
    Continuous,
    Discrete,
    Exhaustive,
    PlanningError,
    base,
    cem,
    costs,
    exhaustive,
    icem,
    mppi,
    noise,
    sampling,
    spaces,
)
from support.planned import Point, Ring
from support.shapes import check_shapes

BOX = Continuous([-1, -2], [1, 2])
THREE = Discrete([3])
PLANES = torch.tensor(list(itertools.product([-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0])))
PLANNERS = {
    "cem": functools.partial(CEM, BOX),
    "cem mean": functools.partial(CEM, BOX, execute="mean"),
    "icem": functools.partial(ICEM, BOX),
    "mppi": functools.partial(MPPI, BOX),
    "exhaustive": functools.partial(Exhaustive, PLANES),
}
CHOOSERS = {
    "cem": functools.partial(CEM, THREE),
    "icem": functools.partial(ICEM, THREE),
    "mppi": functools.partial(MPPI, THREE),
    "exhaustive": functools.partial(Exhaustive, torch.eye(3)),
}
EACH = pytest.mark.parametrize("make", PLANNERS.values(), ids=PLANNERS)


@pytest.fixture(autouse=True)
def _shapes(monkeypatch):
    check_shapes(monkeypatch, base, cem, costs, exhaustive, icem, mppi, noise, sampling, spaces)


def squared(goal):
    """Sum of the squared distances to goals (B, 2), and a little of the actions."""
    return lambda predicted, actions: (
        (predicted - goal[:, None, None]).square().sum((2, 3)) + 0.01 * actions.square().sum((2, 3))
    )


def starts(batch=3):
    return torch.arange(2.0 * batch).reshape(batch, 2) / 4


GOALS = torch.tensor([[1.0, -1.0], [3.0, 2.0], [-2.0, 0.5]])


@EACH
def test_a_plan_is_what_the_model_predicts_along_actions_that_are_allowed(make):
    model, planner, embedding = Point(), make(horizon=3), starts().requires_grad_()
    cost, plan = squared(GOALS), None
    for _ in range(3):
        model.calls = 0
        plan = planner.plan(model, embedding, cost, plan)
        assert model.calls == plan.calls * len(embedding)
        assert plan.actions.shape == (3, 3, 2)
        assert (plan.actions.abs() <= torch.tensor([1, 2])).all()
        assert torch.equal(plan.first, plan.actions[:, 0])
        torch.testing.assert_close(plan.predicted, model.rollout(embedding.detach(), plan.actions))
        torch.testing.assert_close(plan.cost, cost(plan.predicted[:, None], plan.actions[:, None])[:, 0])
        assert not plan.actions.requires_grad
        assert not plan.predicted.requires_grad
        assert torch.equal(embedding, starts())


@EACH
def test_the_seed_fixes_the_plans_and_nothing_else_does(make):
    def plans(seed):
        planner, plan, found = make(horizon=3, seed=seed), None, []
        for _ in range(2):
            torch.rand(5)  # the global stream is not used
            plan = planner.plan(Point(), starts(), squared(GOALS), plan)
            found.append(plan.actions)
        return torch.stack(found)

    state = torch.random.get_rng_state()
    assert torch.equal(plans(3), plans(3))
    torch.random.set_rng_state(state)
    assert planner_is_exact(make) or not torch.equal(plans(3), plans(4))


def planner_is_exact(make):
    return make.func is Exhaustive


@EACH
def test_every_environment_is_planned_for_by_itself(make):
    together = make(horizon=3).plan(Point(), starts(), squared(GOALS))
    for i in range(3):
        # The plan of each environment is better there than those of the others.
        swapped = together.actions.roll(1, 0)
        predicted = Point().rollout(starts(), swapped)
        assert together.cost[i] < squared(GOALS)(predicted[:, None], swapped[:, None])[i, 0]
    again = together.take(torch.tensor([True, False, True]))
    assert torch.equal(again.actions, together.actions[[0, 2]])
    assert all(len(value) == 2 for value in again.memory.values())
    make(horizon=3).plan(Point(), starts()[[0, 2]], squared(GOALS[[0, 2]]), again)


@pytest.mark.parametrize("make", CHOOSERS.values(), ids=CHOOSERS)
def test_discrete_actions_are_choices_and_the_best_ones(make):
    places = 7
    embedding = torch.eye(places)

    def cost(predicted, actions):
        return -(predicted[..., 3] * 0.9 ** torch.arange(3)).sum(-1)  # be at place 3, soon

    best = Exhaustive(torch.eye(3), horizon=3).plan(Ring(places), embedding, cost)
    planner = make(horizon=3)
    plan = planner.plan(Ring(places), embedding, cost)
    assert set(plan.actions.unique().tolist()) == {0, 1}
    assert (plan.actions.sum(-1) == 1).all()
    assert plan.cost.mean() == pytest.approx(float(best.cost.mean()), abs=0.05)
    near = [1, 2, 3, 4, 5]  # where one first action alone is right
    assert plan.first.argmax(-1)[near].tolist() == [1, 1, 0, 2, 2]


def test_exhaustive_finds_what_a_loop_over_all_sequences_finds():
    cost = squared(GOALS)
    plan = Exhaustive(PLANES, horizon=3).plan(Point(), starts(), cost)
    every = torch.stack([torch.stack(each) for each in itertools.product(PLANES, repeat=3)])
    for i in range(3):
        costs_of = [
            float(squared(GOALS[i : i + 1])(Point().rollout(starts()[i : i + 1], each[None])[None], each[None, None]))
            for each in every
        ]
        assert float(plan.cost[i]) == pytest.approx(min(costs_of), rel=1e-5)
    assert plan.calls == 9 + 81 + 729


def test_ties_are_broken_at_random():
    planner = Exhaustive(torch.tensor([[-1.0], [1.0]]), horizon=2)
    plan = planner.plan(Point(), torch.zeros(4_000, 1), lambda predicted, actions: torch.zeros(4_000, 4))
    assert float(plan.first.mean()) == pytest.approx(0, abs=0.06)


def slowly(goal, steps):
    """Quadratic cost of a point that has to go far in one direction for many steps."""
    return lambda predicted, actions: (predicted[:, :, -1] - goal * steps).square().sum(-1)


def test_icem_is_ahead_of_cem_at_equal_calls():
    horizon, batch = 20, 64
    cost, embedding = slowly(torch.tensor([0.8, -1.6]), horizon), torch.zeros(batch, 2)
    better = ICEM(BOX, horizon=horizon, samples=40).plan(Point(), embedding, cost)
    plain = CEM(BOX, horizon=horizon, samples=33, elites=10).plan(Point(), embedding, cost)
    assert better.calls <= plain.calls
    assert better.cost.median() < 0.3 * plain.cost.median()


@pytest.mark.parametrize("kind", [CEM, ICEM, MPPI])
def test_a_warm_start_improves_the_next_decision(kind):
    embedding, cost = torch.zeros(64, 2), slowly(torch.tensor([0.8, -1.6]), 6)
    planner = kind(BOX, horizon=6, samples=20, elites=6, iterations=1)
    first = planner.plan(Point(), embedding, cost)
    # The goal moves with the point, so that the shifted plan is as good as before.
    warm = planner.plan(Point(), embedding, cost, first)
    for _ in range(5):
        warm = planner.plan(Point(), embedding, cost, warm)
    assert warm.cost.median() < 0.7 * first.cost.median()


@EACH
@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (lambda predicted, actions: predicted.sum((2, 3)) * float("nan"), "the cost is NaN for"),
        (lambda predicted, actions: predicted.sum(2), "the cost must be a tensor"),
        (lambda predicted, actions: 3.0, "one number a sequence, is float"),
    ],
)
def test_a_cost_that_cannot_be_used_is_refused(make, cost, message):
    with pytest.raises(PlanningError, match=message):
        make(horizon=2).plan(Point(), starts(), cost)


@EACH
def test_sequences_of_infinite_cost_are_not_chosen_where_others_are(make):
    def cost(predicted, actions):
        wrong = actions[:, :, 0, 0] < 0
        return torch.where(wrong, torch.inf, squared(GOALS)(predicted, actions))

    plan = make(horizon=2).plan(Point(), starts(), cost)
    assert (plan.first[:, 0] >= 0).all()
    none = make(horizon=2).plan(Point(), starts(), lambda predicted, actions: predicted.sum((2, 3)) * 0 + torch.inf)
    assert none.actions.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ICEM(BOX, horizon=0), "horizon=0: must be in 1..1000"),
        (lambda: MPPI(BOX, temperature=0.0), "temperature=0.0: must be in"),
        (lambda: CEM(BOX, samples=5), "elites=8: exceeds samples=5"),
        (lambda: Exhaustive(PLANES, horizon=0), "horizon=0: must be in 1..14"),
        (lambda: Exhaustive(PLANES, horizon=9), "9 actions make 387420489 sequences, more than 16384"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("one_hot", [True, False])
def test_several_components_are_chosen_together(one_hot):
    space = Discrete([2, 3], one_hot)
    samples = space.uniform(1, 500, 2, torch.Generator().manual_seed(0))
    values = space.values(samples)
    assert values.shape[-1] == (5 if one_hot else 2)
    assert len(values.flatten(0, 2).unique(dim=0)) == space.combinations == 6
    every = space.values(space.all_choices()[None, :, None])[0, :, 0]
    assert {tuple(row) for row in every.tolist()} == {tuple(row) for row in values.flatten(0, 2).tolist()}


@pytest.mark.parametrize("beta", [0.0, 2.0, 3.5])
def test_colored_choices_keep_their_probabilities_and_last_longer(beta):
    probability = torch.tensor([0.6, 0.3, 0.1])
    start = THREE.resume(probability.expand(1, 6, 3) * 2 - 1 / 3, 0.5)  # of which half is uniform
    torch.testing.assert_close(THREE.location(start)[0, 0], probability)
    white = noise.colored_noise(beta, (1, 40_000, 6, 3), torch.Generator().manual_seed(0))
    chosen = start.sample(white)[0]
    torch.testing.assert_close(chosen.mean(0), probability.expand(6, 3), rtol=0, atol=0.015)
    same = float((chosen[:, 1:] * chosen[:, :-1]).sum(-1).mean())
    by_chance = float(probability.square().sum())
    assert same == pytest.approx(by_chance, abs=0.01) if beta == 0 else same > by_chance + 0.1
