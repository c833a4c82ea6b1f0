"""Logging and paths of pictures, shared by the commands."""

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bisim_theory.console import Parser, fit

PICTURE_FORMATS = (".png", ".pdf", ".svg")


LOADING = "loading PyTorch"
"""What a terminal shows for the seconds that PyTorch's import takes, and no longer."""


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """Show on a terminal that PyTorch is imported, without garbage collection, which takes a quarter of the time."""
    shown = sys.stderr is not None and sys.stderr.isatty()
    if shown:
        print(LOADING, end="", file=sys.stderr, flush=True)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if shown:
            print(f"\r{' ' * len(LOADING)}\r", end="", file=sys.stderr, flush=True)


class FittedFormatter(logging.Formatter):
    """Format a record as its message, fitted to the terminal that standard error may be."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and a traceback if there is one."""
        return fit(super().format(record), sys.stderr)


def log_to_terminal() -> None:
    """Write the package's log, and what other packages warn of in theirs, to standard error.

    Called before PyTorch is imported, whose C++ part reads then what to log.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FittedFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("pjepa_agent").setLevel(logging.INFO)


def picture_path(parser: Parser, name: str, formats: Sequence[str] = PICTURE_FORMATS) -> Path:
    """Check the path of a picture to write; exit with status 2 if its format or folder will not do."""
    out = Path(name)
    if out.suffix not in formats:
        parser.error(f"--out {out}: must end in {', '.join(formats)}")
    if not out.parent.is_dir() or out.is_dir():
        parser.error(f"--out {out}: must be a file in an existing folder")
    return out
