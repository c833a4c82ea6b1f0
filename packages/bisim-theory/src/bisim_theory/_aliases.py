"""Names and call forms of the version before, with DeprecationWarnings that say the new ones, for one version."""

import functools
import importlib
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

MODULES = {
    "auxiliary": "data.auxiliary",
    "representation": "data.representation",
    "transitions": "data.transitions",
}
"""Modules of this package that have moved, by their old names."""

NAMES: dict[str, dict[str, str]] = {
    "bisim_theory": {
        "CodesForced": "bisim_theory.relation.embeddings_needed.EmbeddingsNeeded",
        "codes_forced": "bisim_theory.relation.embeddings_needed.embeddings_needed",
    },
    "bisim_theory.report": {"Report": "bisim_theory.analysis.Report", "analyse": "bisim_theory.analysis.analyse"},
}
"""Attributes of modules that have moved or have another name."""

OUTCOME_NAMES = {"impossible": "contradiction", "codes": "embeddings"}
"""New names of fields of `Report`, by old ones."""

OUTCOME_FIELDS = {
    "relation": None,
    "embeddings": None,
    "suggestions": (),
    "pairs": (),
    "look_alike_pairs": None,
    "certified_share": None,
    "representation": None,
    "check": None,
}
"""Fields that every `Report` had, with the value that they had where they did not apply."""


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


def warn_of(old: str, new: str, calls: int = 2) -> None:
    """Warn that a name has changed; the warning points at the line that many calls above this function."""
    message = f"{old} is now {new}; the old name goes with the next version"
    warnings.warn(message, DeprecationWarning, stacklevel=calls + 1)


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
    warn_of(f"{module}.{name}", new, calls=3)
    home, _, attribute = new.rpartition(".")
    return getattr(importlib.import_module(home), attribute)


def outcome_field(outcome: object, name: str) -> Any:
    """Return what `Report` had under a name, before every outcome was a class of its own.

    Args:
        outcome: the outcome of an analysis.
        name: an attribute that it does not have.

    Raises:
        AttributeError: `Report` never had it.
    """
    kind = type(outcome).__name__
    if name in OUTCOME_NAMES:
        warn_of(f"{kind}.{name}", f"{kind}.{OUTCOME_NAMES[name]}, which not every outcome has", calls=3)
        return vars(outcome).get(OUTCOME_NAMES[name])
    if name not in OUTCOME_FIELDS:
        raise AttributeError(f"{kind!r} object has no attribute {name!r}")
    warn_of(f"{kind}.{name}", "an attribute of other outcomes only: ask with isinstance which one it is", calls=3)
    return OUTCOME_FIELDS[name]


def former_parameters(
    *names: str, renamed: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function also be called as in the version before.

    A call is taken for a former one where a keyword is a former name, or where the function now takes a relation
    first and is given a dataset. What has no parameter any more is ignored: a relation knows it.

    Args:
        names: the parameters that the function had, in order.
        renamed: present names by former ones, of parameters that are called otherwise now.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        present = inspect.signature(function).parameters
        takes_relation = next(iter(present)) != names[0]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            dataset_first = takes_relation and bool(args) and hasattr(args[0], "successor")
            if not dataset_first and not kwargs.keys() - present.keys() & set(names):
                return function(*args, **kwargs)
            warn_of(f"{function.__name__}({', '.join(names)})", f"{function.__name__}({', '.join(present)})")
            kwargs |= dict(zip(names if dataset_first else present, args, strict=False))
            kwargs = {(renamed or {}).get(name, name): value for name, value in kwargs.items()}
            for ignored in kwargs.keys() & set(names) - present.keys():
                del kwargs[ignored]
            return cast(Any, function)(**kwargs)

        return cast(Callable[P, R], call)

    return decorate
