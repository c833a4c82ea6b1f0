"""Planning in the worlds of runs, by models without any error: what is measured is then known."""

import dataclasses
import json

import numpy as np
import pytest
from bisim_theory import write_transitions
from PIL import Image
from pjepa_agent.cli.plan import main
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.evaluation import dynamics_fit
from pjepa_agent.model import PJEPA
from pjepa_agent.planning import control
from pjepa_agent.planning.problems import counting_goals
from pjepa_agent.planning.summary import KEYS
from pjepa_agent.run import prepare
from pjepa_agent.runs.directory import RunDirectory
from support.commands import run_command
from support.planned import ExactCorridor, ExactModel
from support.trainings import tiny

CORRIDOR = "support.corridor:Corridor-v0"


def make_run(path, config, model, monkeypatch):
    """Create a run with transitions, whose model is a given one."""
    domain = make_domain(config.collection)
    run = RunDirectory.create(path, config, domain.spec)
    data = domain.collect(config.seed)
    write_transitions(run.transitions, dataclasses.replace(data, auxiliary=data.reward, size=data.frames))
    monkeypatch.setattr(control, "load", lambda *_: model)
    return run


@pytest.fixture
def counting(tmp_path, monkeypatch):
    return make_run(tmp_path / "run", tiny(), ExactModel(), monkeypatch)


@pytest.fixture
def corridor(tmp_path, monkeypatch):
    config = prepare(
        make_config(environment=CORRIDOR).override(["collection.transitions=600", "collection.max_episode_steps=30"])
    )
    return make_run(tmp_path / "run", config, ExactCorridor(make_domain(config.collection).spec), monkeypatch)


@pytest.mark.parametrize("planner", ["exhaustive", "icem"])
def test_exact_dynamics_solve_all_72_pairs_of_start_and_goal_image(counting, planner):
    found = control.plan_run(counting.path, task="goal", goal="all", planner=planner, episodes=72).numbers
    assert (found["episodes"], found["success"], found["trivial_left_out"]) == (72, 1, 9)
    assert found["optimal"] == 1 if planner == "exhaustive" else found["optimal"] > 0.95
    assert [row["episodes"] for row in found["by_optimum"]] == [16, 14, 12, 10, 8, 6, 4, 2]
    assert [(row["goal"], row["episodes"], row["success"]) for row in found["by_goal"]] == [
        (str(count), 8, 1) for count in range(9)
    ]
    assert found["unrounded"] is None


def test_exact_dynamics_reach_the_reward_from_every_start_in_the_fewest_steps(counting):
    answer = control.plan_run(counting.path, planner="exhaustive", horizon=4, episodes=16)
    found = answer.numbers
    for each in (found, found["unrounded"]):
        assert (each["success"], each["optimal"], each["excess_steps"], each["model_calls"]) == (1, 1, 0, 30)
        assert each["milliseconds"] > 0
    assert [each.problem.optimum for each in answer.episodes[:8]] == [4, 3, 2, 1, 1, 2, 3, 4]
    chance = found["random_policy"]
    assert chance["optimal"] < 0.8
    assert chance["excess_steps"] > 0
    assert (chance["model_calls"], chance["milliseconds"]) == (0, None)
    assert set(KEYS) <= set(found["optimum"])
    assert found["optimum"]["from"] == "the rules of the counting world"


def test_a_horizon_below_the_distance_plans_nothing_once_p_is_rounded(counting):
    found = control.plan_run(counting.path, planner="exhaustive", horizon=1, episodes=80).numbers
    by_optimum = {row["optimum"]: row["optimal"] for row in found["by_optimum"]}
    assert by_optimum[1] == 1
    assert by_optimum[4] < 0.5


def test_the_seed_fixes_everything_but_the_time(counting):
    def numbers(seed):
        found = control.plan_run(counting.path, episodes=6, seed=seed, settings=["samples=12", "elites=4"]).numbers
        return {name: value for name, value in found.items() if name not in ("milliseconds", "unrounded")}

    assert numbers(1) == numbers(1)
    assert numbers(1)["random_policy"] != numbers(2)["random_policy"]


@pytest.mark.parametrize("planner", ["icem", "cem", "mppi", "exhaustive"])
def test_in_another_world_discrete_actions_lead_to_the_reward(corridor, planner):
    found = control.plan_run(corridor.path, planner=planner, horizon=6, episodes=5).numbers
    assert found["success"] == 1
    assert found["cost"] == "first arrival of P, which predicts reward"
    assert found["optimum"]["from"] == "shortest paths in the run's transitions"
    assert (found["optimum"]["steps"], found["with_optimum"]) == (4, 5)
    assert found["optimal"] >= 0.8
    assert found["random_policy"]["success"] < 1 or found["random_policy"]["excess_steps"] > 0


def test_in_another_world_held_out_observations_are_goals(corridor):
    answer = control.plan_run(corridor.path, task="goal", planner="exhaustive", horizon=5, episodes=8)
    found = answer.numbers
    assert (found["success"], found["optimal"], found["excess_steps"]) == (1, 1, 0)
    assert {each.problem.optimum for each in answer.episodes} == {1, 2, 3, 4}  # all places but the start


def cost_to_the_left(predicted, actions, model):
    return predicted.argmax(-1).float().sum(-1)


def cost_of_nan(predicted, actions, model):
    return predicted.sum((2, 3)) * float("nan")


def cost_that_fails(predicted, actions, model):
    raise KeyError("no\nsuch")


def test_a_cost_of_the_users_decides_what_is_done(corridor):
    cost = f"{__name__}:cost_to_the_left"
    found = control.plan_run(corridor.path, planner="exhaustive", horizon=3, episodes=3, cost=cost).numbers
    assert (found["success"], found["steps"], found["cost"]) == (0, 30, cost)
    assert found["unrounded"] is None


def test_the_command_writes_numbers_and_pictures(counting, tmp_path, capsys):
    arguments = [counting.path, "--task", "goal", "--goal", "6", "--episodes", "8", "--json", tmp_path / "found.json"]
    status, out, _ = run_command(main, capsys, *arguments, "--planner", "exhaustive")
    assert status == 0
    assert "8 episodes of CountingEnv-v0, task goal 6, exhaustive with horizon 8" in out
    assert [line.split("  ")[0] for line in out.splitlines()[3:7]] == ["", "exhaustive", "random policy", "optimum"]
    found = json.loads((counting.path / "plan.json").read_text())
    assert found == json.loads((tmp_path / "found.json").read_text())
    assert set(KEYS) <= set(found)
    assert found["success_interval"][0] < found["success"] <= found["success_interval"][1]
    assert (counting.path / "figures" / "plan_goal.png").stat().st_size > 0
    with Image.open(counting.path / "figures" / "plan_goal.gif") as animation:
        first = counting_goals(tiny(), 8, 0, 6).each[:4]  # all in the fewest steps
        assert animation.n_frames == sum(problem.optimum + 1 for problem in first)


def test_a_file_is_a_goal(counting, tmp_path):
    image = make_domain(tiny().collection).balanced_observations(1, 7)[0][2]
    Image.fromarray(image).save(tmp_path / "two.png")
    np.save(tmp_path / "two.npy", image)
    for name in ("two.png", "two.npy"):
        answer = control.plan_run(
            counting.path, task="goal", goal=str(tmp_path / name), planner="exhaustive", horizon=6, episodes=8
        )
        assert {each.problem.count for each in answer.episodes} == {2}
        assert answer.numbers["optimal"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--horizon", "0"], "--horizon 0: must be at least 1"),
        (["--episodes", "0"], "--episodes 0: must be at least 1"),
        (["--planner", "astar"], "invalid choice: 'astar'"),
        (["--goal", "3"], "--goal 3: needs --task goal"),
        (["--task", "goal", "--goal", "9"], "--goal 9: must be a count from 0 to 8, or a file"),
        (["--task", "goal", "--goal", "none.png"], "--goal none.png: cannot be read (No such file or directory)"),
        (["--task", "goal", "--goal", "small.png"], "--goal small.png: is (5, 5, 3) uint8, must be (64, 64, 3) uint8"),
        (["--cost", f"{__name__}:cost_of_nan"], "the cost is NaN for 2 of 2 sequences"),
        (["--cost", f"{__name__}:cost_that_fails"], "cost_that_fails: raised KeyError: 'no\\nsuch'"),
        (["--cost", "no_such_module:f"], "--cost no_such_module:f: cannot be imported"),
        (["--set", "samples=1"], "samples=1: must be in 2..1048576"),
        (["--set", "speed=1"], "--set speed=1: must be NAME=VALUE, the name one of samples, elites"),
        (["--planner", "exhaustive", "--horizon", "20"], "horizon=20: must be in 1..14"),
        (["--env", CORRIDOR], "observation_shape is (12, 20, 3), the model was trained with (64, 64, 3)"),
        (["--device", "gpu"], "--device gpu: must be auto, cpu, cuda"),
    ],
)
def test_bad_input_is_one_line_before_any_episode(counting, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(control, "act_in", None)
    Image.new("RGB", (5, 5)).save("small.png")
    status, out, err = run_command(main, capsys, counting.path, *arguments)
    assert (status, out) == (2, "")
    errors = [line for line in err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (counting.path / "plan.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective.transition_weight=0"], "was trained with objective.transition_weight=0, so that its T predicts"),
        (
            ["objective.name=pldm", 'objective.arguments={"transition_weight": 0}'],
            "was trained with objective.arguments.transition_weight=0, so that its T predicts",
        ),
        (["objective.auxiliary=count"], "its P predicts count, not the reward; choose --task goal, or a --cost"),
        (["objective.auxiliary=mine:f", "objective.auxiliary_dim=3"], "its P predicts 3 numbers, and one number is"),
        (["objective.auxiliary_weight=0"], "its P predicts nothing, and one number is needed"),
    ],
)
def test_a_run_without_what_the_task_needs_is_one_line(tmp_path, monkeypatch, capsys, settings, message):
    run = make_run(tmp_path / "run", tiny().override(settings), ExactModel(), monkeypatch)
    status, _, err = run_command(main, capsys, run.path)
    assert status == 2
    assert message in err


def test_a_dataset_cannot_be_acted_in_and_its_environment_can(tmp_path, monkeypatch, capsys):
    walks = make_domain(CollectionConfig(environment=CORRIDOR, max_episode_steps=30, action_repeat=1, transitions=400))
    data = walks.collect(0)
    write_transitions(tmp_path / "walks.npz", dataclasses.replace(data, auxiliary=data.reward))
    config = prepare(make_config(dataset=str(tmp_path / "walks.npz")).override(["collection.transitions=400"]))
    run = make_run(tmp_path / "run", config, ExactCorridor(walks.spec), monkeypatch)
    status, _, err = run_command(main, capsys, run.path)
    assert status == 2
    assert "is a dataset, in which nothing can act; name the environment that it was collected in with --env" in err
    status, out, _ = run_command(main, capsys, run.path, "--env", CORRIDOR, "--episodes", "2", "--horizon", "5")
    assert status == 0
    assert "2 episodes of support.corridor:Corridor-v0" in out


def test_t_can_be_refitted_and_is_reported_beside_the_trained_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dynamics_fit, "UPDATES", 3)
    run = make_run(tmp_path / "run", tiny(), PJEPA.untrained(tiny()).eval(), monkeypatch)
    status, out, _ = run_command(main, capsys, run.path, "--episodes", "2", "--refit", "--set", "samples=10")
    assert status == 0
    assert "T refitted" in out
    found = json.loads((run.path / "plan.json").read_text())
    assert set(KEYS) <= set(found["refitted"])
    assert found["refitted"]["given"] == "signs"
    assert run.dynamics().is_file()
