"""`pjepa_agent.fit`: training from a script or a notebook, on objects."""

import csv
import dataclasses
import json
import logging
import os
import signal
import tempfile

import numpy as np
import pytest
import torch
from bisim_theory import DatasetError, read_representation, read_transitions, write_transitions
from bisim_theory.cli import main as bisim_check
from bisim_theory.data.auxiliary import stored_values
from pjepa_agent import fit, load
from pjepa_agent.cli.train import main as pjepa_train
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import make_config
from pjepa_agent.runs.directory import RunDirectory, RunError
from support.corridor import walks
from support.models import Flat
from torch import nn

SMALL = {
    "network.width": 4, "network.latent_dim": 16, "network.hidden_dim": 32, "optimization.batch_size": 16,
    "optimization.autocast": False, "evaluation.every": 4, "evaluation.transitions": 100,
    "evaluation.batch_norm_samples": 32,
}  # fmt: skip
ANY_WIDTH = {name: value for name, value in SMALL.items() if name != "network.latent_dim"}


class Interrupting(Flat):
    """Press Ctrl-C as the given forward pass in training mode begins."""

    passes, number = 0, signal.SIGINT

    def forward(self, images):
        if self.training and torch.is_grad_enabled():
            type(self).passes += 1
            if self.passes == 9:
                signal.raise_signal(self.number)
        return super().forward(images)


def rows_of(path):
    with open(RunDirectory(path).metrics, newline="") as file:
        return [
            {name: value for name, value in row.items() if not name.startswith(("seconds", "charts/updates"))}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(autouse=True)
def no_level_set():
    """The log as a new process has it: commands that other tests ran in this one have set its level."""
    logger = logging.getLogger("pjepa_agent")
    level = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(level)


@pytest.fixture
def data():
    return walks()


def test_a_model_is_trained_on_objects_and_its_run_is_like_every_other(tmp_path, data, capsys):
    module, run = Flat(), tmp_path / "run"
    before, random = [each.clone() for each in module.parameters()], torch.random.get_rng_state()
    model = fit(data, auxiliary="reward", encoder=module, run=run, settings=ANY_WIDTH, updates=8)
    assert all(torch.equal(*pair) for pair in zip(before, module.parameters(), strict=True))
    assert torch.equal(random, torch.random.get_rng_state())
    assert model.latent_dim == 8
    assert not model.training

    frames = data.observation[:9]
    best = load(run, at="best", encoder=Flat())
    np.testing.assert_array_equal(model.encode(frames).numpy(), best.encode(frames).numpy())
    report = json.loads((run / "report.json").read_text())
    assert report["held_out"]["trained"] != report["held_out"]["untrained"]
    assert report["best_update"] in (4, 8)
    trained = read_transitions(run)
    read_representation(run / "representation.npz").check_against(trained)
    assert len(set(trained.episode)) == len(set(data.episode)) - round(0.2 * 40)
    assert bisim_check([str(run)]) in (1, 3)
    assert "update 8/8: L_dyn" in capsys.readouterr().err


@pytest.mark.parametrize("vector", [False, True])
def test_a_path_and_names_train_as_the_command_does(tmp_path, vector):
    path = tmp_path / "walks.npz"
    write_transitions(path, walks(vector=vector))
    options = [f"--set={name}={json.dumps(value)}" for name, value in SMALL.items()]
    command = ["--data", str(path), "--auxiliary", "reward:bins:2", "--updates", "8", "--collection.held-out", "0.3"]
    assert pjepa_train([*command, *options, "--run-dir", str(tmp_path / "a")]) == 0
    fit(path, "reward:bins:2", held_out=0.3, run=tmp_path / "b", settings=SMALL, updates=8)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert (tmp_path / "a" / "config.json").read_text() == (tmp_path / "b" / "config.json").read_text()


def test_p_is_a_name_an_array_or_a_function(tmp_path, data):
    place = data.labels["place"]
    given = {
        "name": "place",
        "array": torch.from_numpy(place),
        "function": lambda images, labels: labels["place"],
    }
    for name, auxiliary in given.items():
        fit(data, auxiliary, run=tmp_path / name, settings=SMALL, updates=4)
        assert rows_of(tmp_path / name) == rows_of(tmp_path / "name"), name
        values = stored_values(read_transitions(tmp_path / name))
        np.testing.assert_array_equal(values.value[values.known], read_transitions(tmp_path / name).labels["place"])


def test_p_of_a_path_may_be_an_object(tmp_path, data):
    path = tmp_path / "walks.npz"
    write_transitions(path, data)
    fit(path, np.stack([data.labels["place"]] * 2, 1), run=tmp_path / "run", settings=SMALL, updates=4)
    assert read_transitions(tmp_path / "run").observation_auxiliary.shape[1] == 2


@pytest.mark.parametrize("as_path", [False, True])
def test_other_data_is_measured_with(tmp_path, data, as_path):
    other = walks(episodes=7, seed=9)
    write_transitions(tmp_path / "other.npz", other)
    run = tmp_path / "run"
    held_out = tmp_path / "other.npz" if as_path else other
    fit(data, "reward:bins:2", held_out=held_out, run=run, settings=SMALL, updates=4)
    assert len(read_transitions(run)) == len(data)
    report = json.loads((run / "report.json").read_text())
    assert report["held_out"]["trained"]["transitions"] == len(other)


@pytest.mark.parametrize("first", [False, True])
def test_an_episode_of_one_frame_changes_nothing(tmp_path, data, first):
    def with_one_more(frames):
        return np.concatenate([frames[:1], frames] if first else [frames, frames[:1]])

    more = dataclasses.replace(
        data,
        source=data.source + first,
        successor=data.successor + first,
        observation=with_one_more(data.observation),
        labels={"place": with_one_more(data.labels["place"])},
    )
    fit(data, data.labels["place"], run=tmp_path / "plain", settings=SMALL, updates=2)
    fit(more, more.labels["place"], run=tmp_path / "more", settings=SMALL, updates=2)
    assert rows_of(tmp_path / "plain") == rows_of(tmp_path / "more")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_scheduler_ends_a_script_that_has_saved_and_goes_on_as_one_left_alone(
    tmp_path, data, number, monkeypatch, capsys
):
    def train(name):
        return fit(data, "reward", Interrupting(), run=tmp_path / name, settings=ANY_WIDTH, updates=12, seed=3)

    torch.manual_seed(0)
    Interrupting.passes = 100
    train("whole")
    monkeypatch.setattr(Interrupting, "number", number)
    former = signal.signal(number, signal.SIG_DFL)  # a process that nohup began ignores SIGHUP, as fit then does
    try:
        torch.manual_seed(0)
        Interrupting.passes = 0
        with pytest.raises(SystemExit) as ended:
            train("parts")
        assert ended.value.code == 128 + number
        assert f"{number.name}: saved after " in capsys.readouterr().err
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, former)
    assert not (tmp_path / "parts" / "report.json").exists()
    train("parts")
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


def test_without_a_run_nothing_is_left(tmp_path, data, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model = fit(data, settings=SMALL, updates=2)
    assert model.encode(data.observation[:3]).shape == (3, 16)
    assert os.listdir(tmp_path) == []


def test_a_run_that_was_interrupted_goes_on_with_the_same_call(tmp_path, data):
    def train(name):
        return fit(data, "reward", Interrupting(), run=tmp_path / name, settings=ANY_WIDTH, updates=12, seed=3)

    handler = signal.getsignal(signal.SIGINT)
    torch.manual_seed(0)
    Interrupting.passes = 100
    train("whole")
    torch.manual_seed(0)
    Interrupting.passes = 0
    with pytest.raises(KeyboardInterrupt, match=r"saved after . updates; the same call goes on"):
        train("parts")
    assert not (tmp_path / "parts" / "report.json").exists()
    assert signal.getsignal(signal.SIGINT) is handler
    train("parts")
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


def test_a_run_holds_the_data_and_p_that_it_is_resumed_with(tmp_path, data, capsys):
    run = RunDirectory(tmp_path / "run")
    fit(data, lambda images, labels: labels["place"], run=run.path, settings=SMALL, updates=4)
    rows = rows_of(run.path)
    for file in (run.report, run.metrics, *run.checkpoint.parent.iterdir()):
        file.unlink()  # as if it had been killed before its first checkpoint
    assert pjepa_train(["--resume", str(run.path)]) == 0
    assert rows_of(run.path) == rows
    run.report.unlink()
    run.transitions.unlink()
    capsys.readouterr()
    assert pjepa_train(["--resume", str(run.path)]) == 2
    assert "collection.dataset: was given as an object" in capsys.readouterr().err


def test_an_encoder_that_no_name_leads_to_is_asked_for(tmp_path, data, capsys):
    run = tmp_path / "run"
    fit(data, encoder=Flat(), run=run, settings=ANY_WIDTH, updates=2)
    with pytest.raises(RunError, match=r"network.encoder: was given as an object.*load\(RUN, encoder=...\)") as caught:
        load(run)
    assert "\n" not in str(caught.value)
    assert load(run, encoder=lambda spec, latent_dim: Flat(spec, latent_dim)).latent_dim == 8
    with pytest.raises(RunError, match="does not fit the run's"):
        load(run, encoder=nn.Sequential(Flat()))
    RunDirectory(run).report.unlink()
    assert pjepa_train(["--resume", str(run)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "pjepa-train: error: network.encoder: was given as an object" in error
    assert "fit(..., encoder=..., run=RUN)" in error


def test_an_encoder_that_a_name_leads_to_is_not(tmp_path, data):
    fit(data, encoder=Flat, run=tmp_path / "run", settings=SMALL, updates=2)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["network"]["encoder"] == "support.models:Flat"
    assert load(tmp_path / "run").latent_dim == 16


def test_a_configuration_gives_all_but_the_world(tmp_path, data):
    config = make_config("laptop", seed=4, auxiliary="place").override(
        [f"{name}={json.dumps(value)}" for name, value in SMALL.items()]
    )
    fit(data, run=tmp_path / "run", settings=config, updates=2)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["seed"], report["auxiliary"], report["updates"]) == (4, "place", 2)


def nan_first(images, labels):
    return np.where(np.arange(len(images)) == 0, np.nan, 1.0)


REFUSED = {
    "few values": ({"auxiliary": [1.0, 2.0]}, DatasetError, "auxiliary given: returned 2 rows for"),
    "NaN": ({"auxiliary": nan_first}, DatasetError, "auxiliary nan_first: is not finite for observation 0"),
    "no name": ({"auxiliary": "beauty"}, DatasetError, "auxiliary='beauty': this dataset offers"),
    "text": ({"auxiliary": ["a", "b"]}, DatasetError, r"auxiliary given: must return \(F,\) or \(F, k\) numbers"),
    "setting": ({"settings": {"network.depth": 3}}, ConfigError, "network.depth: is no field"),
    "setting of no type": ({"settings": {"network.width": object()}}, ConfigError, "settings: hold what is no number"),
    "share": ({"held_out": 1.0}, ConfigError, "collection.held_out=1.0: must be in"),
    "held-out vectors": ({"held_out": walks(vector=True)}, DatasetError, r"held_out: has observations \(5,\) float32"),
    "width": (
        {"encoder": Flat(), "settings": {"network.latent_dim": 5}}, ConfigError, r"encoder given: returns \(4, 8\)",
    ),
    "no encoder": ({"encoder": nn.Flatten()}, ConfigError, "encoder given: has no parameters to train"),
    "no data": ({"data": "nowhere.npz"}, DatasetError, "nowhere.npz: does not exist"),
    "device": ({"device": "tpu"}, RunError, "tpu: must be auto, cpu, cuda"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fitted_is_one_line_and_writes_nothing(tmp_path, data, name, monkeypatch):
    given, kind, message = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        fit(**{"data": data, "settings": SMALL, "run": tmp_path / "run", "updates": 2} | given)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_actions_that_nobody_trained_on_are_not_measured(data):
    other = dataclasses.replace(data, action=data.action + 1)
    with pytest.raises(DatasetError, match="action: holds 2, and the transitions that are trained on hold"):
        fit(data, held_out=other, settings=SMALL, updates=2)


def test_a_run_of_something_else_is_not_gone_on_with(tmp_path, data):
    run = tmp_path / "run"
    fit(data, "place", run=run, settings=SMALL, updates=2)
    with pytest.raises(RunError, match="is finished; load"):
        fit(data, "place", run=run, settings=SMALL, updates=2)
    RunDirectory(run).report.unlink()
    with pytest.raises(RunError, match=r"of other settings \(seed, network.width\)"):
        fit(data, "place", run=run, settings=SMALL | {"network.width": 5}, updates=2, seed=1)
    other = dataclasses.replace(data, labels={"place": data.labels["place"] + 1})
    with pytest.raises(RunError, match="holds other transitions, or another p, than are given"):
        fit(other, "place", run=run, settings=SMALL, updates=2)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("")
    with pytest.raises(RunError, match="is already used"):
        fit(data, run=tmp_path / "used", settings=SMALL, updates=2)


def test_progress_is_shown_once_and_can_be_silenced(data, capsys, monkeypatch):
    logger = logging.getLogger("pjepa_agent")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    fit(data, settings=SMALL, updates=4)
    shown = capsys.readouterr().err
    assert shown.count("update 4/4: ") == 1
    assert "transitions to train on" in shown
    assert (logger.level, logger.handlers, logger.propagate) == (logging.NOTSET, [], True)
    logger.setLevel(logging.WARNING)
    fit(data, settings=SMALL, updates=4)
    assert capsys.readouterr().err == ""
