"""``pjepa-train --collect-only``, which stops before the training that ``--resume`` then does."""

import functools
import json
import logging

import pytest
from bisim_theory import write_transitions
from bisim_theory.cli import main as bisim_check
from pjepa_agent.cli.train import main
from pjepa_agent.config import presets
from pjepa_agent.envs.gymnasium_domain import GymnasiumDomain
from pjepa_agent.runs.directory import RunDirectory
from support.commands import run_command
from support.corridor import walks
from support.toy_worlds import LADDER
from support.world_runs import SMALL, rows_of

run = functools.partial(run_command, main)

SETTINGS = [part for setting in SMALL for part in ("--set", setting)]
CORRIDOR = ("--env", "support.corridor:Corridor", "--auxiliary", "terminated", "--collection.max-episode-steps", "12")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["counting", "environment", "dataset"])
def world(request, tiny, monkeypatch):
    """Return the options that name a world, small."""
    if request.param == "counting":
        monkeypatch.setattr(presets, "PRESETS", {"laptop": tiny()})
        return []
    if request.param == "environment":
        return [*CORRIDOR, *SETTINGS]
    write_transitions("walks.npz", walks(vector=True))
    return ["--data", "walks.npz", "--auxiliary", "reward", *SETTINGS]


def outcomes(path):
    """Return all that a finished run holds, without what depends on the clock."""
    run = RunDirectory(path)
    report = json.loads(run.report.read_text())
    files = [run.config, run.spec, run.transitions, run.representation, run.best, *sorted(run.figures.iterdir())]
    return {
        "files": {file.name: file.read_bytes() for file in files},
        "rows": rows_of(run),
        "report": {name: value for name, value in report.items() if name != "seconds"},
    }


def test_text_in_info_is_said_to_be_no_label_with_what_to_give_instead(capsys, caplog):
    caplog.set_level(logging.INFO, "pjepa_agent")
    world = ("--env", LADDER, "--env-arg", 'observes="vector"', "--auxiliary", "terminated", *SETTINGS)
    status, _, err = run(capsys, *world, "--collect-only", "--run-dir", "run", "--device", "cpu")
    assert status == 0, err
    said = [each.partition(";") for each in caplog.messages if each.startswith("no labels: text: ")]
    rest = " give a number for each, such as its place in a list"
    assert said == [("no labels: text: text, and labels are numbers", ";", rest)]


def test_a_collected_run_can_be_asked_and_once_resumed_is_one_left_alone(world, capsys, caplog):
    caplog.set_level(logging.INFO, "pjepa_agent")
    options = [*world, "--updates", "4", "--run-dir"]
    status, out, err = run(capsys, *options, "parts", "--collect-only", "--device", "cpu")
    assert status == 0, err
    assert sum("transitions to train on." in said and "p protects" in said for said in caplog.messages) == 1
    label = "count" if not world else "place"
    *_, labels, last = out.splitlines()
    assert label in labels.removeprefix("labels: ").split(", ")
    assert "next: bisim-check parts --want LABELS" in last
    assert "pjepa-train --resume parts --device cpu" in last
    collected = RunDirectory("parts")
    assert not collected.metrics.exists()
    assert not collected.report.exists()
    assert bisim_check(["parts", "--want", label]) == 0

    assert run(capsys, "--resume", "parts", "--device", "cpu")[0] == 0
    assert run(capsys, *options, "whole", "--device", "cpu")[0] == 0
    assert outcomes("parts") == outcomes("whole")
    assert len(json.loads(collected.provenance.read_text())) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume", "none"], "--collect-only: begins a new run; leave it out with --resume"),
        (["--seeds", "0-1", "--run-dir", "two"], "--seeds: excludes --collect-only"),
        (["--set", "collection.online=true"], "--collect-only: excludes collection.online=True"),
        (["--set", "collection.policy=planner"], "--collect-only: excludes collection.policy=planner"),
        ([*CORRIDOR, *SETTINGS, "--run-dir", "new", "--set", "evaluation.label=shoe"], "evaluation.label='shoe'"),
        (["--env", "support.corridor:Room", "--run-dir", "new"], "'Room'"),
    ],
)
def test_what_cannot_be_collected_is_one_line_and_leaves_nothing(tmp_path, capsys, options, message):
    status, out, err = run(capsys, "--collect-only", *options)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("pjepa-train: error: ")
    assert message in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_a_collection_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    collect = GymnasiumDomain.collect

    def interrupted(self, seed):
        if self.config.transitions == 300:  # not the few on which p is tried
            raise KeyboardInterrupt
        return collect(self, seed)

    monkeypatch.setattr(GymnasiumDomain, "collect", interrupted)
    status, out, err = run(capsys, "--collect-only", *CORRIDOR, *SETTINGS, "--seed", "77", "--run-dir", "new")
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == "pjepa-train: error: interrupted; nothing that was collected is kept"
    assert not list(tmp_path.iterdir())
