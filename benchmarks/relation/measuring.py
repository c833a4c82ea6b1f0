"""Measure seconds and peaks of memory, take medians over rounds, and print tables."""

import contextlib
import ctypes
import gc
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

Figures = dict[str, float]


def status_mb(field: str) -> float:
    """Read a size of this process from /proc, in MB of 10^6 bytes; NaN where there is no /proc."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    return math.nan


def resident_mb() -> float:
    """Read the resident memory of this process, without what was freed and is kept for later."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return status_mb("VmRSS")


class Stages:
    """Measure the seconds of named stages and the peak of the resident memory above `baseline` MB.

    The clock is that of the wall, unless `time.process_time` is given.
    """

    def __init__(self, baseline: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.baseline, self._clock = baseline, clock
        self.figures: Figures = {}
        with contextlib.suppress(OSError):  # resets the peak, so that it counts the inputs but not their making
            Path("/proc/self/clear_refs").write_text("5")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block and record the peak after it."""
        started = self._clock()
        yield
        self.figures[name] = self._clock() - started
        self.figures[f"{name}: peak"] = status_mb("VmHWM") - self.baseline


def alone(case: Callable[..., Figures], *arguments: Any) -> Figures:
    """Run a case in a new process, so that the peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(case, *arguments).result()


def medians(rounds: int, cases: dict[Any, Callable[[], Figures]]) -> dict[Any, Figures]:
    """Run the cases in turn for `rounds` rounds and return the median of each figure of each case."""
    found: dict[Any, list[Figures]] = {key: [] for key in cases}
    for _ in range(rounds):
        for key, case in cases.items():
            found[key].append(case())
    return {
        key: {name: statistics.median(each[name] for each in all_) for name in all_[0]} for key, all_ in found.items()
    }


def seconds(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Time a call; return the CPU seconds and its result."""
    gc.collect()  # garbage of earlier calls is not timed
    started = time.process_time()
    result = work(*arguments)
    return time.process_time() - started, result


def most(figures: list[Figures]) -> str:
    """Format the largest seconds and the highest peak."""
    return f"{max(f['total'] for f in figures):.1f} s, {max(f['peak'] for f in figures):,.0f} MB"


def table(*columns: str) -> None:
    """Print the head of a table."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    """Print a row of a table; numbers with a point to three digits."""
    print(f"| {' | '.join(show(cell) for cell in cells)} |", flush=True)


def show(cell: object) -> str:
    """Format a cell; numbers with a point to three digits."""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if not math.isfinite(cell):
        return str(cell)
    if abs(cell) < 1e-5:
        return "0"
    return f"{cell:,.{max(0, 2 - math.floor(math.log10(abs(cell))))}f}"
