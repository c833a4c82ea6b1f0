"""Weights & Biases: a run that is resumed is one run there too."""

import types

import pytest
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.loggers import WandbLogger
from pjepa_agent.training import Interrupted

wandb = pytest.importorskip("wandb")


@pytest.fixture
def begun(monkeypatch):
    """The arguments of every run of wandb that is begun, which does nothing."""
    calls = []

    def init(**arguments):
        calls.append(arguments)
        return types.SimpleNamespace(log=lambda row, step: None, finish=lambda exit_code: None)

    monkeypatch.setattr(wandb, "init", init)
    return calls


def test_a_resumed_run_goes_on_in_its_own(tiny, tmp_path, begun):
    for name, mode in (("a", "offline"), ("b", "online")):
        run = RunDirectory.create(tmp_path / name, tiny())
        with pytest.raises(Interrupted):
            train_run(run, tiny(), "cpu", wandb=mode, should_stop=lambda: True)
        train_run(run, tiny(), "cpu", wandb=mode)
    first, again, other, other_again = (each["id"] for each in begun)
    assert first == again != other == other_again
    assert first == RunDirectory(tmp_path / "a").wandb_id.read_text().strip()
    assert [each["resume"] for each in begun] == [None, None, "allow", "allow"]


def test_the_files_of_a_run_that_is_offline_have_one_id(tiny, tmp_path):
    run = RunDirectory.create(tmp_path / "run", tiny())
    for row in ({"update": 0, "eval/spread": 1.0}, {"update": 5, "eval/spread": 2.0}):
        with WandbLogger(run, tiny(), "offline") as logger:
            logger.log(row)
    stored = [path.name.rpartition("-")[2] for path in (run.path / "wandb").glob("offline-run-*")]
    assert set(stored) == {run.wandb_id.read_text().strip()}


def test_no_id_is_kept_of_a_run_that_did_not_begin(tiny, tmp_path, monkeypatch):
    def refuse(**arguments):
        raise wandb.errors.UsageError("no account\nlog in")

    monkeypatch.setattr(wandb, "init", refuse)
    run = RunDirectory.create(tmp_path / "run", tiny())
    with pytest.raises(RunError, match="--wandb online: no account; use"):
        WandbLogger(run, tiny(), "online")
    assert not run.wandb_id.exists()


@pytest.mark.parametrize("content", [b"", b"../../other", b"a b", b"\xff\xfe", b"x" * 65, None])
def test_an_id_that_is_none_is_refused_in_one_line(tiny, tmp_path, begun, content):
    run = RunDirectory.create(tmp_path / "run", tiny())
    if content is None:
        run.wandb_id.mkdir()
    else:
        run.wandb_id.write_bytes(content)
    with pytest.raises(RunError, match=r"wandb_id.txt: holds no id of a wandb run; remove it"):
        WandbLogger(run, tiny(), "offline")
    assert not begun
