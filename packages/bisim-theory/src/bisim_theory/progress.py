"""How far a long computation has come."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressCallback = Callable[[int, int], None]
"""Called with how much of how much is done."""

PATIENCE = 2.0
"""Seconds after which a bar appears."""


def silent(done: int, whole: int) -> None:
    """Show nothing."""


@contextmanager
def progress_bar(what: str) -> Iterator[ProgressCallback]:
    """A bar on standard error for what takes longer than `PATIENCE`; none where that is no terminal."""
    from tqdm import tqdm

    with tqdm(
        desc=what, delay=PATIENCE, leave=False, disable=sys.stderr is None or not sys.stderr.isatty(), file=sys.stderr
    ) as bar:

        def show(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        yield show
