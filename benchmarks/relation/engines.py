"""Measure the backends of `bisim-check` on folders of Parquet files, each run in a process of its own."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset

from benchmarks.relation.inputs import EPISODE, Sizes, trajectories
from benchmarks.relation.measuring import Figures, row, table
from benchmarks.relation.recorded import counting, taxi

PART = 100_000 * EPISODE
"""Transitions in a part file."""

POLL = 0.5
"""Seconds between two looks at the size of the spilled rows."""


INPUTS: dict[str, Callable[[int, int], TransitionDataset]] = {
    "walk": lambda transitions, seed: trajectories(1, transitions, seed),
    "counting": counting,
    "taxi": taxi,
}
"""Makes transitions, by their number and a seed."""


def write_folder(folder: Path, make: Callable[[int, int], TransitionDataset], transitions: int) -> Path:
    """Write a dataset as part files of `PART` transitions, each made with a seed of its own, in columns of 32 bits."""
    import pyarrow
    import pyarrow.parquet

    for name in ("transitions", "observations"):
        (folder / name).mkdir(parents=True)
    begin = 0
    for number, start in enumerate(range(0, transitions, PART)):
        data = make(min(PART, transitions - start), number)
        rows = {name: getattr(data, name) + np.int32(begin) for name in ("source", "successor")}
        rows |= {"action": data.action, "auxiliary": data.auxiliary}
        known = {"id": np.arange(begin, begin + data.frames, dtype=np.int32), **data.labels}
        if data.observation is not None:
            digests = np.ascontiguousarray(data.observation[:])
            known["content"] = pyarrow.FixedSizeBinaryArray.from_buffers(
                pyarrow.binary(digests.shape[1]), len(digests), [None, pyarrow.py_buffer(digests)]
            )
        for name, columns in (("transitions", rows), ("observations", known)):
            pyarrow.parquet.write_table(pyarrow.table(columns), folder / name / f"part-{number:04}.parquet")
        begin += data.frames
    return folder


def run_backend(folder: Path, backend: str, memory: str, identity: str) -> tuple[Figures, dict[str, Any]]:
    """Run `bisim-check` on a folder; return seconds, CPU seconds, and GB of resident and of spilled rows, and the JSON.

    Args:
        folder: of Parquet files.
        backend: its name.
        memory: what ``--memory`` is given.
        identity: what ``--identity`` is given.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as spill:
        out = Path(spill) / "answer.json"
        command = [sys.executable, "-m", "bisim_theory", str(folder), "--identity", identity]
        command += ["--backend", backend, "--memory", memory, "--json", str(out)]
        started = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | {"TMPDIR": spill}, stdout=subprocess.DEVNULL)
        with _watched(Path(spill)) as largest:
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        figures = {
            "seconds": time.perf_counter() - started,
            "cpu": used.ru_utime + used.ru_stime,
            "resident": used.ru_maxrss * 1024 / 1e9,
            "spilled": max(largest) / 1e9,
        }
        answer = json.loads(out.read_text())
    assert answer.pop("backend") == backend
    return figures, answer


@contextmanager
def _watched(folder: Path) -> Iterator[list[int]]:
    """Collect the bytes that the files of a folder take, every `POLL` seconds."""
    sizes, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(POLL):
            found = 0
            for place, _, names in os.walk(folder):
                for name in names:
                    try:
                        found += os.stat(os.path.join(place, name)).st_blocks * 512
                    except OSError:  # it is gone by now
                        continue
            sizes.append(found)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield sizes
    finally:
        done.set()
        watcher.join()


def engines(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the table of backends, of one round; no requirements."""
    print(f"\n--memory {sizes.memory}; every backend gives the answer of the first.")
    columns = ("CPU, s", "s", "resident, GB", "bytes a transition", "spilled, GB")
    table("input", "identity", "transitions", "backend", "behaviours", *columns)
    for kind, transitions in itertools.product(sizes.inputs, sizes.engines):
        with tempfile.TemporaryDirectory(prefix="bisim-benchmark-") as place:
            folder = write_folder(Path(place) / "data", INPUTS[kind], transitions)
            for identity in ("occurrence", "content") if kind == "taxi" else ("occurrence",):
                _compare(folder, kind, identity, transitions, sizes)
    return []


def _compare(folder: Path, kind: str, identity: str, transitions: int, sizes: Sizes) -> None:
    """Print a row for each backend, and assert that all give one answer."""
    first = None
    for backend in sizes.backends:
        figures, answer = run_backend(folder, backend, sizes.memory, identity)
        first = first or answer
        assert answer == first, f"{backend} answers otherwise than {sizes.backends[0]}"
        resident = figures["resident"]
        cells = (figures["cpu"], figures["seconds"], resident, resident * 1e9 / transitions, figures["spilled"])
        row(kind, identity, transitions, backend, answer["signature_classes"], *cells)
