"""Damaged files of every format: `bisim-check` ends with a verdict or with one line of error.

The files are read by the command's own entry function in a process of its own, with little memory and little time a
file, so that a crash, a hang or an allocation of what a header claims is seen. With `--fuzz-files 2000` it takes long.
"""

import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bisim_theory.cli import main, make_parser
from support.forks import run_forked
from support.fuzzing import SECONDS, copy_of, guarded, peak_memory
from support.mutations import mutate

TESTS = str(Path(__file__).parents[2])
MEMORY = 3 << 30
CHOICES = {"nested": ["image", "n"], "ring": ["pixels", "count"], "hdf5.h5": ["pixels", "goal"]}
OUTCOMES = {0, 1, 2, 3, 4}


# The process that reads: python test_fuzz.py FOLDER FORMAT FILES, results as JSON on its standard output


WITH_AUXILIARY = ("npz.npz", "stored.npz", "representation.npz")


def arguments_for(place, representation, out, rng):
    known = {option for action in make_parser()._actions for option in action.option_strings}
    stored = place.name in WITH_AUXILIARY
    more = ["--auxiliary", "reward"] if "--auxiliary" in known and not stored else []
    more += ["--representation", str(representation)] if representation else []
    more += rng.choice([[], [], ["--fold"], ["--identity", "content", "--fold"]])
    if place.name in CHOICES:
        more += rng.choice([[], ["--observation", rng.choice(CHOICES[place.name])]])
    return [str(place), *more, "--json", str(out)]


def judge(status, err, out):
    """Describe what is wrong with an outcome; return an empty text if nothing is."""
    if status not in OUTCOMES:
        return f"status {status!r}"
    if status == 2 and not (err.startswith("bisim-check: error: ") and err.count("\n") == 1):
        return f"status 2 and {err!r}"
    if "not enough memory" in err or "Unable to allocate" in err:
        return f"an allocation of what the file claims: {err!r}"
    if (status == 2) == out.exists():
        return f"status {status}, and the JSON file {'exists' if out.exists() else 'does not exist'}"
    return ""


def read_one(arguments, out):
    status, errors = guarded(main, arguments)
    return status, errors if status is None else judge(status, errors, out)


def read_all(folder, name, files):
    """Read mutated copies of ``FOLDER/NAME``; those of a representation with intact transitions."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    original, work = folder / name, folder / f"work-{name}"
    work.mkdir()
    place, out = work / name, work / "out.json"
    transitions = folder / "npz.npz"
    counts, faults, slowest, started = {}, [], 0.0, time.perf_counter()
    for number in range(files):
        rng = random.Random(f"{name} {number}")
        copy_of(original, place)
        out.unlink(missing_ok=True)
        mutate(place, rng)
        (work / "current").write_text(str(number))
        begun = time.perf_counter()
        paths = (transitions, place) if name == "representation.npz" else (place, None)
        status, fault = read_one(arguments_for(*paths, out, rng), out)
        slowest = max(slowest, time.perf_counter() - begun)
        counts[str(status)] = counts.get(str(status), 0) + 1
        left = {path.name for path in work.iterdir()} - {place.name, "out.json", "current"}
        if fault or left:
            faults.append(f"{name} {number}: {fault or f'left {sorted(left)}'}")
    report = {"counts": counts, "faults": faults, "slowest": slowest, "peak": peak_memory()}
    print(json.dumps({**report, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    read_all(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.exit()


# The tests

FORMATS = [
    "npz.npz",
    "representation.npz",
    "minari",
    "torchrl",
    "hdf5.h5",
    "lerobot",
    "ring.lance",
    "stored.npz",
    "nested",
    "ring",
    "ogbench.npz",
    "d4rl.hdf5",
    "robomimic.hdf5",
]


class Payload:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Write a small valid file or folder of each format; return them and the mark of an executed payload."""
    from bisim_theory import TransitionDataset, write_representation, write_transitions
    from support.written_datasets import record, write_hdf5, write_minari, write_nested, write_ring, write_torchrl
    from support.written_rows import (
        joined,
        walk,
        write_d4rl,
        write_lance,
        write_lerobot,
        write_ogbench,
        write_robomimic,
    )

    folder = tmp_path_factory.mktemp("fuzz")
    recorded = record(3, steps=4, image_size=24, max_count=2, target=1)
    write_minari(folder / "minari", recorded)
    write_torchrl(folder / "torchrl", recorded, capacity=20)
    shutil.rmtree(folder / "torchrl.scratch")
    write_nested(folder / "nested", recorded)
    write_ring(folder / "ring", recorded)
    frames = sum(len(episode["observation"]) for episode in recorded)
    write_hdf5(folder / "hdf5.h5", recorded, goal=np.zeros((frames, 2, 2)), observation=np.arange(frames))
    write_lerobot(folder / "lerobot", walk(4), per_file=2)
    write_lance(folder / "ring.lance", walk(4))
    write_ogbench(folder / "ogbench.npz", walk(4), rewards=joined(walk(4), "count"))
    write_d4rl(folder / "d4rl.hdf5", walk(4), following=True)
    write_robomimic(folder / "robomimic.hdf5", walk(3), images=True, masks={"train": ["demo_0"]})
    mark = folder / "executed"
    for place in (folder / "torchrl" / "storage", folder / "ring" / "storage", folder / "minari"):
        (place / "other.pickle").write_bytes(pickle.dumps(Payload(str(mark))))
    rng = np.random.default_rng(0)
    data = TransitionDataset(
        source=np.arange(12),
        action=rng.integers(2, size=12),
        successor=np.arange(12) + 1,
        auxiliary=rng.integers(3, size=12),
        observation=rng.integers(256, size=(13, 8, 8, 3)).astype(np.uint8),
        action_value=rng.normal(size=(12, 1)),
        terminated=np.zeros(12, bool),
        episode=np.zeros(12, int),
        labels={"count": np.arange(13)},
        metadata={"environment": "x"},
    )
    write_transitions(folder / "npz.npz", data)
    np.savez(
        folder / "stored.npz",
        source=data.source,
        action=data.action,
        successor=data.successor,
        auxiliary=data.auxiliary,
        observation=data.observation,
    )
    write_representation(
        folder / "representation.npz",
        data,
        encode=lambda images: images.reshape(len(images), -1)[:, :3] / 255,
        predict=lambda z, a: z + a,
        auxiliary=lambda z: z[:, 0],
    )
    return folder, mark


def in_a_process(folder, name, files):
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MINARI_DATASETS_PATH": "/none", "PYTHONPATH": TESTS,
    }  # fmt: skip
    command = [sys.executable, __file__, str(folder), name, str(files)]
    limit = 2 * SECONDS + files  # for a hang inside a library, where no signal is heard
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=limit)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_end_in_a_verdict_or_in_one_line(originals, name, request):
    folder, mark = originals
    done = in_a_process(folder, name, request.config.getoption("--fuzz-files"))
    current = folder / f"work-{name}" / "current"
    assert done.returncode == 0, f"ended by {done.returncode} at file {current.read_text()}: {done.stderr[-500:]}"
    report = json.loads(done.stdout)
    figures = f"{report['seconds']:.1f} s, slowest {report['slowest']:.2f} s, peak {report['peak'] / 1e6:.0f} MB"
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{name}: {report['counts']} in {figures}")
    assert report["faults"] == []
    assert report["peak"] < 1 << 29
    assert not mark.exists()
    assert report["counts"].get("2", 0) > 0


def on_the_command_line(name, arguments):
    """Run the command in a fork, or started anew where the library has threads that a fork lacks."""
    if "lance" in name:
        command = [sys.executable, "-m", "bisim_theory", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stderr
    ended = run_forked(lambda: main(arguments), timeout=60)
    return ended.status, ended.stderr


@pytest.mark.slow
def test_damaged_files_on_the_command_line(originals, tmp_path):
    folder, mark = originals
    for number in range(20):
        name = FORMATS[number % len(FORMATS)]
        place, out = tmp_path / name, tmp_path / "out.json"
        copy_of(folder / name, place)
        out.unlink(missing_ok=True)
        rng = random.Random(f"command {number}")
        mutate(place, rng)
        paths = (folder / "npz.npz", place) if name == "representation.npz" else (place, None)
        arguments = arguments_for(*paths, out, rng)
        status, stderr = on_the_command_line(name, arguments)
        assert judge(status, stderr, out) == "", (name, number)
        assert "Traceback" not in stderr
    assert not mark.exists()
