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
"""New names of modules of this package by their old ones."""

NAMES: dict[str, dict[str, str]] = {
    "bisim_theory": {
        "CodesForced": "bisim_theory.relation.embeddings_needed.EmbeddingsNeeded",
        "codes_forced": "bisim_theory.relation.embeddings_needed.embeddings_needed",
    },
    "bisim_theory.data.auxiliary": {
        "NAMES": "bisim_theory.data.auxiliary_names.NAMES",
        "auxiliary_values": "bisim_theory.data.auxiliary_functions.auxiliary_values",
        "offered": "bisim_theory.data.auxiliary_functions.offered",
    },
    "bisim_theory.report": {"Report": "bisim_theory.outcome.Report", "analyse": "bisim_theory.analysis.analyse"},
}
"""Full new names of attributes by module and old name."""

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
        home: the new name.
    """

    def __init__(self, name: str, home: str) -> None:
        super().__init__(name, f"Moved to `{home}`.")
        self._home = home

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system's own look-ups
            raise AttributeError(name)
        warn_of(self.__name__, self._home)
        return getattr(importlib.import_module(self._home), name)


def warn_of(old: str, new: str, calls: int = 2) -> None:
    """Warn that a name has changed, pointing at the line `calls` calls above this function."""
    message = f"{old} is now {new}; the old name goes with the next version"
    warnings.warn(message, DeprecationWarning, stacklevel=calls + 1)


def install(package: str, modules: Mapping[str, str]) -> None:
    """Make modules of a package importable under their old names.

    Args:
        package: the name of the package.
        modules: new names by old ones, within the package.
    """
    for old, home in modules.items():
        sys.modules.setdefault(f"{package}.{old}", MovedModule(f"{package}.{old}", f"{package}.{home}"))


def moved(module: str, name: str, names: Mapping[str, Mapping[str, str]] = NAMES) -> Any:
    """Return a renamed attribute of a module; for its ``__getattr__``.

    Args:
        module: the name of the module.
        name: the old name of the attribute.
        names: full new names by module and attribute.

    Raises:
        AttributeError: `name` is no old name.
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
    """Decorate a function so that calls in its former form still work and warn.

    A call is of the former form if it has a keyword that is now no parameter, or a dataset in the place of the
    relation. Arguments without a parameter are then ignored, as the relation has them.

    Args:
        names: the former parameters, in order.
        renamed: present names of parameters by their former ones.
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
