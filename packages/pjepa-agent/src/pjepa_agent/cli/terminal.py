"""What the commands share: logging, signals, and where a picture goes."""

import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from bisim_theory.console import Parser

FORMATS = (".png", ".pdf", ".svg")


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Look for no garbage while modules are imported, which leave none: a quarter of the time of PyTorch's imports."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def log_to_terminal() -> None:
    """Show what the package logs on standard error, and only warnings of others."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pjepa_agent").setLevel(logging.INFO)


@contextlib.contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect the first SIGINT or SIGTERM in a list; a second one ends the process as usual."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        received.append(number)
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        restore()


def picture_path(parser: Parser, name: str) -> Path:
    """Where a picture goes; ends the command with status 2 where none can go."""
    out = Path(name)
    if out.suffix not in FORMATS:
        parser.error(f"--out {out}: must end in {', '.join(FORMATS)}")
    if not out.parent.is_dir() or out.is_dir():
        parser.error(f"--out {out}: must be a file in an existing folder")
    return out
