"""The ways to compute the same thing faster: each computes the same thing, and without any of them a run trains too."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from bisim_theory import read_transitions
from pjepa_agent import load
from pjepa_agent.cli.train import main
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.collection.frames import frames_device
from pjepa_agent.collection.replay import DatasetReplay, OnlineReplay
from pjepa_agent.networks.decoder import Decoder
from pjepa_agent.networks.encoder import Convolution, ResNetEncoder
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer, TrainingError, transitions
from support.trainings import check_compiled, losses_of, with_all_parts
from torch import nn

CPU = torch.device("cpu")

OFF = {
    "joint_batch": "compute.joint_batch=false",
    "fast_paths": "compute.fast_paths=false",
    "check_every": "compute.check_every=1",
    "frame_storage": "compute.frame_storage=host",
}


@pytest.fixture
def whole():
    return with_all_parts()


@pytest.mark.parametrize("names", [[name] for name in OFF] + [list(OFF)], ids=[*OFF, "all"])
def test_what_is_turned_off_computes_the_same(names, whole, tmp_path):
    _, expected = losses_of(whole, tmp_path / "on", 6)
    encoded = []
    trainer, found = losses_of(whole.override([OFF[name] for name in names]), tmp_path / "off", 6, encoded)
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-6)
    for row, other in zip(expected, found, strict=True):  # the digits of one update are the weights of the next
        assert other == pytest.approx(row, rel=1e-2, abs=1e-3)
    assert expected[0] != expected[-1]
    model, rows = trainer.model, trainer.config.optimization.batch_size
    assert encoded == ([rows] * 12 if "joint_batch" in names else [2 * rows] * 6)
    groups = trainer.optimizer._optimizer.param_groups
    assert all(group["fused"] == ("fast_paths" not in names) for group in groups)
    assert len(trainer.finite.pending) == (0 if "check_every" in names else 12)  # the core's steps, and those beside it
    first = model.encoder.stages[0][0].conv1.weight
    assert first.is_contiguous(memory_format=torch.channels_last) == ("fast_paths" not in names)
    assert all(
        layer.dense == ("fast_paths" not in names) for layer in model.modules() if isinstance(layer, Convolution)
    )


def test_with_everything_turned_off_a_run_trains(tiny, tmp_path):
    config = tiny().override([*OFF.values(), "compute.compile=off"])
    directory = RunDirectory.create(tmp_path / "run", config)
    assert train_run(directory, config, CPU)["updates"] == 12
    assert load(directory.path).encode(np.zeros((1, 64, 64, 3), np.uint8)).isfinite().all()


@pytest.mark.slow
def test_what_is_compiled_computes_the_same(tmp_path, monkeypatch):
    """Traced, differentiated and made functional as for the compiler; `tests/consumers` has C++ made of it too."""
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: compile_(module, backend="aot_eager"))
    check_compiled(tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("assignments", [[], ["compute.frame_storage=host"], ["optimization.autocast=false"]])
def test_graphs_of_compiled_losses_on_a_gpu_compute_the_same(assignments, whole, tmp_path):
    losses = []
    for compile_ in ("off", "on"):
        settings = ["optimization.autocast=false", f"compute.compile={compile_}", "compute.graph=off"]
        config = whole.override([*settings, *assignments])
        directory = RunDirectory.create(tmp_path / compile_, config)
        trainer = Trainer(config, directory, None, torch.device("cuda"))
        rows = []
        for _ in range(20):
            rows.append(trainer.step())
        losses.append([{name: float(loss) for name, loss in row.items()} for row in rows])
    for row, other in zip(*losses, strict=True):
        for name in ("total", "transition", "auxiliary", "decoder"):  # the others draw random numbers
            assert row[name] == pytest.approx(other[name], rel=2e-2, abs=1e-3), name


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("last", [True, False])
def test_a_convolution_is_one_on_every_map(size, stride, last):
    torch.manual_seed(0)
    layer = Convolution(3, 5, stride).double()
    plain = nn.Conv2d(3, 5, 3, stride, 1, bias=False).double()
    plain.load_state_dict(layer.state_dict())
    given = torch.randn(7, 3, size, size, dtype=torch.double)
    if last:
        given = given.contiguous(memory_format=torch.channels_last)
    results = []
    for each in (layer, plain):
        mine = given.clone().requires_grad_()
        output = each(mine)
        output.sin().sum().backward()
        results.append((output, mine.grad, each.weight.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_last_maps_of_the_encoder_are_small_enough_to_be_products(monkeypatch):
    seen = []
    product = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda x, w, b=None: seen.append(tuple(w.shape)) or product(x, w, b))
    images = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    ResNetEncoder(8, width=4, blocks=2)(images)
    # The first of the last stage's convolutions comes from a larger map; the last product is the projection.
    assert seen == [(128, 128)] * 3 + [(8, 32)]


def test_layouts_give_the_same_pictures():
    torch.manual_seed(0)
    decoder = Decoder(8)
    other = Decoder(8, channels_last=False)
    other.load_state_dict(decoder.state_dict())
    z = torch.randn(3, 8)
    torch.testing.assert_close(decoder(z), other(z), rtol=1e-4, atol=1e-5)


def test_frames_are_kept_where_they_fit(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1_000, 4_000))
    assert frames_device("auto", gpu, 500) == gpu
    assert frames_device("auto", gpu, 501) == CPU
    assert frames_device("device", gpu, 501) == gpu
    assert frames_device("host", gpu, 1) == CPU
    assert frames_device("auto", CPU, 10**15) == CPU


def test_a_buffer_takes_little_more_memory_than_its_frames(tiny):
    config = tiny().override(
        ["collection.online=true", "collection.transitions=4000", "collection.initial_transitions=1000"]
    )
    recent = OnlineReplay(config, CPU)
    recent.collect_until(9_000)
    data = recent.dataset()
    distinct = data.frames * 64 * 64 * 3
    rows = sum(value.nbytes for value in recent.buffer[:].values())
    assert recent.frames.nbytes + rows <= 1.1 * distinct
    fixed = collect_dataset(tiny())
    assert DatasetReplay(fixed, 16, 0, CPU).frames.nbytes == fixed.observation.nbytes


@pytest.mark.parametrize("stop", [8, None])
@pytest.mark.parametrize("every", [1, 4, 100])
def test_nothing_is_saved_of_an_update_that_was_not_finite(every, stop, tiny, tmp_path):
    """Whenever it is looked at, at the latest for a stop after update 8, or for the evaluation after 10."""
    config = tiny().override([f"compute.check_every={every}"])
    directory = RunDirectory.create(tmp_path / "run", config)
    trainer = Trainer(config, directory, collect_dataset(config), CPU)
    sample = trainer.replay.sample

    def spoil():
        batch = sample()
        if trainer.update == 6:
            batch["auxiliary"] = torch.full_like(batch["auxiliary"], torch.nan)
        return batch

    trainer.replay.sample = spoil
    with pytest.raises(TrainingError, match=r"loss nan or its gradient is not finite at update 7"):
        trainer.train(should_stop=lambda: trainer.update == stop)
    assert trainer.update == {1: 6, 4: 7, 100: stop or 10}[every]
    assert torch.load(directory.checkpoint, weights_only=True)["update"] == 5
    with np.load(directory.offending_batch, allow_pickle=False) as kept:
        assert kept["update"] == 7
        assert np.isnan(kept["auxiliary"]).all()


def test_a_prefetched_collection_is_the_same_and_one_that_is_lost_is_made_again():
    """In a process without PyTorch, which is what it is for."""
    code = """
import dataclasses, sys
import numpy as np
from pjepa_agent.collection import prefetch
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.config.schema import CollectionConfig, Config

config = CollectionConfig(transitions=300)
domain = CountingDomain(config)
kept, lost = prefetch.PrefetchedCollection(domain, 5), prefetch.PrefetchedCollection(domain, 5)
lost._process.kill()
expected = domain.collect(5)
for data in (kept.result(), lost.result()):
    for field in dataclasses.fields(data):
        if field.name not in ("labels", "metadata"):
            np.testing.assert_equal(getattr(data, field.name), getattr(expected, field.name))
    np.testing.assert_equal(data.labels, expected.labels)
assert "torch" not in sys.modules
started = prefetch.start(Config())
assert (started is None) == (sys.platform != "linux")
prefetch.mmap.mmap = lambda *arguments: exec("raise OSError(12, 'Cannot allocate memory')")
assert prefetch.start(Config()) is None
import torch
assert prefetch.start(Config()) is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_transitions_that_cannot_be_written_end_the_run(tiny, tmp_path, monkeypatch, capsys):
    config = tiny(updates=10_000)
    directory = RunDirectory.create(tmp_path / "run", config)

    def fail(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(transitions, "write_transitions", fail)
    assert main(["--resume", str(directory.path), "--device", "cpu"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not directory.transitions.exists()


def test_a_run_that_stopped_before_its_transitions_were_written_has_the_same(tiny, tmp_path):
    config = tiny()
    whole, parts = (RunDirectory.create(tmp_path / name, config) for name in ("whole", "parts"))
    train_run(whole, config, CPU)
    with pytest.raises(Interrupted):
        train_run(parts, config, CPU, should_stop=lambda: True)
    parts.transitions.unlink()  # as if the process had been killed before
    train_run(parts, config, CPU)
    first, second = (read_transitions(each.path) for each in (whole, parts))
    np.testing.assert_array_equal(first.observation[:], second.observation[:])
    first, second = (torch.load(each.checkpoint, weights_only=True)["model"] for each in (whole, parts))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
