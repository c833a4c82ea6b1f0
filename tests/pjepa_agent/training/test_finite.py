"""A loss that is not finite ends the training; its batch is kept, and what was saved before."""

import numpy as np
import pytest
import torch
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer, TrainingError


def test_a_batch_whose_loss_is_not_finite_is_kept_and_the_checkpoint_too(tiny, tmp_path, monkeypatch):
    config = tiny()
    run = RunDirectory.create(tmp_path / "run", config)
    step = Trainer.step

    def spoil(trainer):
        if trainer.update == 7:
            trainer.model.head.network[-1].bias.data[0] = torch.nan
        return step(trainer)

    monkeypatch.setattr(Trainer, "step", spoil)
    with pytest.raises(TrainingError, match=r"the joint objective: loss nan .* at update 8; the batch is in .*npz"):
        train_run(run, config, "cpu")
    state = torch.load(run.checkpoint, weights_only=True)
    assert state["update"] == 5
    assert all(value.isfinite().all() for value in state["model"].values())
    with np.load(run.offending_batch, allow_pickle=False) as kept:
        assert kept["update"] == 8
        assert kept["observation"].shape == (16, 2, 64, 64, 3)
        assert set(kept.files) >= {"source", "successor", "action", "auxiliary", "reward", "terminated"}
    monkeypatch.setattr(Trainer, "step", step)
    assert train_run(*RunDirectory.open(run.path), "cpu")["updates"] == 12


def test_a_loss_that_is_not_finite_stops_with_a_reason(tiny, tmp_path, monkeypatch):
    config = tiny(learning_rate=1e3, clip=1e30)
    run = RunDirectory.create(tmp_path / "run", config)
    with pytest.raises(TrainingError, match="not finite"):
        train_run(run, config, "cpu")
    assert not run.report.exists()
