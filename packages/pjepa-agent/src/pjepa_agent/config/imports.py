"""Import functions of the user's that a configuration names as ``module:function``."""

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from pjepa_agent.config.fields import ConfigError


def import_module(name: str, purpose: str) -> ModuleType:
    """Import the module of ``module:attribute``; see `bisim_theory.data.imported.import_module`.

    Raises:
        ConfigError: the import fails.
    """
    from bisim_theory.data import imported  # NumPy, for which reading a configuration need not wait

    with _as_config_error():
        return imported.import_module(name, purpose)


def import_function(name: str, purpose: str) -> Callable[..., Any]:
    """Import ``module:function``; see `bisim_theory.data.imported.import_function`.

    Raises:
        ConfigError: the name has another form, the import fails, or there is nothing callable at that name.
    """
    from bisim_theory.data import imported

    with _as_config_error():
        return imported.import_function(name, purpose)


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    from bisim_theory.data.transitions import DatasetError

    try:
        yield
    except DatasetError as error:
        raise ConfigError(str(error)) from error
