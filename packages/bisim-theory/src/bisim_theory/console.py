"""The terminal of the commands of these packages: a parser with one-line errors, results, notes and errors."""

import argparse
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
"""Warnings about the code of a library, of which who runs a command has no use."""

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Escape sequences of a terminal that colour a warning."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line on standard error."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def print_error(program: str, error: BaseException) -> int:
    """Print an error as one line on standard error, whatever its message holds, and return exit status 2."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    text = " ".join(text.split()) or ("not enough memory" if isinstance(error, MemoryError) else repr(error))
    if sys.stderr is not None:  # it may have been closed
        sys.stderr.write(f"{program}: error: {text}\n")
    return 2


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings of the block as one line on standard error, each text once. Also a decorator of a command.

    Those for developers are left out, unless ``-W`` or ``PYTHONWARNINGS`` asks for warnings. What libraries do to the
    filters within the block changes neither, and ends with it.
    """
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        text = " ".join(STYLE.sub("", str(message)).split()) or category.__name__
        if text not in printed and (sys.warnoptions or not issubclass(category, FOR_DEVELOPERS)):
            printed.add(text)
            print_note(text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def print_note(text: str) -> None:
    """Print a remark as one line on standard error."""
    if sys.stderr is not None:  # it may have been closed
        with contextlib.suppress(OSError):  # its reader may have gone
            sys.stderr.write(f"note: {' '.join(text.split())}\n")


def print_result(text: str) -> None:
    """Print a result on standard output. A reader that closes the pipe, such as ``head``, has read enough.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # for a terminal that lacks a character
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "w") as nowhere:  # where the flush at the interpreter's end then goes
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the flush at the interpreter's end would fail again
        raise
