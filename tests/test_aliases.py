"""Names of the version before are still there, and each says what it is called now."""

import importlib
import subprocess
import sys

import bisim_theory
import pjepa_agent
import pytest
from bisim_theory import _aliases as theory_aliases
from pjepa_agent import _aliases as agent_aliases

MOVED = [("bisim_theory", old, new) for old, new in theory_aliases.MODULES.items()]
MOVED += [("pjepa_agent", old, new) for old, new in agent_aliases.MODULES.items()]

CHANGED = theory_aliases.NAMES | agent_aliases.NAMES


@pytest.mark.parametrize(("package", "old", "new"), MOVED)
def test_a_module_that_has_moved_is_found_and_warns(package, old, new):
    home = importlib.import_module(f"{package}.{new}")
    own = {name for name, value in vars(home).items() if getattr(value, "__module__", None) == home.__name__}
    names = own - {"__getattr__"}
    assert names
    for name in names:
        with pytest.warns(DeprecationWarning, match=rf"{package}\.{old} is now {package}\.{new};"):
            assert getattr(importlib.import_module(f"{package}.{old}"), name) is getattr(home, name)


@pytest.mark.parametrize(("module", "old"), [(module, old) for module, names in CHANGED.items() for old in names])
def test_a_name_that_has_changed_is_found_and_warns(module, old):
    home, _, name = CHANGED[module][old].rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is now "):
        assert getattr(importlib.import_module(module), old) is getattr(importlib.import_module(home), name)


def test_the_warning_points_at_who_imports():
    code = "from pjepa_agent.presets import make_config"
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pjepa_agent.presets is now pjepa_agent.config.presets" in done.stderr


@pytest.mark.parametrize("package", [bisim_theory, pjepa_agent])
def test_every_door_opens_and_no_other_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - asking is the test
