"""The help of every command that is installed."""

import importlib
import tomllib
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent.parent / "packages"
COMMANDS = {
    name: target
    for path in sorted(PACKAGES.glob("*/pyproject.toml"))
    for name, target in tomllib.loads(path.read_text())["project"].get("scripts", {}).items()
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_fits_eighty_columns_without_colours(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    module, _, function = COMMANDS[name].partition(":")
    with pytest.raises(SystemExit) as end:
        getattr(importlib.import_module(module), function)(["--help"])
    shown, told = capsys.readouterr()
    assert (end.value.code, told) == (0, "")
    assert f"example: {name} " in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
