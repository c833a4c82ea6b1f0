"""A run of version 0.1, stopped after update 7 of 12, is loaded, resumed, checked and drawn by this version.

`expected.npz` holds what version 0.1 made of the run's first twenty observations.
"""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bisim_theory import cli as bisim_check
from bisim_theory import read_transitions
from pjepa_agent import load
from pjepa_agent.cli import curves, figure, train
from pjepa_agent.evaluation import reconstruction
from support.commands import run_command

RUN = Path(__file__).parent / "run_of_0_1"


@pytest.fixture
def old_run(tmp_path):
    return Path(shutil.copytree(RUN, tmp_path / "run"))


def test_its_model_computes_what_it_did():
    images = read_transitions(RUN / "transitions.npz").observation[:20]
    model = load(RUN)
    with np.load(RUN / "expected.npz", allow_pickle=False) as expected:
        embedding = model.encode(images)
        found = {
            "embedding": embedding,
            "predicted": model.predict(embedding, np.linspace(-1, 1, 20)[:, None]),
            "auxiliary": model.auxiliary(embedding),
            "embedding_best": load(RUN, at="best").encode(images),
        }
        for name, value in found.items():
            torch.testing.assert_close(value, torch.from_numpy(expected[name]), rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.usefixtures("rendered_figures")
def test_it_is_resumed_checked_and_drawn(old_run, tmp_path, capsys, monkeypatch):
    quick = functools.partial(reconstruction.fit_decoder, updates=2)
    monkeypatch.setattr(reconstruction, "fit_decoder", quick)
    status, _, said = run_command(train.main, capsys, "--resume", old_run, "--device", "cpu")
    assert status == 0, said
    assert json.loads((old_run / "report.json").read_text())["updates"] == 12
    assert len(json.loads((old_run / "provenance.json").read_text())) == 2
    found = tmp_path / "found.json"
    status, _, said = run_command(bisim_check.main, capsys, old_run, "--json", found)
    assert status in (0, 1, 3), said
    assert json.loads(found.read_text())["transitions"] == 120
    for command in (figure, curves):
        picture = tmp_path / f"{command.__name__}.png"
        status, _, said = run_command(command.main, capsys, old_run, "--out", picture)
        assert status == 0, said
        assert picture.stat().st_size > 1_000
