"""The objective that a configuration names: one of this package, or a class of the user's."""

import functools
import importlib
from collections.abc import Iterable
from typing import Any

from bisim_theory.data.imported import describe_error

from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.fields import ConfigError, check_bounds, from_dict
from pjepa_agent.config.imports import import_module
from pjepa_agent.config.schema import Config
from pjepa_agent.objectives.base import NEEDS, EncoderObjective, Setup

CLASSES = {
    "pjepa": "PJEPAObjective",
    "deepmdp": "DeepMDPObjective",
    "dbc": "DBCObjective",
    "tdmpc2": "TDMPC2Objective",
    "pldm": "PLDMObjective",
    "inverse": "InverseObjective",
    "sigreg": "SIGRegObjective",
    "vicreg": "VICRegObjective",
    "ema": "EMAObjective",
}
"""Classes of this package by the names of objectives, each in the module of that name."""

BASE = "pjepa_agent.objectives.base.EncoderObjective"
"""The base class of all objectives, as messages name it."""


def objective_class(config: Config) -> type[EncoderObjective]:
    """Return the class of the configured objective.

    Raises:
        ConfigError: it cannot be imported, or is no `EncoderObjective` that can be used.
    """
    name = config.objective.name
    if name in CLASSES:
        found: Any = getattr(importlib.import_module(f"pjepa_agent.objectives.{name}"), CLASSES[name])
    else:
        found = _import_attribute(name)
    if not isinstance(found, type) or not issubclass(found, EncoderObjective):
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise ConfigError(f"objective {name}: is {kind}, must be a subclass of {BASE}")
    missing = sorted(found.__abstractmethods__)
    if missing:
        raise ConfigError(f"objective {name}: has no {', '.join(missing)}; define it")
    if isinstance(found.needs, str) or not isinstance(found.needs, Iterable):
        raise ConfigError(f"objective {name}: needs is {found.needs!r}; give a set of names, as {{'reward'}}")
    unknown = sorted(map(str, set(found.needs) - NEEDS))
    if unknown:
        raise ConfigError(
            f"objective {name}: needs {', '.join(unknown)}; what can be needed is {', '.join(sorted(NEEDS))}"
        )
    return found


def _import_attribute(name: str) -> Any:
    module = import_module(name, "objective")
    try:
        return functools.reduce(getattr, name.partition(":")[2].split("."), module)
    except (Exception, SystemExit) as error:  # a module can compute its attributes
        raise ConfigError(f"objective {name}: {describe_error(error)}") from error


def make_settings(config: Config) -> Any:
    """Make the settings of the configured objective of `objective.arguments`.

    Raises:
        ConfigError: an argument is unknown, of another type or out of bounds.
    """
    kind = objective_class(config).Settings
    settings = from_dict(kind, config.objective.arguments, "objective.arguments.")
    check_bounds(settings, "objective.arguments.")
    return settings


def make_objective(setup: Setup) -> EncoderObjective:
    """Make the configured objective. Its initial parameters come from a random stream of their own.

    Raises:
        ConfigError: see `objective_class` and `make_settings`; or its constructor fails, or the horizon does not fit.
    """
    config = setup.config
    found, settings, name = objective_class(config), make_settings(config), config.objective.name
    check_horizon(config, found)
    with random_stream(config.seed, "objective parameters"):
        if name in CLASSES:
            return found(setup, settings)
        try:
            made = found(setup, settings)
            made.trains, made.weights_at(0.0)
        except (Exception, SystemExit) as error:  # a class of the user's can raise anything
            raise ConfigError(f"objective {name}: raised {describe_error(error)}; see {found.__name__}") from error
    return made


def check_horizon(config: Config, found: type[EncoderObjective]) -> None:
    """Raise `ConfigError` unless an objective can be computed on sequences of the configured length."""
    horizon, least, most = config.objective.horizon, found.least_horizon, found.most_horizon
    if horizon < least or (most is not None and horizon > most):
        allowed = f"at least {least}" if most is None else f"{least}" if most == least else f"from {least} to {most}"
        raise ConfigError(f"objective.horizon={horizon}: must be {allowed} for objective {config.objective.name}")
