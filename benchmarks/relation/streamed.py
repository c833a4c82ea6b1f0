"""Measure seconds and peak of memory of `bisim-check` on datasets of other formats, which are read in pieces.

Command: ``uv run python -m benchmarks.relation.streamed``; ``--transitions 20000`` takes seconds. Both backends answer
the same question of the same file, each in a process of its own, and their JSON is asserted to be equal.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from benchmarks.relation.measuring import row, table

CELLS, STEPS, DIMENSIONS = 9, 199, 16

SIZE = 16
"""Pixels along the side of an image."""


def walks(transitions: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places (T + 1,) and actions (T,) of walks on a row of cells; the action is the direction."""
    rng = np.random.default_rng(0)
    for _ in range(-(-transitions // STEPS)):
        action = rng.integers(2, size=STEPS)
        place = np.empty(STEPS + 1, np.int64)
        place[0] = rng.integers(CELLS)
        for step, move in enumerate((2 * action - 1).tolist()):
            place[step + 1] = min(max(place[step] + move, 0), CELLS - 1)
        yield place, action


def vectors(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Show places as vectors that never repeat."""
    return (place[:, None] + rng.normal(size=(len(place), DIMENSIONS))).astype(np.float32)


def images(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Show places as images of noise with a bright column."""
    shown = rng.integers(0, 100, (len(place), SIZE, SIZE, 3), np.uint8)
    shown[np.arange(len(place)), :, place] = 255
    return shown


def write_minari(path: Path, transitions: int, show: Callable[..., np.ndarray]) -> Path:
    """Write a dataset in the two files of Minari."""
    rng, episodes, steps = np.random.default_rng(1), 0, 0
    path.mkdir()
    with h5py.File(path / "main_data.hdf5", "w") as file:
        for place, action in walks(transitions):
            group = file.create_group(f"episode_{episodes}")
            group["observations"], group["actions"] = show(place, rng), action
            group["rewards"] = (place[1:] == CELLS - 1).astype(np.float64)
            group["terminations"], group["truncations"] = np.zeros(STEPS, bool), np.arange(STEPS) == STEPS - 1
            group["infos/cell"] = place
            episodes, steps = episodes + 1, steps + STEPS
            shape, dtype = group["observations"].shape[1:], str(group["observations"].dtype)
    space = {"type": "Box", "shape": list(shape), "dtype": dtype}
    said = {"total_episodes": episodes, "total_steps": steps, "jpeg_encoding": False, "dataset_id": "walk/walk-v0"}
    (path / "metadata.json").write_text(json.dumps({**said, "observation_space": json.dumps(space)}))
    return path


def write_flat(path: Path, transitions: int, show: Callable[..., np.ndarray]) -> Path:
    """Write a dataset as one flat HDF5 file of stable-worldmodel."""
    rng, places, actions = np.random.default_rng(1), [], []
    for place, action in walks(transitions):
        places.append(place)
        actions.append(np.append(action, 0))
    rows = len(places) * (STEPS + 1)
    with h5py.File(path, "w") as file:
        first = show(places[0], rng)
        pixels = file.create_dataset("pixels", (rows, *first.shape[1:]), first.dtype, chunks=(200, *first.shape[1:]))
        for number, place in enumerate(places):
            pixels[number * (STEPS + 1) : (number + 1) * (STEPS + 1)] = show(place, rng)
        whole = np.concatenate(places)
        file["action"], file["reward"] = np.concatenate(actions), (whole == CELLS - 1).astype(np.float64)
        file["cell"], file["terminated"], file["truncated"] = whole, np.zeros(rows, bool), np.zeros(rows, bool)
        file["ep_len"] = np.full(len(places), STEPS + 1)
        file["ep_offset"] = np.arange(len(places)) * (STEPS + 1)
    return path


KINDS = {
    "Minari, vectors of 16": (write_minari, vectors),
    "Minari, images 16x16x3": (write_minari, images),
    "flat HDF5, images 16x16x3": (write_flat, images),
}


def bytes_of(path: Path) -> int:
    """Return the bytes of a file, or of those in a folder."""
    return sum(each.stat().st_size for each in (path.iterdir() if path.is_dir() else [path]))


def run(path: Path, backend: str, memory: str, place: Path) -> tuple[dict, float, float, float]:
    """Return the JSON of a run, its seconds of CPU and of the clock, and the peak of its memory in GB."""
    command = [sys.executable, "-m", "bisim_theory", path, "--auxiliary", "reward", "--identity", "occurrence"]
    command += ["--label", "cell", "--backend", backend, "--memory", memory, "--json", place]
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"{path}: {backend} ended with {status}"
    found = json.loads(place.read_text())
    assert found.pop("backend") == backend
    return found, used.ru_utime + used.ru_stime, time.perf_counter() - started, used.ru_maxrss * 1024 / 1e9


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--memory", default="300MB", help="what DuckDB may hold (default: 300MB)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    return parser


def main() -> None:
    """Measure and print the table."""
    options = make_parser().parse_args()
    table("file", "transitions", "GB", "backend", "CPU, s", "clock, s", "resident, GB")
    for kind in options.kinds:
        write, show = KINDS[kind]
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / ("d.h5" if write is write_flat else "d"), options.transitions, show)
            answers = []
            for backend in ("memory", "duckdb"):
                found, cpu, clock, peak = run(path, backend, options.memory, Path(folder) / "answer.json")
                row(kind, found["transitions"], f"{bytes_of(path) / 1e9:.2f}", backend, cpu, clock, peak)
                answers.append(found)
            assert answers[0] == answers[1], f"{kind}: the answers differ"


if __name__ == "__main__":
    main()
