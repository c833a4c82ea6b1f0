"""Logging, signals and paths of pictures, shared by the commands."""

import contextlib
import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from bisim_theory.console import Parser

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals after which a training saves and ends: Ctrl-C, a scheduler, a terminal that is closed."""

PICTURE_FORMATS = (".png", ".pdf", ".svg")


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection during imports; it takes a quarter of PyTorch's import time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def log_to_terminal() -> None:
    """Write the package's log, and what other packages warn of in theirs, to standard error.

    Called before PyTorch is imported, whose C++ part reads then what to log.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pjepa_agent").setLevel(logging.INFO)


def quiet_libraries() -> None:
    """Leave out what libraries say of their own work. Called once they are imported, as they set up logs too."""
    logging.getLogger("torchrl").setLevel(logging.WARNING)  # it announces every storage that it allocates
    if "TORCH_LOGS" not in os.environ:
        for compiler in ("torch._dynamo", "torch._inductor"):
            logging.getLogger(compiler).setLevel(logging.ERROR)
    # The compiler's advice on precision is for those who write a training: results would be others.
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)


@contextlib.contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect the first SIGINT, SIGTERM or SIGHUP in a list. A second one ends the process as usual.

    A SIGHUP that is ignored, as under ``nohup``, stays ignored.
    """
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if before.get(signal.SIGHUP) is signal.SIG_IGN:
        del before[signal.SIGHUP]

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
    """Check the path of a picture to write; exit with status 2 if its format or folder will not do."""
    out = Path(name)
    if out.suffix not in PICTURE_FORMATS:
        parser.error(f"--out {out}: must end in {', '.join(PICTURE_FORMATS)}")
    if not out.parent.is_dir() or out.is_dir():
        parser.error(f"--out {out}: must be a file in an existing folder")
    return out
