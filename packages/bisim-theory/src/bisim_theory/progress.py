"""Progress of long computations."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressCallback = Callable[[int, int], None]
"""Called with the steps done and the number of steps in all."""

PATIENCE = 2.0
"""Seconds after which a bar appears."""


def silent(done: int, whole: int) -> None:
    """Show nothing."""


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressCallback]:
    """Show a bar on standard error after `PATIENCE` seconds, if that is a terminal."""
    from tqdm import tqdm

    with tqdm(
        desc=title, delay=PATIENCE, leave=False, disable=sys.stderr is None or not sys.stderr.isatty(), file=sys.stderr
    ) as bar:

        def show(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        yield show
