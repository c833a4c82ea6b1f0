"""A file that is written in a thread while training goes on."""

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BackgroundWrite:
    """Writes one file in a thread while training goes on. Errors are raised in the thread that trains."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1)
        self._future: Future[None] | None = None

    def __enter__(self) -> "BackgroundWrite":
        return self

    def __exit__(self, *exception: object) -> None:
        self._executor.shutdown()

    def start_or_poll(self, write: Callable[[], None]) -> None:
        """Start to write at the first call; afterwards raise what went wrong, if writing has failed."""
        if self._future is None:
            self._future = self._start(write)
        elif self._future.done():
            self._future.result()

    def finish(self, write: Callable[[], None]) -> None:
        """Wait until all is written; start now, if training had no update left."""
        (self._future or self._start(write)).result()

    def _start(self, write: Callable[[], None]) -> Future[None]:
        # With the context of the caller, by which what it logs is known to be of this run.
        return self._executor.submit(contextvars.copy_context().run, write)
