"""Functions of the user's, named ``module:function``."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bisim_theory.data.transitions import DatasetError


def import_function(name: str, purpose: str = "auxiliary") -> Callable[..., Any]:
    """Import ``module:function`` from the Python path or the current folder.

    Args:
        name: module and function; the latter may be an attribute of a class, as in ``module:Class.method``.
        purpose: what it is needed for; begins every message.

    Raises:
        DatasetError: the name has another form, the import fails, or there is nothing callable at that name.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise DatasetError(f"{purpose} {name!r}: must be module:function")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a command, unlike `python`, does not look into the current folder
    try:
        function = importlib.import_module(module)
        for part in attribute.split("."):
            function = getattr(function, part)
    except (Exception, SystemExit) as error:  # a module of the user's can raise anything
        raise DatasetError(f"{purpose} {name}: cannot be imported ({describe_error(error)})") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    if not callable(function):
        raise DatasetError(f"{purpose} {name}: is a {type(function).__name__}, must be a function")
    return function


def describe_error(error: BaseException) -> str:
    """Return type and message of an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
