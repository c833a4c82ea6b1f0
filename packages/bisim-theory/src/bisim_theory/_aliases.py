"""Names of the version before, each with a DeprecationWarning that says the new one. They go with the next version."""

import importlib
import sys
import types
import warnings
from collections.abc import Mapping
from typing import Any

MODULES = {
    "auxiliary": "data.auxiliary",
    "representation": "data.representation",
    "transitions": "data.transitions",
}
"""Modules of this package that have moved, by their old names."""

NAMES: dict[str, dict[str, str]] = {
    "bisim_theory.report": {"Report": "bisim_theory.analysis.Report", "analyse": "bisim_theory.analysis.analyse"},
}
"""Attributes of modules that have moved or have another name."""


class MovedModule(types.ModuleType):
    """A module under its old name.

    Args:
        name: the old name.
        home: the name of the module that is there now.
    """

    def __init__(self, name: str, home: str) -> None:
        super().__init__(name, f"Moved to `{home}`.")
        self._home = home

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for what it might be
            raise AttributeError(name)
        warn_of(self.__name__, self._home)
        return getattr(importlib.import_module(self._home), name)


def warn_of(old: str, new: str) -> None:
    """Warn, two calls above, that something has another name now."""
    warnings.warn(f"{old} is now {new}; the old name goes with the next version", DeprecationWarning, stacklevel=3)


def install(package: str, modules: Mapping[str, str]) -> None:
    """Let modules of a package be imported under their old names.

    Args:
        package: its name.
        modules: new names by old ones, both within the package.
    """
    for old, home in modules.items():
        sys.modules.setdefault(f"{package}.{old}", MovedModule(f"{package}.{old}", f"{package}.{home}"))


def moved(module: str, name: str, names: Mapping[str, Mapping[str, str]] = NAMES) -> Any:
    """Return what a module had under a name; to be called by its ``__getattr__``.

    Args:
        module: the module that is asked.
        name: the attribute that it no longer has.
        names: full new names by module and attribute.

    Raises:
        AttributeError: the module never had it.
    """
    new = names.get(module, {}).get(name)
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warn_of(f"{module}.{name}", new)
    home, _, attribute = new.rpartition(".")
    return getattr(importlib.import_module(home), attribute)
