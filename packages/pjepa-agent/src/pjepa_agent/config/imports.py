"""Import functions of the user's that a configuration names as ``module:function``."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pjepa_agent.config.fields import ConfigError


def import_function(name: str, purpose: str) -> Callable[..., Any]:
    """Import ``module:function`` from the Python path or the current folder.

    Args:
        name: module and function; the latter may be an attribute of a class, as in ``module:Class.method``.
        purpose: what it is needed for, such as ``auxiliary``; begins every message.

    Raises:
        ConfigError: the name has another form, the import fails, or there is nothing callable at that name.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ConfigError(f"{purpose} {name!r}: must be module:function")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a command, unlike `python`, does not look into the current folder
    try:
        function = importlib.import_module(module)
        for part in attribute.split("."):
            function = getattr(function, part)
    except Exception as error:  # a module of the user's can raise anything
        reason = " ".join(str(error).split())
        raise ConfigError(f"{purpose} {name}: cannot be imported ({type(error).__name__}: {reason})") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    if not callable(function):
        raise ConfigError(f"{purpose} {name}: is a {type(function).__name__}, must be a function")
    return function
