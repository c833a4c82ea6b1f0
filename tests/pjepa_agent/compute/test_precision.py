"""bfloat16 only where a device has it, and what it may change of a training.

All other tests of trainings compute in float32. These compute in bfloat16 on every processor: one that lacks it
emulates it.
"""

import types

import pytest
import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.compute import precision
from pjepa_agent.compute.precision import autocast, has_bfloat16
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer
from support.faults import same

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _asked_anew():
    has_bfloat16.cache_clear()
    yield
    has_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False, "architecture": "x86_64"}, False),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False, "architecture": "x86_64"}, True),
        ({"neon": True, "bf16": True, "sve_max_length": 256, "architecture": "arm64"}, True),
        ({}, False),
    ],
)
def test_a_processor_computes_in_bfloat16_where_it_has_it(monkeypatch, capabilities, has):
    monkeypatch.setattr(precision, "has_bfloat16", has_bfloat16)  # whatever the test command forces
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: types.MappingProxyType(capabilities), raising=False)
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    with autocast("cpu", True):
        assert (a @ b).dtype == (torch.bfloat16 if has else torch.float32)
    with autocast("cpu", False):
        assert (a @ b).dtype == torch.float32


@pytest.fixture
def _bfloat16(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device_type: True)


def losses_of(config, path, updates=6):
    trainer = Trainer(config, RunDirectory.create(path, config), collect_dataset(config), CPU)
    rows = []
    for _ in range(updates):
        rows.append({name: float(loss) for name, loss in trainer.step().items()})
    return rows


@pytest.mark.usefixtures("_bfloat16")
def test_losses_in_bfloat16_are_those_of_float32_to_its_three_digits(tiny, tmp_path):
    exact, rounded = (losses_of(tiny(autocast=wanted), tmp_path / str(wanted)) for wanted in (False, True))
    assert exact != rounded
    assert rounded[0] == pytest.approx(exact[0], rel=2e-2)
    for row, other in zip(exact, rounded, strict=True):  # the digits of one update are the weights of the next
        assert other == pytest.approx(row, rel=0.1, abs=1e-2)


@pytest.mark.usefixtures("_bfloat16")
def test_a_run_in_bfloat16_that_was_stopped_ends_like_one_left_alone(tiny, tmp_path):
    config = tiny(autocast=True)
    whole, parts = (RunDirectory.create(tmp_path / name, config) for name in ("whole", "parts"))
    train_run(whole, config, CPU)
    with pytest.raises(Interrupted):
        train_run(parts, config, CPU, should_stop=lambda: True)
    train_run(parts, config, CPU)
    same(whole.path, parts.path)
