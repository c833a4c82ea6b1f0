"""Warnings of libraries reach who runs a command as plain lines, once each, or not at all."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from bisim_theory.console import FOR_DEVELOPERS, plain_warnings
from support.commands import run_command

NOTES = "note: values are rounded\nnote: overflow encountered in multiply\nnote: UserWarning\n"


def warn():
    """Warn as libraries do: of their code, in colour, on several lines, again and again, and with filters changed."""
    warnings.simplefilter("always")
    for _ in range(3):
        for category in FOR_DEVELOPERS:
            warnings.warn("of the code", category, stacklevel=1)
        warnings.warn("\x1b[33mvalues are\n  rounded\x1b[0m", UserWarning, stacklevel=2)
        np.full(2, 1e308) * 10
        warnings.warn("", UserWarning, stacklevel=1)


def bisim_check(folder, monkeypatch):
    from bisim_theory import cli

    def check(options):
        warn()
        raise OSError("no data")

    monkeypatch.setattr(cli, "_check", check)
    return cli.main, [folder]


def pjepa_train(folder, monkeypatch):
    from pjepa_agent.cli import train

    (folder / "loud_function.py").write_text(
        "from test_warnings_of_this import warn\nwarn()\n"
        "def p(images, labels):\n    warn()\n    raise OSError('no data')\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "test_warnings_of_this", sys.modules[__name__])
    return train.main, ["--auxiliary", "loud_function:p", "--run-dir", "new", "--device", "cpu"]


def opening(name):
    def command(folder, monkeypatch):
        import importlib

        from pjepa_agent.runs.directory import RunDirectory

        def open_(path):
            warn()
            raise OSError("no data")

        monkeypatch.setattr(RunDirectory, "open", open_)
        return importlib.import_module(f"pjepa_agent.cli.{name}").main, [folder, "--out", folder / "out.png"]

    return command


COMMANDS = {
    "bisim-check": bisim_check,
    "pjepa-train": pjepa_train,
    "pjepa-figure": opening("figure"),
    "pjepa-curves": opening("curves"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_warnings_are_plain_lines_said_once(name, tmp_path, capsys, monkeypatch):
    main, arguments = COMMANDS[name](tmp_path, monkeypatch)
    before = warnings.showwarning, warnings.filters[:]
    status, out, err = run_command(main, capsys, *arguments)
    assert (status, out) == (2, "")
    *notes, error = err.splitlines(keepends=True)
    assert "".join(notes) == NOTES
    assert error.startswith(f"{name}: error: ")
    assert "no data" in error
    assert (warnings.showwarning, warnings.filters) == before


def test_who_asks_for_warnings_gets_those_for_developers_too():
    code = "import warnings; from bisim_theory.console import plain_warnings\nwith plain_warnings():\n"
    code += "    for _ in range(2): warnings.warn('old', DeprecationWarning); warnings.warn('new')"
    for options, expected in (([], "note: new\n"), (["-W", "always"], "note: old\nnote: new\n")):
        done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("", expected)


def test_the_compilers_advice_on_precision_is_for_developers(capsys):
    from pjepa_agent.runs.interruption import quiet_libraries

    with plain_warnings():
        quiet_libraries()
        warnings.warn("TensorFloat32 tensor cores for float32 matrix multiplication available", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert capsys.readouterr().err == "note: something else\n"


def test_a_warning_costs_no_command_its_result(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

    for stream in (None, Closed()):
        monkeypatch.setattr(sys, "stderr", stream)
        with plain_warnings():
            warn()
