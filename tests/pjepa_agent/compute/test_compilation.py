"""Modules that cannot be compiled are called as they are, which is said once."""

import pytest
import torch
from pjepa_agent.compute.compilation import Compiler
from support.trainings import losses_of, with_all_parts
from torch import nn

COMPILE = nn.Module.compile


def no_compiler(graph, inputs):
    raise RuntimeError("No working C++ compiler found.\nMore lines follow.")


def said(caplog):
    """What the package has logged."""
    return [record.getMessage() for record in caplog.records if record.name == "pjepa_agent"]


@pytest.fixture
def without_compiler(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: COMPILE(module, backend=no_compiler))


def test_a_training_goes_on_without_a_compiler_with_one_line(tmp_path, caplog, without_compiler):
    config = with_all_parts()
    _, expected = losses_of(config, tmp_path / "eager", 3)
    trainer, found = losses_of(config.override(["compute.compile=on"]), tmp_path / "not compiled", 3)
    assert trainer.compiled
    assert found == expected
    assert said(caplog) == [
        "compute.compile: the losses cannot be compiled here (No working C++ compiler found); training goes on "
        "without, which is slower"
    ]


def test_a_system_that_is_not_compiled_for_is_no_error(caplog, monkeypatch):
    def refuse(module, **options):
        raise RuntimeError("torch.compile is not supported here")

    monkeypatch.setattr(nn.Module, "compile", refuse)
    layer = nn.Linear(2, 2)
    assert Compiler().compile(layer) is layer
    assert len(said(caplog)) == 1
    assert "(torch.compile is not supported here)" in caplog.text


class Doubled(nn.Module):
    """Fails at a size of 3, as a function would that has nothing to do with a compiler."""

    def forward(self, value):
        if value.shape[0] == 3:
            raise KeyError("three")
        return 2 * value


def test_what_was_compiled_stays_so_and_errors_of_its_own_are_raised(monkeypatch, caplog):
    torch._dynamo.reset()
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: COMPILE(module, backend=backend))
    compiler = Compiler()
    first = compiler.compile(Doubled())
    assert first(torch.ones(2)).tolist() == [2, 2]
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: COMPILE(module, backend=no_compiler))
    second = compiler.compile(Doubled())
    assert second(torch.ones(2, 2)).tolist() == [[2, 2], [2, 2]]
    assert len(said(caplog)) == 1
    assert first(torch.ones(2)).tolist() == [2, 2]
    assert len(seen) == 1
    for module in (first, second):
        with pytest.raises(KeyError, match="three"):
            module(torch.ones(3))
