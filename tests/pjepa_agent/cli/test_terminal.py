"""What the commands show on a terminal."""

import contextlib
import gc
import io
import sys

import pytest
from pjepa_agent.cli.terminal import LOADING, heavy_imports


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def last_line(text):
    """What a terminal shows of a line after all its carriage returns."""
    shown = []
    for part in text.split("\r"):
        shown[: len(part)] = part
    return "".join(shown).strip()


@pytest.mark.parametrize("terminal", [True, False])
def test_that_pytorch_is_imported_is_shown_on_a_terminal_and_for_no_longer(monkeypatch, terminal):
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with contextlib.suppress(ImportError), heavy_imports():
        assert stream.getvalue() == LOADING * terminal
        assert not gc.isenabled()
        raise ImportError
    assert last_line(stream.getvalue()) == ""
    assert gc.isenabled()
