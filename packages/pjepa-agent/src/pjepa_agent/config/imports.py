"""Import functions of the user's that a configuration names as ``module:function``."""

from collections.abc import Callable
from typing import Any

from pjepa_agent.config.fields import ConfigError


def import_function(name: str, purpose: str) -> Callable[..., Any]:
    """Import ``module:function``; see `bisim_theory.data.imported.import_function`.

    Raises:
        ConfigError: the name has another form, the import fails, or there is nothing callable at that name.
    """
    from bisim_theory.data import imported  # NumPy, for which reading a configuration need not wait
    from bisim_theory.data.transitions import DatasetError

    try:
        return imported.import_function(name, purpose)
    except DatasetError as error:
        raise ConfigError(str(error)) from error
