"""Solvers of stable-worldmodel plan with a trained model, as docs/planning.md shows."""

import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from bisim_theory import read_transitions
from pjepa_agent import load
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.integrations.stable_worldmodel import SolverModel
from pjepa_agent.planning import (
    ICEM,
    Continuous,
    Discrete,
    Exhaustive,
    GoalCost,
    PlanningError,
    RewardCost,
    arrival_scale,
)
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from stable_worldmodel.policy import PlanConfig, WorldModelPolicy
from stable_worldmodel.solver import (
    CategoricalCEMSolver,
    CEMSolver,
    GradientSolver,
    ICEMSolver,
    MPPISolver,
    PredictiveSamplingSolver,
)
from support.planned import ExactModel

PAGE = Path(__file__).parents[2] / "docs" / "planning.md"
HORIZON, SAMPLES, TARGET, GOAL = 6, 64, 4, 6
SIGNED, SIGNS = Continuous([-1], [1]), torch.tensor([[-1.0], [1.0]])
SOLVERS = {
    "cem": lambda model: CEMSolver(model, 9, SAMPLES, n_steps=3, topk=8),
    "icem": lambda model: ICEMSolver(model, 9, SAMPLES, n_steps=3, topk=8),
    "mppi": lambda model: MPPISolver(model, 9, SAMPLES, n_steps=3, topk=16, temperature=0.05),
    "predictive": lambda model: PredictiveSamplingSolver(model, 9, 3 * SAMPLES),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run of 400 updates where the page says runs/NAME, whose T has gradients in the actions."""
    path = tmp_path_factory.mktemp("solvers")
    config = make_config(updates=400).override([
        "collection.transitions=6000", "network.action=value", "optimization.batch_size=256",
        "optimization.learning_rate=8e-3", "optimization.warmup=100", "optimization.frozen_encoder=0",
        "objective.transition_weight=0.5", "objective.auxiliary_of_successors=false", "objective.latent_noise=0",
    ])  # fmt: skip
    train_run(RunDirectory.create(path / "runs" / "NAME", config), config, "cpu")
    return path


@pytest.fixture
def run(folder):
    return folder / "runs" / "NAME"


@pytest.fixture
def model(run):
    return load(run)


@pytest.fixture(scope="module")
def images():
    """Images of the counts 0 to 8, three looks of each."""
    found, labels = make_domain(make_config().collection).balanced_observations(3, 7)[:2]
    return found[np.argsort(labels["count"], kind="stable")].reshape(9, 3, *found.shape[1:])


def configured(solver, number, space=None, block=1):
    space = gym.spaces.Box(-1, 1, (1,)) if space is None else space
    batched = space if isinstance(space, gym.spaces.Discrete) else gym.vector.utils.batch_space(space, number)
    solver.configure(action_space=batched, n_envs=number, config=PlanConfig(HORIZON // block, 1, action_block=block))
    return solver


def first_actions(solver, images, goals=None):
    info = {"pixels": torch.as_tensor(images)[:, None]}
    if goals is not None:
        info["goal"] = torch.as_tensor(goals)[:, None]
    return configured(solver, len(images)).solve(info)["actions"][:, 0, 0]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", ["reward", "goal"])
def test_their_solvers_decide_as_the_best_plan_does(model, run, images, solver, task):
    """Within three steps of what is to be reached, where the plans of the trained T are right, and as ours do."""
    reached = TARGET if task == "reward" else GOAL
    starts = [count for count in range(9) if 1 <= abs(count - reached) <= 3]
    seen = images[starts].reshape(-1, *images.shape[2:])
    goals = np.repeat(images[GOAL, :1], len(seen), 0)
    embedding = model.encode(seen)
    if task == "reward":
        cost, theirs = RewardCost(model), SolverModel(model, SIGNED, RewardCost(model))
    else:
        tau = arrival_scale(model, read_transitions(run))
        cost, theirs = GoalCost(model.encode(goals), tau), SolverModel(model, SIGNED, tau=tau)
    best = Exhaustive(SIGNS, HORIZON).plan(model, embedding, cost).first[:, 0]
    ours = ICEM(SIGNED, HORIZON, SAMPLES, 8, 3).plan(model, embedding, cost).first[:, 0]
    found = first_actions(SOLVERS[solver](theirs), seen, goals if task == "goal" else None)
    agree = ((found > 0) == (best > 0)).float().mean()
    assert agree >= 0.75
    assert agree >= ((ours > 0) == (best > 0)).float().mean() - 0.2


def test_their_policy_reaches_the_reward(model):
    environments = gym.make_vec("counting_env:CountingEnv-v0", 16, vectorization_mode="sync", max_episode_steps=16)
    solver = ICEMSolver(SolverModel(model, SIGNED, RewardCost(model)), 16, SAMPLES, n_steps=3, topk=8)
    config = PlanConfig(HORIZON, receding_horizon=1)
    policy = WorldModelPolicy(solver, config)
    policy.set_env(environments)
    seen, _ = environments.reset(seed=0)
    reached = np.zeros(16, bool)
    for _ in range(12):
        action = policy.get_action({"pixels": seen[:, None]})
        seen, reward, *_ = environments.step(action.clip(-1, 1))
        reached |= reward > 0
    environments.close()
    assert reached.mean() >= 0.85


def test_exact_dynamics_solve_choices_and_blocks(images):
    exact, seen = ExactModel(), images[:, 0]
    exact.rollout = lambda embedding, actions: ExactModel().rollout(embedding, 2 * actions[..., 1:] - 1)
    theirs = SolverModel(exact, Discrete([2]), RewardCost(exact))
    for block in (1, 2):
        solver = CategoricalCEMSolver(theirs, 9, 200, n_steps=5, topk=20, seed=0)
        solved = configured(solver, 9, gym.spaces.Discrete(2), block).solve({"pixels": torch.as_tensor(seen)[:, None]})
        first = solved["actions"].reshape(9, -1)[:, 0]
        assert first[:TARGET].eq(1).all()
        assert first[TARGET + 1 :].eq(0).all()


def test_their_solver_by_gradients_lowers_the_cost(model, images):
    theirs = SolverModel(model, SIGNED, RewardCost(model, step=0))
    solver = configured(GradientSolver(theirs, n_steps=20, batch_size=9, num_samples=2), 9)
    pixels = torch.as_tensor(images[:, 0])[:, None]
    found = solver.solve({"pixels": pixels})["actions"].detach()
    begun, ended = (
        theirs.get_cost({"pixels": pixels[:, None]}, each[:, None])[:, 0] for each in (torch.zeros_like(found), found)
    )
    assert (ended <= begun + 1e-5).all()
    assert (begun - ended).max() > 0.05


def test_what_does_not_fit_is_said(model, images):
    with pytest.raises(PlanningError, match="needs a cost, or tau"):
        SolverModel(model, SIGNED)
    with pytest.raises(PlanningError, match="the environment says no 'goal'; it says pixels"):
        first_actions(SOLVERS["cem"](SolverModel(model, SIGNED, tau=1.0)), images[:, 0])
    with pytest.raises(PlanningError, match="candidates with 1 numbers a step: must be blocks of 2"):
        first_actions(SOLVERS["cem"](SolverModel(model, Continuous([-1, -1], [1, 1]), RewardCost(model))), images[:, 0])
    undefined = SolverModel(model, SIGNED, lambda predicted, actions: predicted.sum((2, 3)) * float("nan"))
    with pytest.raises(PlanningError, match="the cost is NaN"):
        first_actions(SOLVERS["cem"](undefined), images[:, 0])


def test_the_page_shows_how(folder, images, monkeypatch):
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    names = {"images": images[[2, 3, 5, 6], 0]}
    exec(compile(code, "<snippet>", "exec"), names)
    assert names["plan"]["actions"].shape == (4, HORIZON, 1)
