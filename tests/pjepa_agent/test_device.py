"""Names of devices: checked, and found or refused in one line."""

import pytest
import torch
from pjepa_agent.run import choose_device, train_run
from pjepa_agent.runs.directory import RunDirectory, RunError


@pytest.fixture
def two_gpus(monkeypatch):
    """PyTorch as it answers where there are two GPUs, of which the first is current; the numbers that were chosen."""
    chosen = [0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: chosen[-1])
    return chosen


def test_a_gpu_of_a_number_becomes_the_current_one(two_gpus):
    for name, number in (("cuda", 0), ("auto", 0), ("cuda:1", 1), ("cuda", 1), ("cuda:0", 0)):
        assert choose_device(name) == torch.device("cuda", number)
        assert two_gpus[-1] == number
    assert choose_device(torch.device("cuda:1")) == torch.device("cuda:1")
    for name in ("cpu", torch.device("cpu")):
        assert choose_device(name) == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_refused(two_gpus, monkeypatch):
    with pytest.raises(RunError, match=r"^--device cuda:2: PyTorch finds cuda:0 to cuda:1 here$"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RunError, match=r"^--device cuda:1: PyTorch finds cuda:0 here$"):
        choose_device(torch.device("cuda:1"))
    assert two_gpus == [0]


def test_processes_do_not_share_a_gpu(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(RunError, match=r"^--device cuda:1: several processes train, each on a GPU of its own"):
        choose_device("cuda:1")
    for own in ("cuda", torch.device("cuda:0")):
        assert choose_device(own) == torch.device("cuda:0")


def test_the_configuration_names_the_device_unless_the_caller_does(tiny, tmp_path):
    here = torch.cuda.device_count()
    config = tiny(updates=1).override([f"compute.device=cuda:{here}"])  # one more than there are
    run = RunDirectory.create(tmp_path / "run", config)
    with pytest.raises(RunError, match=f"--device cuda:{here}: PyTorch finds "):
        train_run(run, config)
    assert not run.metrics.exists()
    assert train_run(run, config, "cpu")["device"] == "cpu"


@pytest.mark.gpu
def test_a_run_trains_on_the_gpu_of_its_number(tiny, tmp_path):
    config = tiny().override(["compute.device=cuda:0"])
    assert train_run(RunDirectory.create(tmp_path / "run", config), config)["device"] == "cuda:0"
