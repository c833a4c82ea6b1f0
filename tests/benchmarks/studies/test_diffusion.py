"""Runs that are continued in several ways."""

import dataclasses

import pytest
import torch
from bisim_theory import write_transitions
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.presets import LAPTOP
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer
from support.small import SMALL_OPTIONS
from torch import nn

from benchmarks.studies import diffusion
from benchmarks.studies.study import T_GIVEN_VALUES, settings


@pytest.mark.slow
def test_a_run_is_continued_in_each_way_from_one_state(tmp_path, monkeypatch):
    """Without a rate nothing moves; without a loss the other alone is minimised; nothing is written into the run."""
    path = tmp_path / "run"
    config = configure(
        make_parser().parse_args(
            [*T_GIVEN_VALUES, *SMALL_OPTIONS, *settings("optimization.schedule=constant"), "--updates", "3"]
        )
    )
    run, data = RunDirectory.create(path, config), collect_dataset(config)
    write_transitions(run.transitions, data)
    Trainer(config, run, data, torch.device("cpu")).train()
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    monkeypatch.setattr(diffusion, "UPDATES", 4)
    monkeypatch.setattr(diffusion, "EVERY", 2)
    rows = {name: diffusion.follow(path, way) for name, way in diffusion.WAYS.items()}
    assert {len(each) for each in rows.values()} == {2}
    moved = {name: each[-1]["moved"] for name, each in rows.items()}
    assert moved.pop("no-rate") == 0
    assert moved["tenth-of-the-rate"] < 0.3 * moved["as-it-was"]
    assert min(moved.values()) > 0
    without = [rows[name][-1]["transition"] for name in ("without-auxiliary-loss", "without-transition-loss")]
    assert without[0] < rows["as-it-was"][-1]["transition"] < without[1]
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == before


def test_exact_statistics_are_those_of_all_observations():
    """The first layer's are the mean over batches of what its input is there, and the weights stay as they were."""
    torch.manual_seed(0)
    model = PJEPA(dataclasses.replace(LAPTOP, network=dataclasses.replace(LAPTOP.network, width=4)))
    frames = torch.randint(0, 256, (600, 64, 64, 3), dtype=torch.uint8)
    inputs = []
    exact = diffusion.with_exact_statistics(model, frames, batches=2)
    first, layer = (next(m for m in each.modules() if isinstance(m, nn.BatchNorm2d)) for each in (exact, model))
    layer.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    with torch.no_grad():
        for batch in torch.randperm(600, generator=torch.Generator().manual_seed(0))[:512].split(256):
            model.encoder(frames[batch])
    mean = torch.stack([each.mean((0, 2, 3)) for each in inputs]).mean(0)
    torch.testing.assert_close(first.running_mean, mean, rtol=1e-4, atol=1e-5)
    assert not torch.equal(first.running_mean, layer.running_mean)
    for ours, theirs in zip(exact.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
