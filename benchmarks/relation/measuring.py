"""Seconds and peaks of memory, medians over rounds, and tables of both."""

import contextlib
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
    """A size from the kernel's account of this process, in MB of 10^6 bytes; NaN where there is no such account."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    return math.nan


class Stages:
    """Seconds of named stages, and the peak of the resident memory since the inputs were there."""

    def __init__(self, baseline: float) -> None:
        self.baseline = baseline
        self.figures: Figures = {}
        with contextlib.suppress(OSError):  # so that what made the inputs does not count, the inputs themselves do
            Path("/proc/self/clear_refs").write_text("5")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a piece of work."""
        started = time.perf_counter()
        yield
        self.figures[name] = time.perf_counter() - started
        self.figures[f"{name}: peak"] = status_mb("VmHWM") - self.baseline


def alone(case: Callable[..., Figures], *arguments: Any) -> Figures:
    """Run a case in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(case, *arguments).result()


def medians(rounds: int, cases: dict[Any, Callable[[], Figures]]) -> dict[Any, Figures]:
    """The median of every figure of every case; the cases take turns, `rounds` times."""
    found: dict[Any, list[Figures]] = {key: [] for key in cases}
    for _ in range(rounds):
        for key, case in cases.items():
            found[key].append(case())
    return {
        key: {name: statistics.median(each[name] for each in all_) for name in all_[0]} for key, all_ in found.items()
    }


def seconds(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Time a call; its result."""
    gc.collect()  # what others left behind is not this one's to clear
    started = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - started, result


def most(figures: list[Figures]) -> str:
    """The most seconds and the highest peak."""
    return f"{max(f['total'] for f in figures):.1f} s, {max(f['peak'] for f in figures):,.0f} MB"


def table(*columns: str) -> None:
    """Print the head of a table."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    """Print a row of a table; numbers with a point to three digits."""
    print(f"| {' | '.join(show(cell) for cell in cells)} |", flush=True)


def show(cell: object) -> str:
    """A cell as text."""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if not math.isfinite(cell):
        return str(cell)
    if abs(cell) < 1e-5:
        return "0"
    return f"{cell:,.{max(0, 2 - math.floor(math.log10(abs(cell))))}f}"
