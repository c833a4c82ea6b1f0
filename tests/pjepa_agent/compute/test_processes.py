"""One run trained by several processes. They are forked here, and talk through gloo."""

import dataclasses
import functools
import json
import os
import socket
import time

import numpy as np
import pytest
import torch
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.cli.train import main
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.collection.replay import OnlineReplay
from pjepa_agent.compute.processes import SINGLE_PROCESS, TorchProcesses
from pjepa_agent.config import presets
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import MetricsFile
from pjepa_agent.training import Interrupted, Trainer
from support.forks import Fork
from torch import distributed

CPU = torch.device("cpu")


def on_ranks(folder, function, size=2):
    """Call a function of `Processes` on each of `size` forked ranks and return what it returns, by rank."""
    folder.mkdir()

    def join(rank):
        store = distributed.FileStore(str(folder / "store"), size)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
        torch.save(function(TorchProcesses(rank, size)), folder / f"{rank}.pt")
        distributed.destroy_process_group()

    ended = [child.wait() for child in [Fork(functools.partial(join, rank)) for rank in range(size)]]
    assert [each.status for each in ended] == [0] * size, "\n".join(each.stderr for each in ended)
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]


@pytest.fixture
def plain(tiny):
    """A configuration without batch statistics, which every rank would have of its own part."""

    def make(**network):
        config = tiny(updates=6)
        return dataclasses.replace(config, network=dataclasses.replace(config.network, normalization="none", **network))

    return make


class Part:
    """A rank's rows of every batch of a sampler."""

    def __init__(self, sampler, processes):
        self._sampler, self._processes = sampler, processes

    def __getattr__(self, name):
        return getattr(self._sampler, name)

    def sample(self):
        return self._sampler.sample()[self._processes.rank :: self._processes.size]


def losses_and_weights(config, path, processes):
    """Of a training in which all ranks together see the batches that a process alone does."""
    run = RunDirectory(path) if not processes.is_main else RunDirectory.create(path, config)
    trainer = Trainer(config, run, collect_dataset(config), CPU, processes)
    trainer.replay = Part(Trainer(config, run, collect_dataset(config), CPU).replay, processes)
    losses = []
    for _ in range(config.optimization.updates):
        losses.append(trainer.step())
    return [{name: float(loss) for name, loss in row.items()} for row in losses], trainer.model.state_dict()


def test_two_ranks_train_the_model_of_one_process_on_the_same_batches(plain, tmp_path):
    config = plain(decoder=True)
    alone, weights = losses_and_weights(config, tmp_path / "alone", SINGLE_PROCESS)
    ranks = on_ranks(tmp_path / "ranks", lambda processes: losses_and_weights(config, tmp_path / "run", processes))
    for update, row in enumerate(alone):
        parts = [losses[update] for losses, _ in ranks]
        assert parts[0] != parts[1]
        for name, loss in row.items():
            assert np.mean([part[name] for part in parts]) == pytest.approx(loss, rel=1e-4), (update, name)
    for name, value in weights.items():
        first, second = (found[name] for _, found in ranks)
        assert torch.equal(first, second), name
        torch.testing.assert_close(first, value, rtol=1e-3, atol=1e-4, msg=name)


def full_run(config, path, processes, stop_at=None):
    """Train a run, or go on with it, perhaps until some update."""
    run = RunDirectory(path)
    if processes.is_main and not run.config.exists():
        run = RunDirectory.create(path, config)
    processes.barrier()
    asked = []

    def should_stop():
        asked.append(True)
        return processes.rank == 1 and len(asked) == stop_at  # one that does not write hears of it

    try:
        return train_run(run, config, "cpu", should_stop=should_stop, processes=processes)
    except Interrupted as interrupted:
        return {"stopped at": interrupted.update}


@pytest.mark.parametrize(("like_the_paper", "damaged"), [(False, False), (True, False), (False, True)])
def test_an_interrupted_run_of_two_ranks_ends_like_one_left_alone(like_the_paper, damaged, plain, tmp_path):
    config = plain(control_heads=like_the_paper, decoder=like_the_paper)
    config = dataclasses.replace(
        config,
        collection=dataclasses.replace(config.collection, online=like_the_paper, initial_transitions=20),
        optimization=dataclasses.replace(config.optimization, updates=12),
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    report, nothing = on_ranks(tmp_path / "1", lambda processes: full_run(config, whole, processes))
    assert (report["updates"], nothing) == (12, {})
    stopped = on_ranks(tmp_path / "2", lambda processes: full_run(config, parts, processes, stop_at=7))
    assert stopped == [{"stopped at": 8}] * 2  # nobody asks at the evaluation after update 5
    if damaged:  # both go on from the state before
        with open(parts / "checkpoints" / "last.pt", "r+b") as file:
            file.truncate(1_000)
    on_ranks(tmp_path / "3", lambda processes: full_run(config, parts, processes))
    assert (parts / "checkpoints" / "last.pt.damaged").exists() == damaged
    first, second = (torch.load(path / "checkpoints" / "last.pt", weights_only=True) for path in (whole, parts))
    assert first["ranks"] == 2
    assert not torch.equal(*first["sampler"])
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name]), name
    rows = [MetricsFile(path / "metrics.csv", until=12).rows for path in (whole, parts)]
    clocks = ("seconds", "charts/updates_per_second")
    without = [[{name: value for name, value in row.items() if name not in clocks} for row in each] for each in rows]
    np.testing.assert_equal(*without)
    with pytest.raises(RunError, match=r"was trained by 2 processes, and these are 1; go on with as many"):
        Trainer(config, RunDirectory(whole), None if like_the_paper else collect_dataset(config), CPU)


@pytest.mark.parametrize("online", [False, True])
def test_ranks_have_data_of_their_own_and_p_in_common(online, tiny, tmp_path):
    config = tiny("random")
    config = dataclasses.replace(config, collection=dataclasses.replace(config.collection, initial_transitions=50))

    def look(processes):
        if online:
            buffer = OnlineReplay(config, CPU, processes)
            buffer.collect_until(1)
            data, auxiliary = buffer.dataset(), buffer.auxiliary
        else:
            data, auxiliary = collect_dataset(config, processes), Auxiliary(config)
            auxiliary.restore(data)
        image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))
        return torch.from_numpy(data.observation[:20].copy()), torch.from_numpy(auxiliary(image.numpy(), {}))

    (first, value), (second, other) = on_ranks(tmp_path / "ranks", look)
    assert not torch.equal(first, second)
    torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-3)
    alone = collect_dataset(config) if not online else None
    assert alone is None or np.array_equal(alone.observation[:20], first)


def test_a_loss_that_is_not_finite_on_one_rank_stops_all(plain, tmp_path):
    config = plain()

    def fail(processes):
        run = RunDirectory(tmp_path / "run")
        if processes.is_main:
            RunDirectory.create(run.path, config)
        processes.barrier()
        trainer = Trainer(config, run, collect_dataset(config, processes), CPU, processes)
        sample = trainer.replay.sample

        def spoil():
            batch = sample()
            if processes.rank == 1 and trainer.update == 3:
                batch["auxiliary"] = torch.full_like(batch["auxiliary"], torch.nan)
            return batch

        trainer.replay.sample = spoil
        try:
            trainer.train()
        except Exception as error:
            return type(error).__name__, "is not finite at update 4;" in str(error)

    assert on_ranks(tmp_path / "ranks", fail) == [("TrainingError", True)] * 2
    with np.load(tmp_path / "run" / "offending_batch.npz", allow_pickle=False) as kept:
        assert kept["update"] == 4
        assert kept["observation"].shape == (8, 2, 64, 64, 3)


def test_rank_0_goes_through_a_block_first(tmp_path):
    def look(processes):
        with processes.main_process_first():
            if processes.is_main:
                time.sleep(0.3)
                (tmp_path / "done").touch()
            return (tmp_path / "done").exists()

    assert on_ranks(tmp_path / "ranks", look) == [True, True]


def test_a_batch_that_cannot_be_shared_out_is_refused():
    assert TorchProcesses(1, 4).local_batch_size(8) == 2
    for size in (9, 4):
        with pytest.raises(ConfigError, match=f"batch_size={size}: cannot be divided among 4 processes"):
            TorchProcesses(0, 4).local_batch_size(size)


def test_the_command_joins_the_processes_that_torchrun_starts(tiny, tmp_path, monkeypatch):
    """In the environment that `torchrun` gives to each; `tests/consumers` has it start them."""
    monkeypatch.setattr(presets, "PRESETS", {"laptop": tiny()})
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    common = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run = tmp_path / "run"

    def train(rank):
        os.environ.update(common, RANK=str(rank), LOCAL_RANK=str(rank))
        return main(["--updates", "4", "--device", "cpu", "--run-dir", str(run)])

    first, second = [child.wait() for child in [Fork(functools.partial(train, rank)) for rank in range(2)]]
    assert (first.status, second.status) == (0, 0), first.stderr + second.stderr
    assert "4 updates in " in first.stdout
    assert second.stdout == ""
    assert json.loads((run / "report.json").read_text())["updates"] == 4
    assert len(json.loads((run / "provenance.json").read_text())) == 1
