"""Processes that are forked from this one, which has imported everything that takes seconds to import."""

import atexit
import contextlib
import logging
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

DEFAULT_HANDLERS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
"""Handlers of signals as Python begins with them."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, or the negative signal that it died of, and its output."""

    status: int
    stdout: str
    stderr: str


class Fork:
    """A child process that calls a function and passes what it returns to `sys.exit`, as a script does.

    Only the forked thread exists in the child: the function must not need threads that this process has started,
    such as PyTorch's, so keep PyTorch at one thread.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 - read by `wait`
        self.pid = os.fork()
        if self.pid == 0:
            _end(function, self._files)

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> Ended:
        """Wait until the child has ended.

        Raises:
            TimeoutError: it has not ended after so many seconds, and is killed.
        """
        deadline = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return Ended(os.waitstatus_to_exitcode(status), *map(_content, self._files))
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"still running after {timeout} s: {_content(self._files[1])[-500:]}")
            time.sleep(0.01)


def run_forked(function: Callable[[], object], timeout: float = 120) -> Ended:
    """Call a function in a `Fork`, and wait for its end."""
    return Fork(function).wait(timeout)


def _content(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


def _end(function: Callable[[], object], files: list[BinaryIO]) -> None:
    """Call the function, and end this process as the interpreter would."""
    status = 1
    try:
        # What the parent has set up for itself.
        atexit._clear()
        multiprocessing.util._finalizer_registry.clear()
        logging.getLogger().handlers.clear()
        for number, handler in DEFAULT_HANDLERS.items():
            signal.signal(number, handler)
        for descriptor, file in enumerate(files, 1):
            os.dup2(file.fileno(), descriptor)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        status = _status(function)
        threading._shutdown()
        multiprocessing.util._exit_function()
        atexit._run_exitfuncs()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _status(function: Callable[[], object]) -> int:
    """Exit status of a script that consists of ``sys.exit(function())``."""
    try:
        code = function()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        return 1
    if isinstance(code, int | None):
        return code or 0
    sys.stderr.write(f"{code}\n")
    return 1
