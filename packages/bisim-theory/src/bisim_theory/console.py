"""The terminal of the commands of these packages: a parser with one-line errors, results and errors."""

import argparse
import os
import sys
from typing import NoReturn


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
