"""The terminal of the commands of these packages: a parser with one-line errors, results, notes and errors."""

import argparse
import contextlib
import difflib
import itertools
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
"""Warnings about the code of a library, of which who runs a command has no use."""

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Escape sequences of a terminal that colour a warning or a message."""


ALIKE = 0.7
"""Likeness, by `difflib`, from which on a name may be a misspelt option."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line on standard error, which names the options nearest to unknown ones."""
        self.exit(2, f"{self.prog}: error: {message}{self._nearest(message)} (see {self.prog} --help)\n")

    def _nearest(self, message: str) -> str:
        """Ask whether options were meant that are spelt nearly like the unknown ones of a message, if there are any."""
        _, _, unknown = message.partition("unrecognized arguments: ")
        given = [word.partition("=")[0] for word in unknown.split() if word.startswith("--")]
        near = itertools.chain.from_iterable(nearest_option(each, self._option_string_actions) for each in given)
        meant = ", ".join(dict.fromkeys(near))
        return f"; did you mean {meant}?" if meant else ""


def nearest_option(given: str, options: Iterable[str]) -> list[str]:
    """Return the option whose name is most like a given one, if any is alike.

    Of ``--SECTION.FIELD`` fields of the same section are compared, by their own names.
    """
    section = given[: given.rfind(".") + 1] or "--"
    names = {option.removeprefix(section): option for option in options if option.startswith(section)}
    return [names[near] for near in difflib.get_close_matches(given.removeprefix(section), names, 1, ALIKE)]


def error_line(error: BaseException) -> str:
    """Return the message of an error as one line, whatever it holds."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    text = STYLE.sub("", text)
    return " ".join(text.split()) or ("not enough memory" if isinstance(error, MemoryError) else repr(error))


def print_error(program: str, error: BaseException) -> int:
    """Print an error as one line on standard error, and return exit status 2."""
    if sys.stderr is not None:  # it may have been closed
        sys.stderr.write(f"{program}: error: {error_line(error)}\n")
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


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP interrupt the block as Ctrl-C does, so that it deletes its files.

    A second one ends the process as usual. A signal that is ignored, or that the program has a handler for, keeps that.

    Yields:
        The signals that have been received, but for those of Ctrl-C.
    """
    received: list[int] = []

    def restore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    def interrupt(number: int, frame: object) -> NoReturn:
        received.append(number)
        restore()
        raise KeyboardInterrupt  # which DuckDB passes on from a running query, as no other error

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # elsewhere Python lets nobody set a handler
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        restore()


def print_note(text: str) -> None:
    """Print a remark as one line on standard error."""
    if sys.stderr is not None:  # it may have been closed
        with contextlib.suppress(OSError):  # its reader may have gone
            sys.stderr.write(f"note: {' '.join(text.split())}\n")


def fit(text: str, stream: Any) -> str:
    """Break lines that are wider than the terminal between words, indented by two more; elsewhere change nothing.

    Lines with columns stay as they are: those that begin with a bar, or have two spaces between words.

    Args:
        text: of any number of lines.
        stream: where it is printed.
    """
    if stream is None or not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns  # the variable COLUMNS, if it is set
    return "\n".join(_broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    words = line.lstrip(" ")
    if len(line) <= width or words.startswith("|") or "  " in words:
        return line
    indent = " " * (len(line) - len(words))
    return textwrap.fill(
        words, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def install_extra(extra: str) -> str:
    """Say how an extra of this package is installed, to follow a colon."""
    return f"pip install './packages/bisim-theory[{extra}]' in the clone"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, of which one is without an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def print_next(text: str) -> None:
    """Print what to do next as the last line on a terminal; a pipe or a file gets none."""
    if sys.stderr is not None and sys.stderr.isatty():
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{fit(f'next: {text}', sys.stderr)}\n")


def print_result(text: str) -> None:
    """Print a result on standard output, fitted to a terminal.

    A reader that closes the pipe, such as ``head``, has read enough.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # for a terminal that lacks a character
    try:
        print(fit(text, sys.stdout), flush=True)
    except BrokenPipeError:
        with open(os.devnull, "w") as nowhere:  # where the flush at the interpreter's end then goes
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the flush at the interpreter's end would fail again
        raise
