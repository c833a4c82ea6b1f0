"""What a checkpoint holds."""

import pytest
import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.runs.checkpoint import load_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer
from support.models import with_all_parts

CPU = torch.device("cpu")


def test_a_checkpoint_that_calls_the_readouts_beside_is_resumed(tiny, tmp_path):
    """As version 0.1 wrote it."""
    config = with_all_parts(tiny(updates=6))
    run, data = RunDirectory.create(tmp_path / "run", config), collect_dataset(config)
    trainer = Trainer(config, run, data, CPU)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        trainer.train(should_stop=lambda: next(asked) >= 2)
    state = load_checkpoint(run.checkpoint)
    expected = state["readouts"]["optimizer"]["state"]
    state["beside"] = state.pop("readouts")
    save_checkpoint(run.checkpoint, state)
    found = Trainer(config, run, data, CPU).readout_optimizer.state_dict()["optimizer"]["state"]
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[number]["exp_avg"], found[number]["exp_avg"]) for number in expected)
