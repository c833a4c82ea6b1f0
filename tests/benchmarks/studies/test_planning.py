"""The study of planning: what it asks, and the tables of what is answered."""

import dataclasses

import pytest
from bisim_theory import write_transitions
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.planning import control
from pjepa_agent.planning.question import Question
from pjepa_agent.run import prepare
from pjepa_agent.runs.directory import RunDirectory
from support.planned import ExactModel
from support.trainings import tiny

from benchmarks.studies import planning
from benchmarks.studies.planning import GOAL, QUESTIONS, REWARD, VARIANTS, ask, tables

IMAGINED = {"accuracy": [1 - k / 10 for k in range(8)], "error": [0.1 * k for k in range(8)]}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose model makes no error."""
    config = tiny()
    domain = make_domain(config.collection)
    run = RunDirectory.create(tmp_path / "run", config, domain.spec)
    data = domain.collect(config.seed)
    write_transitions(run.transitions, dataclasses.replace(data, auxiliary=data.reward, size=data.frames))
    monkeypatch.setattr(control, "load", lambda *_: ExactModel())
    return run.path


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_answer_what_is_asked_of_it(name, tmp_path):
    config = prepare(configure(make_parser().parse_args(VARIANTS[name])))
    for asked in QUESTIONS[name].values():
        Question(**asked).check(tmp_path, config)


def test_exact_dynamics_fill_the_tables_with_the_optimum(run, monkeypatch):
    asked = {
        REWARD: {"planner": "exhaustive", "horizon": 4, "episodes": 16},
        GOAL: {"task": "goal", "planner": "exhaustive", "episodes": 72},
    }
    monkeypatch.setattr(planning, "QUESTIONS", {"default": asked, "pldm": {GOAL: asked[GOAL]}})
    measures = planning.measurer(asked)(run)
    trained = {"imagined": {"uniform_actions": IMAGINED, "largest_actions": IMAGINED}}
    answered = {"measures": measures, "report": {"held_out": {"trained": trained}}}
    known = {("default", 0): answered, ("default", 1): answered, ("pldm", 0): answered}
    made = [table.splitlines() for table in tables(known, ["default", "pldm"], [0, 1, 2])]
    control_table, goals, distances, imagined = made
    policies = [line.split(" | ") for line in control_table[2:]]
    assert [line[3] for line in policies] == [
        *("as trained", "P as it is", "random policy"), *("as trained", "random policy") * 2
    ]  # fmt: skip
    assert policies[0][4:] == ["2", "1.000", "1.000", "0.00", "30 |"]
    assert [line.split(" | ")[1] for line in goals[2:]] == ["144, and 9 pairs left out", "72, and 9 pairs left out"]
    assert all(line.count("1.00") == 9 for line in goals[2:])
    assert all(line.count("1.00") == 8 for line in distances[2:])
    assert imagined[2].endswith("| 1.00 | 0.90 | 0.70 | 0.30 |")


def test_without_records_there_are_no_tables():
    assert tables({}, list(VARIANTS), [0]) == []


def test_the_share_of_failures_is_in_the_tables(run, monkeypatch):
    short = ask(run, {"task": "goal", "planner": "exhaustive", "horizon": 1, "episodes": 72})
    assert short["policies"][""]["success"] < 1
    assert sum(row["success"] * row["episodes"] for row in short["by_goal"]) == pytest.approx(
        72 * short["policies"][""]["success"]
    )
