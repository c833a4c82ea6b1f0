"""Runs of other worlds that are stopped and go on, and what cannot go on."""

import json
import signal
import sys

import numpy as np
import pytest
import torch
from bisim_theory import read_representation, read_transitions, write_transitions
from bisim_theory.cli import main as bisim_check
from pjepa_agent import load
from pjepa_agent.cli.train import main
from support import models
from support.corridor import walks
from support.world_runs import rows_of, train

PRESSED = 7
"""Forward pass with gradients at which Ctrl-C is pressed."""


@pytest.fixture
def press(monkeypatch):
    """Return what presses Ctrl-C at the `PRESSED`-th pass of an encoder that is made from then on."""
    passes = []

    def interrupt(module, inputs):
        if module.training and torch.is_grad_enabled():
            passes.append(1)
            if len(passes) == PRESSED:
                signal.raise_signal(signal.SIGINT)

    def arm(name):
        plain = getattr(models, name)

        def made(spec, latent_dim):
            module = plain(spec, latent_dim)
            module.register_forward_pre_hook(interrupt)
            return module

        monkeypatch.setattr(models, name, made)

    return arm


@pytest.mark.parametrize(
    ("vector", "encoder"), [(True, "encoder_of_vectors"), (False, "Flat")], ids=["vectors", "images"]
)
def test_a_users_encoder_is_trained_stopped_resumed_loaded_and_checked(tmp_path, vector, encoder, press, capsys):
    path = tmp_path / "walks.npz"
    write_transitions(path, walks(vector=vector))
    options = ["--data", path, "--auxiliary", "terminated", "--encoder", f"support.models:{encoder}"]
    (tmp_path / "whole").mkdir()
    assert train(tmp_path / "whole", *options)[0] == 0
    press(encoder)
    status, run = train(tmp_path, *options)
    assert status == 130
    assert f"go on with: pjepa-train --resume {run.path}" in capsys.readouterr().err
    assert not run.report.exists()
    assert main(["--resume", str(run.path)]) == 0
    whole = tmp_path / "whole" / "run"
    assert rows_of(run) == rows_of(type(run)(whole))

    data = read_transitions(run.path)
    frames = np.asarray(data.observation[:9])
    found = load(run.path).encode(frames).numpy()
    np.testing.assert_allclose(found, read_representation(run.representation).embedding[:9], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found, load(whole).encode(frames).numpy())
    assert bisim_check([str(run.path), "--json", str(tmp_path / "found.json")]) in (1, 3)
    assert json.loads((tmp_path / "found.json").read_text())["identity"] == "content"


WORLD = """
from support.corridor import Corridor

def make():
    return Corridor()

def p(images, labels):
    return labels["place"] * FACTOR
"""


@pytest.fixture
def stopped(tmp_path, monkeypatch, press, capsys):
    """Return a stopped run of an environment and a p of a module in the current folder, and that module's file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "stopped_world", raising=False)  # that of another test of this process
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which a change of the same second and size leaves stale
    module = tmp_path / "stopped_world.py"
    module.write_text(WORLD.replace("FACTOR", "1"))
    press("Flat")
    options = ["--env", "stopped_world:make", "--auxiliary", "stopped_world:p", "--encoder", "support.models:Flat"]
    status, run = train(tmp_path, *options, "--collection.max-episode-steps", "12")
    assert status == 130
    monkeypatch.delitem(sys.modules, "stopped_world")
    from pjepa_agent.envs import registry

    registry._make_domain.cache_clear()  # as another process begins
    registry._collect_world.cache_clear()
    capsys.readouterr()
    return run, module


def states_of(run):
    return {path.name: path.read_bytes() for path in [run.metrics, run.config, run.checkpoint, run.spec]}


def test_a_run_does_not_go_on_without_its_world(stopped, capsys):
    run, module = stopped
    before = states_of(run)
    module.unlink()
    assert main(["--resume", str(run.path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("pjepa-train: error: ")
    assert "stopped_world" in error
    assert "cannot be imported (ModuleNotFoundError" in error
    assert states_of(run) == before


def test_a_run_does_not_go_on_with_another_p(stopped, capsys):
    run, module = stopped
    before = states_of(run)
    module.write_text(WORLD.replace("FACTOR", "2"))
    assert main(["--resume", str(run.path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert (
        "other values than stopped_world:p now has, so the function has changed since the run began; restore" in error
    )
    assert states_of(run) == before
    module.write_text(WORLD.replace("FACTOR", "1"))
    sys.modules.pop("stopped_world", None)
    assert main(["--resume", str(run.path)]) == 0
