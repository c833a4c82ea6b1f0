"""Signals that stop a training, and what other libraries say meanwhile."""

import contextlib
import logging
import os
import signal
import warnings
from collections.abc import Iterator, Sequence

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals after which a training saves and ends: Ctrl-C, a scheduler, a terminal that is closed."""


def quiet_libraries() -> None:
    """Leave out what libraries say of their own work. Called once they are imported, as they set up logs too."""
    logging.getLogger("torchrl").setLevel(logging.WARNING)  # it announces every storage that it allocates
    if "TORCH_LOGS" not in os.environ:
        for compiler in ("torch._dynamo", "torch._inductor"):
            logging.getLogger(compiler).setLevel(logging.ERROR)
    # The compiler's advice on precision is for those who write a training: results would be others.
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)


@contextlib.contextmanager
def collected_signals(numbers: Sequence[int] = STOP_SIGNALS) -> Iterator[list[int]]:
    """Collect the first of some signals in a list. A second one ends the process as usual.

    A SIGHUP that is ignored, as under ``nohup``, stays ignored.
    """
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in numbers}
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
