"""Runs that are stopped, damaged, locked, out of space or left by their logger: nothing that was saved is lost."""

import importlib.metadata
import io
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from pjepa_agent.cli import new_run
from pjepa_agent.cli.train import main as train_command
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.run import train_run
from pjepa_agent.runs import loggers as wandb_logging
from pjepa_agent.runs.checkpoint import load, load_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import ACCURACY
from pjepa_agent.training import Interrupted
from pjepa_agent.training import state as training_state
from support import trainings
from support.faults import KINDS, Undisturbed, at_calls, at_random, same
from support.forks import run_forked


def stopped(path, config, update, device="cpu"):
    """A run that was stopped after an update, of those that are not followed by an evaluation."""
    run = RunDirectory.create(path, config)
    asked = itertools.count(1)  # after every update but those
    last = update - update // config.evaluation.every
    with pytest.raises(Interrupted) as caught:
        train_run(run, config, device, should_stop=lambda: next(asked) == last)
    assert caught.value.update == update
    return run


@pytest.fixture(scope="module")
def stopped_runs(tmp_path_factory):
    return {update: stopped(tmp_path_factory.mktemp("stopped") / "run", trainings.tiny(), update) for update in (7, 11)}


@pytest.fixture
def stopped_tiny(stopped_runs, tmp_path):
    """Copy the run of `tiny` that was stopped after update 7 or 11."""
    return lambda update=7: RunDirectory(shutil.copytree(stopped_runs[update].path, tmp_path / "run"))


def weights(run):
    return load_checkpoint(run.checkpoint)["model"]


def same_weights(first, second):
    return all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


# Killed


@pytest.fixture(scope="module", params=KINDS)
def undisturbed(request, tmp_path_factory):
    return Undisturbed.train(tmp_path_factory.mktemp(request.param), KINDS[request.param])


@pytest.mark.slow
def test_killed_at_random_instants_a_run_ends_like_one_left_alone(undisturbed, request):
    kills = request.config.getoption("--kills")
    assert at_random(undisturbed, kills // 2, seed=0) >= kills // 2


@pytest.mark.slow
def test_killed_around_its_writes_a_run_ends_like_one_left_alone(undisturbed, request):
    assert at_calls(undisturbed, request.config.getoption("--stride")) > 2


@pytest.fixture
def _deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's matrix products need to be
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_deterministic", "rendered_figures")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_stopped_run_leaves_the_very_files_of_one_left_alone(tiny, tmp_path, device):
    whole = RunDirectory.create(tmp_path / "whole", tiny())
    train_run(whole, tiny(), device)
    run = stopped(tmp_path / "run", tiny(), 7, device)
    train_run(run, tiny(), device)
    same(whole.path, run.path)


@pytest.mark.slow
def test_killed_after_any_of_its_saves_a_run_ends_like_one_left_alone(tiny, tmp_path, monkeypatch):
    config = tiny(updates=30)
    accuracy = {
        0: 0.1,
        5: 0.3,
        10: 0.2,
        15: 0.4,
        20: 0.4,
        25: 0.5,
        30: 0.1,
    }  # four are the best so far, a tie among them
    measure = HeldOut.measure

    def known_course(held_out, model):
        return measure(held_out, model) | {ACCURACY: accuracy[int(model.encoder.stem[1].num_batches_tracked)]}

    monkeypatch.setattr(HeldOut, "measure", known_course)
    whole = RunDirectory.create(tmp_path / "whole", config)
    saved = []

    def copied(*arguments):
        """Save, and keep what would be there if the process were killed right after it."""
        save_checkpoint(*arguments)
        saved.append(arguments[0].name)
        shutil.copytree(whole.path, tmp_path / str(len(saved)))

    with monkeypatch.context() as patch:
        patch.setattr(training_state, "save_checkpoint", copied)
        train_run(whole, config, "cpu")
    assert saved.count("last.pt") == 6
    assert saved.count("best.pt") == 4
    for number in range(1, len(saved) + 1):
        run = RunDirectory(tmp_path / str(number))
        assert not run.report.exists()
        train_run(run, config, "cpu")
        same(whole.path, run.path)


# Checkpoints


def test_the_last_states_are_kept(tmp_path):
    paths = RunDirectory(tmp_path).checkpoints(3)
    paths[0].parent.mkdir()
    for update in range(5):
        save_checkpoint(paths[0], {"update": update}, paths[1:])
        kept = [load_checkpoint(path)["update"] for path in paths if path.exists()]
        assert kept == list(range(update, max(update - 3, -1), -1))
    assert {path.name for path in paths[0].parent.iterdir()} == {"last.pt", "last-1.pt", "last-2.pt"}


def test_a_checkpoint_is_one_that_pytorch_reads_and_holds_nothing_to_execute(tmp_path):
    state = {"update": 3, "model": {"weight": torch.arange(4.0)}, "nested": [{"a": 1}, None, "text", 0.5]}
    save_checkpoint(tmp_path / "a.pt", state)
    read = torch.load(tmp_path / "a.pt", weights_only=True)
    assert read.keys() == state.keys() | {"schema"}
    assert torch.equal(read["model"]["weight"], state["model"]["weight"])


def test_flipped_bits_and_cuts_anywhere_are_noticed(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"update": 3, "model": {"weight": torch.randn(4)}})
    content = path.read_bytes()
    whole, bits = int.from_bytes(content, "little"), 8 * len(content)
    flipped = {
        *range(0, bits, 7),
        *range(bits - 8 * 80, bits),
    }  # sparse, and all of the digest
    flips = [(whole ^ 1 << bit).to_bytes(len(content), "little") for bit in sorted(flipped)]
    for damaged in [*flips, *(content[:size] for size in range(0, len(content), 3))]:
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"a\.pt: is no checkpoint, or a damaged one"):
            load_checkpoint(path)


def test_a_checkpoint_of_schema_1_with_a_flipped_bit_is_refused_or_holds_the_same(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"schema": 1, "update": 3, "weight": torch.arange(4.0)}, path)
    content = path.read_bytes()
    known = load_checkpoint(path)
    refused = 0
    for bit in range(0, 8 * len(content), 7):  # each of the eight of a byte in turn
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            state = load_checkpoint(path)
        except RunError:
            refused += 1
            continue
        assert state.keys() == known.keys()
        assert all(torch.equal(torch.as_tensor(state[name]), torch.as_tensor(known[name])) for name in known)
    assert refused > 0.3 * 8 * len(content) / 7


def test_an_entry_that_pytorch_would_skip_is_refused(tmp_path):
    """One flipped bit makes a tensor a directory: its CRC-32 still fits, and PyTorch returns uninitialized memory."""
    path = tmp_path / "a.pt"
    torch.save({"schema": 1, "weight": torch.arange(4.0)}, path)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"data/0") - len(next(iter(zipfile.ZipFile(path).namelist())).split("/")[0]) - 1 - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 38] ^= 0x10
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with pytest.raises(RunError, match=r"a\.pt: is no checkpoint, or a damaged one"):
        load_checkpoint(path)


def test_a_checkpoint_without_a_digest_is_of_schema_1(tmp_path):
    torch.save({"schema": 1, "update": 3}, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt")["update"] == 3
    torch.save({"schema": 2, "update": 3}, tmp_path / "new.pt")
    with pytest.raises(RunError, match="its digest is missing"):
        load_checkpoint(tmp_path / "new.pt")
    torch.save({"schema": 3, "update": 3}, tmp_path / "later.pt")
    with pytest.raises(RunError, match="has checkpoint schema 3, this version reads 2"):
        load_checkpoint(tmp_path / "later.pt")


def test_an_archive_that_would_grow_is_refused(tmp_path):
    plain = io.BytesIO()
    torch.save({"schema": 1, "zeros": torch.zeros(10**6)}, plain)
    with zipfile.ZipFile(plain) as stored, zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in stored.namelist():
            bomb.writestr(name, stored.read(name))
    assert (tmp_path / "a.pt").stat().st_size < 0.01 * len(plain.getvalue())
    with pytest.raises(RunError, match="is no checkpoint, or a damaged one"):
        load_checkpoint(tmp_path / "a.pt")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tiny, left_alone, stopped_tiny, caplog, damage):
    run = stopped_tiny(11)
    assert [load_checkpoint(path)["update"] for path in run.checkpoints(2)] == [11, 10]
    damage(run.checkpoint)
    caplog.clear()
    train_run(run, tiny(), "cpu")
    assert same_weights(left_alone, run)
    said = [message for message in caplog.messages if "last.pt.damaged" in message]
    if damage is Path.unlink:
        assert said == []
    else:
        assert len(said) == 1
        assert "last.pt: is no checkpoint, or a damaged one" in said[0]
        assert said[0].endswith("it is now last.pt.damaged, and last-1.pt is used")
        assert (run.path / "checkpoints" / "last.pt.damaged").is_file()


def test_where_all_checkpoints_are_damaged_nothing_is_begun_anew(tiny, stopped_tiny):
    run = stopped_tiny(11)
    for path in run.checkpoints(2):
        flip(path)
    with pytest.raises(RunError, match=r"last\.pt: is no checkpoint, or a damaged one"):
        train_run(run, tiny(), "cpu")
    assert {path.name for path in run.checkpoint.parent.iterdir()} == {"last.pt", "last-1.pt", "best.pt"}


# What is around them


def test_a_dataset_that_vanished_is_collected_again(tiny, left_alone, stopped_tiny):
    run = stopped_tiny()
    run.transitions.unlink()
    train_run(run, tiny(), "cpu")
    assert same_weights(left_alone, run)
    assert (run.transitions.read_bytes()) == left_alone.transitions.read_bytes()


def test_two_processes_cannot_train_one_run(tiny, stopped_tiny):
    run = stopped_tiny()
    holder = f"""
from pjepa_agent.runs.directory import RunDirectory
with RunDirectory({str(run.path)!r}).exclusive():
    print("mine", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "mine\n"
        before = run.checkpoint.stat().st_mtime_ns
        with pytest.raises(RunError, match="run: another process is training this run; wait until it ends"):
            train_run(run, tiny(), "cpu")
        assert run.checkpoint.stat().st_mtime_ns == before
    finally:
        process.kill()
        process.wait()
    train_run(run, tiny(), "cpu")  # a lock does not outlive its process
    assert run.report.is_file()


def test_a_directory_is_made_once(tiny, tmp_path, monkeypatch):
    RunDirectory.create(tmp_path / "run", tiny())
    # The other process saw an empty directory too, just before.
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(()))
    with pytest.raises(RunError, match="is already used"):
        RunDirectory.create(tmp_path / "run", tiny(updates=3))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["optimization"]["updates"] == 12


@pytest.mark.parametrize("name", ["checkpoints", "figures"])
def test_a_link_out_of_the_directory_is_refused(stopped_tiny, tmp_path, name):
    run = stopped_tiny()
    (run.path / name).rename(tmp_path / "elsewhere")
    (run.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=f"{name}: leads out of the run directory"):
        RunDirectory.open(run.path)


@pytest.mark.parametrize("name", ["checkpoints", "figures", ".lock"])
def test_a_link_to_itself_is_refused(stopped_tiny, name):
    run = stopped_tiny()
    place = run.path / name
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(place)
    with pytest.raises(RunError, match=f"{name}: leads out of the run directory"):
        RunDirectory.open(run.path)


def test_a_full_disk_loses_nothing(tiny, left_alone, stopped_tiny):
    run = stopped_tiny()
    kept = {path: path.read_bytes() for path in run.checkpoints(2)}
    limit = run.checkpoint.stat().st_size // 2

    def resume():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # no file can become larger
        return train_command(["--resume", str(run.path), "--device", "cpu"])

    done = run_forked(resume)
    assert done.status == 2
    assert re.fullmatch(r"pjepa-train: error: .*\.pt: File too large", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
    assert kept == {path: path.read_bytes() for path in run.checkpoints(2)}
    load(run.path, at="best")
    train_run(run, tiny(), "cpu")
    assert same_weights(left_alone, run)


def test_a_disk_that_fills_up_loses_nothing(tiny, left_alone, stopped_tiny, tmp_path):
    """The same with a file system of its own, with too little room for one more checkpoint."""
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    disk, left = tmp_path / "disk", tmp_path / "left"
    disk.mkdir()
    if shutil.which("unshare") is None or subprocess.run([*alone, f"mount -t tmpfs tmpfs {disk}"]).returncode:
        pytest.skip("runs where user namespaces let anybody mount a small disk")
    run = stopped_tiny()
    kept = {path: path.read_bytes() for path in run.checkpoints(2)}
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in run.path.rglob("*") if path.is_file())
    room = used + run.checkpoint.stat().st_size // 2048
    train = "import sys; from pjepa_agent.cli.train import main; sys.exit(main())"
    script = f"""
mount -t tmpfs -o size={room}k tmpfs {disk}
cp -r {run.path} {disk}/run
status=0
{sys.executable} -c '{train}' --resume {disk}/run --device cpu || status=$?
cp -r {disk}/run {left}
exit $status
"""
    done = subprocess.run([*alone, script], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"pjepa-train: error: .*\.pt: No space left on device", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
    for path, content in kept.items():
        assert (left / path.relative_to(run.path)).read_bytes() == content
    train_run(RunDirectory(left), tiny(), "cpu")
    same(left_alone.path, left)


def test_a_second_that_the_clock_shows_twice_makes_two_names(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-000000")
    names = []
    for _ in range(3):
        names.append(new_run._new_name(tiny()))
        names[-1].mkdir(parents=True)
    assert [name.name for name in names] == [
        "laptop-reward-seed0-20260101-000000", "laptop-reward-seed0-20260101-000000-2",
        "laptop-reward-seed0-20260101-000000-3",
    ]  # fmt: skip


def test_a_clock_that_jumps_changes_nothing(tiny, left_alone, tmp_path, monkeypatch):
    times = itertools.cycle([0.0, 4e9, -1e9])
    monkeypatch.setattr(time, "time", lambda: next(times))
    run = stopped(tmp_path / "run", tiny(), 7)
    train_run(run, tiny(), "cpu")
    assert same_weights(left_alone, run)
    assert 0 < json.loads(run.report.read_text())["seconds"] < 1000


def test_every_start_is_recorded(tiny, stopped_tiny):
    run = stopped_tiny()
    train_run(run, tiny(), "cpu")
    starts = json.loads(run.provenance.read_text())
    assert len(starts) == 2
    for start in starts:
        assert start["versions"]["torch"] == importlib.metadata.version("torch")
        assert start["hardware"]["cores"] == os.cpu_count()
        assert start["seed"] == 0
        assert start["command"]


# Weights & Biases


def children_of(parent):
    stats = {path: path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")}
    return [int(path.parent.name) for path, fields in stats.items() if int(fields[1]) == parent]


def test_training_goes_on_without_a_service_that_dies(tiny, tmp_path, monkeypatch, caplog):
    log = wandb_logging.WandbLogger.log

    def die(self, row):
        if row["update"] == 5:
            service = [pid for pid in children_of(os.getpid()) if "wandb" in Path(f"/proc/{pid}/comm").read_text()]
            assert service
            for pid in service:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.5)
        log(self, row)

    monkeypatch.setattr(wandb_logging.WandbLogger, "log", die)
    run = RunDirectory.create(tmp_path / "run", tiny())
    report = train_run(run, tiny(), "cpu", wandb="offline")
    assert report["updates"] == 12
    said = [message for message in caplog.messages if message.startswith("wandb: ")]
    assert len(said) == 1
    assert said[0].endswith(f"training goes on without it, and all metrics are in {run.metrics}")


def test_training_begins_without_a_service_that_cannot_be_reached(tiny, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_logging, "INIT_TIMEOUT", 1.0)
    run = RunDirectory.create(tmp_path / "run", tiny())
    assert train_run(run, tiny(), "cpu", wandb="online")["updates"] == 12
    assert sum(message.startswith("wandb: ") for message in caplog.messages) == 1


def test_what_is_loaded_is_checked(tiny, tmp_path):
    run = RunDirectory.create(tmp_path / "run", tiny())
    train_run(run, tiny(), "cpu")
    for path, at in ((run.checkpoint, "last"), (run.best, "best")):
        load(run.path, at=at)
        flip(path)
        with pytest.raises(RunError, match=f"{path.name}: is no checkpoint, or a damaged one"):
            load(run.path, at=at)
