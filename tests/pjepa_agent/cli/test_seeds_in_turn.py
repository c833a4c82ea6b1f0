"""Several seeds that train in one process, an update of each in turn. On a CPU, what a GPU does on streams."""

import dataclasses
import functools
import itertools
import json
import signal

import pytest
import torch
from pjepa_agent.cli import seeds, seeds_in_turn
from pjepa_agent.cli.seed_jobs import Ended, Job
from pjepa_agent.cli.seeds_in_turn import graph_device, train_in_turn
from pjepa_agent.cli.train import main
from pjepa_agent.config import presets
from pjepa_agent.config.schema import ComputeConfig
from pjepa_agent.run import train_run
from pjepa_agent.runs.checkpoint import load_checkpoint
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.seeds import FINISHED
from pjepa_agent.training.trainer import Trainer
from support import faults
from support.commands import run_command
from support.trainings import with_all_parts

run = functools.partial(run_command, main)


@pytest.fixture
def in_turn(monkeypatch, tmp_path, tiny):
    """Let the command train a tiny preset in turn, on a CPU."""
    monkeypatch.setattr(presets, "PRESETS", {"laptop": tiny(updates=20).override(["evaluation.every=10"])})
    monkeypatch.setattr(seeds, "graph_device", lambda name, config: "cpu")
    monkeypatch.chdir(tmp_path)


def jobs(folder, config, numbers=(5, 6)):
    return [
        Job(seed, [], str(folder / f"seed-{seed}"), dataclasses.replace(config, seed=seed, preset="laptop"))
        for seed in numbers
    ]


def resumed(folder, numbers=(5, 6)):
    return [Job(seed, [], str(folder / f"seed-{seed}")) for seed in numbers]


def train(works, device="cpu", should_stop=lambda: False, most=8):
    said = []
    ended = list(train_in_turn(works, device, should_stop, lambda *each: said.append(each), most))
    return ended, said


CASES = {"collected before": lambda tiny: tiny(), "collected while training": lambda _: with_all_parts()}


@pytest.mark.parametrize("case", CASES)
def test_each_seed_leaves_the_files_that_it_leaves_alone(case, tiny, tmp_path, caplog):
    caplog.set_level("INFO", "pjepa_agent")
    config = CASES[case](tiny).override(["optimization.updates=16", "evaluation.every=4"])
    (job,) = jobs(tmp_path / "alone", config, [5])
    train_run(RunDirectory.create(job.path, job.config), job.config, "cpu")
    ended, said = train(jobs(tmp_path / "together", config))
    assert [(each.seed, each.status) for each in ended] == [(5, 0), (6, 0)]
    measured = [seed for seed, line in said if line.startswith("update ")]
    assert len(set(itertools.pairwise(measured))) > 2, measured  # neither waits for the other's end
    # The first, whose updates the other's beginning comes between.
    faults.same(tmp_path / "alone" / "seed-5", tmp_path / "together" / "seed-5")


def test_seeds_that_are_stopped_go_on_to_the_same_end(tiny, tmp_path):
    config = tiny(updates=24).override(["evaluation.every=3"])
    (job,) = jobs(tmp_path / "alone", config, [5])
    train_run(RunDirectory.create(job.path, job.config), job.config, "cpu")
    second = tmp_path / "stopped" / "seed-6" / "checkpoints" / "last.pt"
    ended, _ = train(jobs(tmp_path / "stopped", config), should_stop=second.exists)
    assert {each.status for each in ended} == {128 + signal.SIGTERM}
    assert all(each.said.startswith("interrupted and saved after ") and not each.failed for each in ended)
    train(resumed(tmp_path / "stopped"))
    faults.same(tmp_path / "alone" / "seed-5", tmp_path / "stopped" / "seed-5")


def test_the_command_trains_in_turn_as_in_processes(in_turn, tmp_path, capsys, caplog):
    status, out, err = run(capsys, "--seeds", "0-2", "--run-dir", "three")
    assert status == 0, err
    assert out.splitlines()[-1].startswith("3 of 3 seeds finished: accuracy ")
    assert caplog.messages[0] == "to train, in turn: seed 0, 1, 2"
    assert {line.partition(":")[0] for line in caplog.messages[1:]} == {"seed 0", "seed 1", "seed 2"}
    assert sum(": update 20/20: " in line for line in caplog.messages) == 3
    written = json.loads((tmp_path / "three" / "seeds.json").read_text())
    assert [each["status"] for each in written["seeds"]] == [FINISHED] * 3
    commands = [json.loads((tmp_path / "three" / f"seed-{seed}" / "provenance.json").read_text()) for seed in range(3)]
    assert [each[0]["command"] for each in commands] == [
        f"pjepa-train --seed {seed} --run-dir three/seed-{seed}" for seed in range(3)
    ]


def test_a_seed_that_fails_loses_no_other_and_is_resumed(in_turn, tmp_path, capsys, monkeypatch):
    sample = Trainer.step

    def spoilt(trainer):
        if trainer.config.seed == 1 and trainer.update == 7:
            next(trainer.model.head.parameters()).data.fill_(torch.nan)
        if trainer.config.seed == 2 and trainer.update == 9:
            raise ZeroDivisionError("a fault of ours")
        return sample(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", spoilt)
        status, out, err = run(capsys, "--seeds", "0-2", "--run-dir", "three")
    assert status == 2
    assert "seed 1: failed: the joint objective: loss nan or its gradient is not finite at update 8" in out
    assert "seed 2: failed: ZeroDivisionError: a fault of ours\n" in out
    assert out.splitlines()[-1].startswith("1 of 3 seeds finished")
    assert err.splitlines()[-1] == (
        "pjepa-train: error: not finished: seed 1, 2; go on with: pjepa-train --resume three"
    )
    assert run(capsys, "--resume", "three")[1].splitlines()[-1].startswith("3 of 3 seeds finished")


def test_a_fault_is_logged_with_where_it_happened(tmp_path, tiny, monkeypatch):
    def raises(trainer):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(Trainer, "step", raises)
    (ended,), said = train(jobs(tmp_path, tiny(), [3]))
    assert (ended.status, ended.failed) == (1, True)
    assert any(seed == 3 and 'raise ZeroDivisionError("a fault of ours")' in line for seed, line in said)


def test_code_that_prints_is_logged_and_code_that_exits_has_failed(in_turn, capsys, caplog, monkeypatch):
    step = Trainer.step

    def speaks(trainer):
        if trainer.update == 4:
            print("seen", trainer.config.seed)
        if trainer.config.seed == 1 and trainer.update == 8:
            raise SystemExit(0)
        return step(trainer)

    monkeypatch.setattr(Trainer, "step", speaks)
    status, out, _ = run(capsys, "--seeds", "0-1", "--run-dir", "two")
    assert status == 2
    assert {"seed 0: seen 0", "seed 1: seen 1"} <= set(caplog.messages)
    assert "seen" not in out
    assert "seed 1: failed: ended before it was finished: SystemExit: 0\n" in out
    assert "1 of 2 seeds finished" in out


@pytest.mark.parametrize("device", ["cpu", "cuda:99"])
def test_what_no_seed_can_begin_with_is_one_line(in_turn, tmp_path, capsys, caplog, monkeypatch, device):
    monkeypatch.setattr(seeds, "graph_device", lambda name, config: device)
    status, out, err = run(capsys, "--seeds", "0-1", "--auxiliary", "size", "--run-dir", "new")
    assert (status, out) == (2, "")
    assert err.startswith("pjepa-train: error: ")
    assert ("--device cuda:99" in err) == (device != "cpu")
    assert err.count("\n") == 1
    assert caplog.messages == []
    assert not (tmp_path / "new").exists()


def test_lines_that_no_seed_logs_are_left_as_they_are(in_turn, tmp_path, tiny, caplog):
    caplog.set_level("INFO", "pjepa_agent")
    said = []
    running = train_in_turn(jobs(tmp_path, tiny(), [3]), "cpu", lambda: False, lambda *each: said.append(each))
    seeds_in_turn.logger.info("before")
    next(running)
    seeds_in_turn.logger.info("between")
    running.close()
    assert caplog.messages == ["before", "between"]
    assert {seed for seed, _ in said} == {3}
    assert seeds_in_turn.logger.filters == []


def test_seeds_train_in_turn_where_an_update_is_a_graph_of_a_gpu(monkeypatch):
    graphs, without = ComputeConfig(), ComputeConfig(graph="off")
    for found in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        assert graph_device(None, graphs) == ("auto" if found else None)
        assert graph_device("cuda:1", graphs) == ("cuda:1" if found else None)
        assert graph_device("cuda", without) is None
        assert graph_device("cpu", graphs) is None
        assert graph_device(None, dataclasses.replace(graphs, device="cpu")) is None
        assert graph_device(None, dataclasses.replace(graphs, fast_paths=False)) is None


def test_runs_of_weights_and_biases_have_a_process_each(in_turn, monkeypatch, capsys):
    monkeypatch.setattr(seeds, "COMMAND", ("false",))
    command = ("--seeds", "0-1", "--wandb", "offline", "--run-dir", "two")
    assert run(capsys, *command)[::2] == (2, "pjepa-train: error: ended with status 1\n")


def test_a_single_seed_has_a_process(in_turn, monkeypatch, capsys):
    monkeypatch.setattr(seeds, "COMMAND", ("false",))
    assert "ended with status 1" in run(capsys, "--seeds", "3", "--run-dir", "one")[2]


def test_where_nobody_waits_for_the_others_each_saves_as_a_process_does(tiny, tmp_path):
    config = tiny(updates=40).override(["evaluation.every=35"])
    running = train_in_turn(jobs(tmp_path, config, [3, 4, 5]), "cpu", lambda: False, lambda *_: None, most=2)
    assert next(running).seed == 3
    running.close()
    assert not (tmp_path / "seed-5").exists()
    saved = load_checkpoint(tmp_path / "seed-4" / "checkpoints" / "last.pt")["update"]
    assert 25 < saved < 35


def test_a_seed_that_has_no_memory_beside_another_is_begun_again_after_it(tiny, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "pjepa_agent")
    config = tiny(updates=16).override(["evaluation.every=8"])
    step, failed = Trainer.step, []

    def scarce(trainer):
        if trainer.config.seed == 4 and trainer.update == 2 and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(trainer)

    monkeypatch.setattr(Trainer, "step", scarce)
    ended, _ = train(jobs(tmp_path / "together", config, [3, 4]))
    assert failed
    assert [(each.seed, each.status) for each in ended] == [(3, 0), (4, 0)]
    (job,) = jobs(tmp_path / "alone", config, [4])
    train_run(RunDirectory.create(job.path, job.config), job.config, "cpu")
    faults.same(tmp_path / "alone" / "seed-4", tmp_path / "together" / "seed-4")


def test_a_seed_that_has_no_memory_alone_fails_with_one_line(tiny, tmp_path, monkeypatch):
    def scarce(trainer):
        raise torch.OutOfMemoryError("CUDA out of memory.\n Tried to allocate 3 GiB")

    monkeypatch.setattr(Trainer, "step", scarce)
    (ended,), said = train(jobs(tmp_path, tiny(), [3]))
    assert ended == Ended(3, 2, "CUDA out of memory. Tried to allocate 3 GiB")
    assert not any("Traceback" in line for _, line in said)


@pytest.mark.gpu
def test_on_a_gpu_each_seed_leaves_the_files_that_it_leaves_alone(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        config = tiny().override(["optimization.updates=60", "evaluation.every=20"])
        for job in jobs(tmp_path / "alone", config):
            train_run(RunDirectory.create(job.path, job.config), job.config, "cuda")
        ended, _ = train(jobs(tmp_path / "together", config), "cuda")
        assert [each.status for each in ended] == [0, 0], ended
        for seed in (5, 6):
            faults.same(tmp_path / "alone" / f"seed-{seed}", tmp_path / "together" / f"seed-{seed}")
    finally:
        torch.use_deterministic_algorithms(False)
