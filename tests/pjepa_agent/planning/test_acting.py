"""Acting with the model that is trained: what is planned for, and what is refused before a run begins."""

import dataclasses

import numpy as np
import pytest
import torch
from bisim_theory import DatasetError
from pjepa_agent.cli.train import main
from pjepa_agent.collection.acting import Seen
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.acting import Acting
from pjepa_agent.envs.counting import SPEC
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import Setup
from pjepa_agent.objectives.registry import make_objective
from pjepa_agent.planning import ICEM, MPPI, Continuous, Discrete
from pjepa_agent.planning.acting import make_actor
from pjepa_agent.planning.costs import ReturnCost
from support.planned import Point
from support.toy_worlds import LADDER, Ladder


class Prior(Point):
    """Propose to go to a goal at once."""

    def __init__(self, goal):
        super().__init__()
        self.goal = goal

    def propose(self, embedding, sequences, horizon):
        first = (self.goal - embedding)[:, None, None].repeat(1, sequences, 1, 1)
        return torch.cat([first, torch.zeros(len(embedding), sequences, horizon - 1, 2)], 2)


def test_mppi_takes_what_the_model_proposes_where_that_is_better():
    goal, start = torch.tensor([0.83, -1.41]), torch.zeros(4, 2)

    def cost(predicted, actions):
        return (predicted - goal).square().sum((2, 3))

    planner = MPPI(Continuous([-1, -2], [1, 2]), horizon=2, samples=16, elites=4, iterations=1, temperature=1e-6)
    with_prior, without = planner.plan(Prior(goal), start, cost), planner.plan(Point(), start, cost)
    torch.testing.assert_close(with_prior.first, goal.expand(4, 2))
    assert (without.cost > with_prior.cost + 0.01).all()
    assert with_prior.calls == without.calls == 16 * 2


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (Continuous([-1, 2], [1, 5]), torch.tensor([[-1.0, 2], [0.5, 4.25], [1, 5]])),
        (Discrete([3, 2]), torch.tensor([[1.0, 0, 0, 0, 1], [0, 0, 1, 1, 0]])),
        (Discrete([2, 2], one_hot=False), torch.tensor([[0.0, 1], [1, 1]])),
    ],
)
def test_samples_of_actions_are_these_actions(space, values):
    given = values[None, None]
    torch.testing.assert_close(space.values(space.samples(given)), given)


@pytest.mark.parametrize("make", [ICEM, MPPI])
def test_a_new_episode_starts_from_no_plan_and_the_others_from_theirs(make):
    planner = make(Continuous([-1, -2], [1, 2]), horizon=3)
    plan = planner.plan(Point(), torch.ones(3, 2), lambda predicted, actions: predicted.square().sum((2, 3)))
    forgotten = planner.forget(plan, torch.tensor([False, True, False]))
    assert plan.memory["location"].abs().amin(2).amax() > 0
    assert (forgotten.memory["location"][1] == 0).all()
    assert torch.equal(forgotten.memory["location"][[0, 2]], plan.memory["location"][[0, 2]])


def test_the_cost_of_tdmpc2_is_minus_its_return():
    start, discount = torch.tensor([[1.0], [2.0]]), 0.5
    actions = torch.tensor([[[[1.0], [2.0]]], [[[0.0], [-1.0]]]])
    predicted = torch.tensor([[[[2.0], [4.0]]], [[[2.0], [1.0]]]])
    cost = ReturnCost(lambda z, a: 10 * z[:, 0] + a[:, 0], lambda z: z[:, 0], start, discount)
    expected = [-((10 + 1) + 0.5 * (20 + 2) + 0.25 * 4), -((20 + 0) + 0.5 * (20 - 1) + 0.25 * 1)]
    assert cost(predicted, actions)[:, 0].tolist() == pytest.approx(expected)


OBSERVATIONS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "settings",
    [
        ["collection.policy=planner"],
        ["collection.policy=prior", "network.control_heads=true"],
        ["collection.policy=planner", "objective.name=tdmpc2"],
        ["collection.policy=prior", "objective.name=tdmpc2"],
    ],
)
def test_a_decision_depends_on_the_step_alone_and_changes_nothing(tiny, settings):
    config = dataclasses.replace(tiny(), collection=dataclasses.replace(tiny().collection, initial_transitions=20))
    config = config.override(settings)
    model = PJEPA(config)
    objective = make_objective(Setup(config, SPEC, model.core))
    actor = make_actor(config, Acting(config.collection, SPEC), model.train(), objective.train(), 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    fresh = np.ones(3, bool)
    first = actor.act(OBSERVATIONS, fresh, 7, Seen())
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert objective.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert first.shape == (3, 1)
    assert first.dtype == np.float32
    assert (abs(first) <= 1).all()
    torch.rand(3)
    again = make_actor(config, Acting(config.collection, SPEC), model, objective, 0)
    np.testing.assert_array_equal(again.act(OBSERVATIONS, fresh, 7, Seen()), first)
    saved = again.state_dict()
    other = make_actor(config, Acting(config.collection, SPEC), model, objective, 0)
    other.load_state_dict(saved)
    fresh[1:] = False
    np.testing.assert_array_equal(other.act(OBSERVATIONS, fresh, 8, Seen()), actor.act(OBSERVATIONS, fresh, 8, Seen()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "collection.policy=greedy"], "collection.policy='greedy': must be random, planner, prior, or"),
        (["--set", "collection.policy=prior"], "collection.policy=prior: objective pjepa has no policy prior"),
        (["PLANNER", "--auxiliary", "count"], "policy=planner: P predicts count, not the reward; choose --auxiliary"),
        (["PLANNER", "--experiment", "random"], "policy=planner: auxiliary random is fitted to data that is whole"),
        (["PLANNER", "--set", "objective.transition_weight=0"], "objective.transition_weight=0, so that nothing"),
        (["PLANNER", "--set", "objective.auxiliary_weight=0"], "policy=planner: P predicts nothing, and one number"),
        (["PLANNER", "--set", 'collection.planning={"length": 3}'], "planning: length: is no setting; choose of beta"),
        (["PLANNER", "--set", 'collection.planning={"samples": "x"}'], "samples='x': must be of type int"),
        (["PLANNER", "--set", 'collection.planning={"horizon": 0}'], "planning: horizon=0: must be in 1..1000"),
        (["--set", 'collection.planning={"horizon": 3}'], "is of the policy planner, and the policy is 'random'"),
        (["PLANNER", "--data", "walks.npz"], "collection.policy='planner': is of an environment, and a dataset is"),
        (["PLANNER", "--set", "collection.environments=200", "--set", "collection.transitions=100",
          "--set", "optimization.batch_size=50"], "collection.environments=200: exceeds collection.transitions=100"),
        (["PLANNER", "--env", "support.corridor:Corridor-v0", "--set", "collection.terminal=absorb"],
         "collection.terminal='absorb': adds rows to data that is whole"),
        (["PLANNER", "--env", "support.corridor:Corridor-v0", "--auxiliary", "reward:bins:3"], "fitted to data"),
        (["--env", "support.corridor:Corridor-v0", "--objective", "tdmpc2", "--set", "collection.policy=prior"],
         "collection.policy=prior: discrete actions have no policy prior; choose collection.policy=planner"),
        (["--env", "support.toy_worlds:make", "--env-arg", "actions=unbounded", "PLANNER"],
         "has actions without bounds, among which nothing can be"),
    ],
)  # fmt: skip
def test_what_cannot_act_is_refused_in_one_line_before_anything_is_written(tmp_path, options, message, capsys):
    chosen = [
        part for each in options for part in (["--set", "collection.policy=planner"] if each == "PLANNER" else [each])
    ]
    run = tmp_path / "run"
    small = ["--set", "network.width=4", "--set", "network.latent_dim=16", "--set", "network.hidden_dim=32"]
    try:
        status = main(["--run-dir", str(run), *small, *chosen])
    except SystemExit as ended:
        status = ended.code
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert status == 2
    assert len(errors) == 1
    assert message in errors[0]
    assert not run.exists()


def test_an_environment_of_the_old_interface_is_told_which_values_gymnasium_returns(monkeypatch):
    config = CollectionConfig(environment=LADDER, arguments={"observes": "vector"})
    acting = Acting(config, make_domain(config).spec)
    environment = acting.make()
    acting.begin(environment, 0)
    monkeypatch.setattr(Ladder, "step", lambda self, action: (np.zeros(3), 0.0, False, {}))
    with pytest.raises(DatasetError, match=r"at a step: raised .*; Gymnasium's step returns five values"):
        acting.step(environment, acting.choices(np.zeros((1, 3)))[0])
    monkeypatch.setattr(Ladder, "reset", lambda self, **arguments: (np.zeros(3), {}, 0))
    with pytest.raises(DatasetError, match=r"at the reset with seed 0: raised .*; Gymnasium's reset"):
        acting.begin(environment, 0)
