"""Functions of the user's, named ``module:function``."""

import contextlib
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bisim_theory.data.transitions import DatasetError

MEANINGS: dict[type[BaseException], str] = {
    NotImplementedError: "not implemented",
    AssertionError: "an assertion does not hold",
    MemoryError: "too little memory",
    StopIteration: "there is nothing more",
    TimeoutError: "took too long",
    EOFError: "ended too early",
    SystemExit: "it ended the program",
}
"""Meanings of errors that have no message, by their class."""


def import_module(name: str, purpose: str) -> ModuleType:
    """Import the module of a name ``module:attribute`` from the Python path or the current folder.

    Raises:
        DatasetError: the import fails.
    """
    with _current_folder():
        try:
            return importlib.import_module(name.partition(":")[0])
        except (Exception, SystemExit) as error:  # a module of the user's can raise anything
            raise _refusal(name, purpose, error) from error


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
    function: Any = import_module(name, purpose)
    with _current_folder():
        try:
            for part in attribute.split("."):
                function = getattr(function, part)
        except (Exception, SystemExit) as error:  # a module can compute its attributes
            raise _refusal(name, purpose, error) from error
    if not callable(function):
        raise DatasetError(f"{purpose} {name}: is a {type(function).__name__}, must be a function")
    return function


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Find modules of the current folder, where a command, unlike `python`, does not look."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _refusal(name: str, purpose: str, error: BaseException) -> DatasetError:
    return DatasetError(f"{purpose} {name}: cannot be imported ({describe_error(error)})")


def describe_error(error: BaseException) -> str:
    """Return type and message of an error in one line.

    An error without a message is said with what it means, where that is known, and the line that raised it.
    """
    name, text = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, KeyError) and len(error.args) == 1 and text == repr(error.args[0]) and " " not in text:
        return f"{name}: {text} is missing"
    if text:
        return f"{name}: {text}"
    meaning = next((said for kind, said in MEANINGS.items() if isinstance(error, kind)), "without a message")
    frames = traceback.extract_tb(error.__traceback__)
    where = f", at {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{name} ({meaning}{where})"
