"""Damaged files of every format: `bisim-check` ends with a verdict or with one line, whatever a file holds.

The files are read by the command's own entry function in a process of its own, with little memory and little time a
file, so that a crash, a hang or an allocation of what a header claims is seen. With `--fuzz-files 2000` it takes long.
"""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

SECONDS, MEMORY = 20, 3 << 30
OUTCOMES = {0, 1, 2, 3, 4}
NUMBERS = [-1, 0, 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64, 2**100, 1e308, 0.5, None, True, "x", [], {}, [-1]]


# Mutations: each takes the bytes of a file and changes them.


def flip_bits(data, rng):
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def truncate(data, rng):
    del data[rng.randrange(len(data)) :]


def splice(data, rng):
    start = rng.randrange(len(data))
    data[start : start + rng.choice([0, 1, 8, 64])] = rng.randbytes(rng.choice([1, 8, 64, 512]))


def repeat_block(data, rng):
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.choice([1, 16, 512])]


def remove_block(data, rng):
    start = rng.randrange(len(data))
    del data[start : start + rng.choice([1, 16, 512])]


def zero_range(data, rng):
    start = rng.randrange(len(data))
    size = min(rng.choice([1, 8, 64, 4096]), len(data) - start)
    data[start : start + size] = bytes([rng.choice([0, 255])]) * size


def edit_header(data, rng):
    """What a file begins or ends with is where formats keep what they say about themselves."""
    start = rng.randrange(min(256, len(data)))
    start = rng.choice([start, len(data) - 1 - start])
    data[start : start + 8] = rng.choice([2**63 - 1, 2**64 - 1, 2**31, 0, 2**40]).to_bytes(8, "little")


MUTATIONS = [flip_bits, truncate, splice, repeat_block, remove_block, zero_range, edit_header]


def edit_json(path, rng):
    value = json.loads(path.read_text())
    node = value
    while True:
        key = rng.choice(sorted(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if not (isinstance(node[key], dict | list) and node[key]) or rng.random() < 0.4:
            break
        node = node[key]
    action = rng.randrange(4)
    if action == 0 and isinstance(node, dict):
        del node[key]
    elif action == 1:
        node[key] = {"a": node[key]}
    elif action == 2:
        node[key] = "\ud800\0../" * rng.choice([1, 10**5])
    else:
        node[key] = rng.choice(NUMBERS)
    path.write_text(json.dumps(value) if rng.random() < 0.95 else "[" * 10**6)


def edit_arrays(arrays, rng):
    """Change one array of a dictionary of them: its type, its shape or its values."""
    name = rng.choice(sorted(arrays))
    array = np.array(arrays[name])
    action = rng.randrange(8)
    if action == 0:
        array = array.astype(rng.choice([np.float16, np.float64, np.int8, np.uint64, np.bool_, np.complex64, "S4"]))
    elif action == 1:
        array = array[: rng.randrange(len(array) + 1)] if array.ndim else array[None]
    elif action == 2:
        array = array[..., None] if rng.random() < 0.5 else array.reshape(-1)
    elif action == 3:
        array = np.zeros(rng.choice([(0,), (2**40, 0), (3, 0, 4), ()]), array.dtype)
    elif action == 4:
        array = array.astype(float)
        array.flat[rng.randrange(max(array.size, 1)) :] = rng.choice([np.nan, np.inf, 1e308, -1e300])
    elif array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(array.dtype)
        values = [limits.min, limits.max, 10**6, array.size, array.size - 1, 0]
        array = array.copy()
        array.flat[rng.randrange(array.size)] = np.clip(rng.choice(values), limits.min, limits.max)
    else:
        del arrays[name]
        return
    arrays[name] = array


def edit_member(path, rng):
    """Damage an array behind the checksum of the archive, which fits again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    data = members[rng.choice(sorted(members))]
    rng.choice(MUTATIONS)(data, rng)
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in members.items():
            archive.writestr(name, bytes(each), rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def edit_npz(path, rng):
    if rng.random() < 0.5:
        edit_member(path, rng)
        return
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    edit_arrays(arrays, rng)
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def edit_hdf5(path, rng):
    import h5py

    with h5py.File(path, "a") as file:
        places = []
        file.visititems(lambda name, node: places.append(name) if isinstance(node, h5py.Dataset) else None)
        place = rng.choice(sorted(places))
        if rng.random() < 0.1:
            shape = rng.choice([(2**50,), (2**30, 2**30), (10**9, 32, 32, 3)])
            del file[place]
            file.create_dataset(place, shape, "u1", chunks=tuple(min(n, 64) for n in shape), compression="gzip")
            return
        if file[place].dtype.kind not in "biuf":
            del file[place]
            return
        arrays = {place: file[place][()]}
        edit_arrays(arrays, rng)
        del file[place]
        if place in arrays:
            file[place] = arrays[place]


STRUCTURED = {".npz": edit_npz, ".json": edit_json, ".h5": edit_hdf5, ".hdf5": edit_hdf5}


def disturb_folder(folder, rng):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, other = rng.sample(files, 2)
    action = rng.randrange(4)
    if action == 0:
        path.unlink()
    elif action == 1:
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif action == 2:
        path.unlink()
        path.symlink_to(rng.choice(["/etc/hostname", "/dev/zero", path.name, other]))
    else:
        path.unlink()
        path.mkdir()


def mutate(place, rng):
    """Damage a file, or a file of a folder, in one of all these ways, now and then in two."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        if place.is_dir() and rng.random() < 0.2:
            disturb_folder(place, rng)
            return
        files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        path = rng.choice(files)
        if path.suffix in STRUCTURED and rng.random() < 0.5:
            with contextlib.suppress(Exception):  # what was damaged before may not be edited any more
                STRUCTURED[path.suffix](path, rng)
            continue
        data = bytearray(path.read_bytes())
        if data:
            rng.choice(MUTATIONS)(data, rng)
            path.write_bytes(data)


# The process that reads: python test_fuzz.py FOLDER FORMAT FILES, results as JSON on its standard output


def arguments_for(place, representation, out, rng):
    from bisim_theory.cli import make_parser

    known = {option for action in make_parser()._actions for option in action.option_strings}
    more = ["--auxiliary", "reward"] if "--auxiliary" in known and place.suffix != ".npz" else []
    more += ["--representation", str(representation)] if representation else []
    more += rng.choice([[], [], ["--fold"], ["--identity", "content", "--fold"]])
    return [str(place), *more, "--json", str(out)]


def judge(status, err, out):
    """What is wrong with an outcome, or an empty text."""
    if status not in OUTCOMES:
        return f"status {status!r}"
    if status == 2 and not (err.startswith("bisim-check: error: ") and err.count("\n") == 1):
        return f"status 2 and {err!r}"
    if "not enough memory" in err or "Unable to allocate" in err:
        return f"an allocation of what the file claims: {err!r}"
    if (status == 2) == out.exists():
        return f"status {status}, and the JSON file {'exists' if out.exists() else 'does not exist'}"
    return ""


class Overtime(BaseException):
    """A file took too long; no code that catches errors may take this for one."""


def stop(signum, frame):
    raise Overtime(f"still reading after {SECONDS} s")


def read_one(arguments, out):
    from bisim_theory.cli import main

    errors, signal_before = io.StringIO(), signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = main(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException as error:
        import traceback

        last = traceback.extract_tb(error.__traceback__)[-1]
        return None, f"{type(error).__name__}: {error} at {last.filename}:{last.lineno}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal_before)
    return status, judge(status, errors.getvalue(), out)


def copy_of(original, place):
    for old in (place, *place.parent.glob(f"{place.name}.*")):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    shutil.copytree(original, place) if original.is_dir() else shutil.copy(original, place)


def read_all(folder, name, files):
    """Read mutated copies of ``FOLDER/NAME``; of a representation, beside whole transitions."""
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
    # Not ru_maxrss, which begins with what the process that started this one has used.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    report = {"counts": counts, "faults": faults, "slowest": slowest, "peak": peak}
    print(json.dumps({**report, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    read_all(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.exit()


# The tests

FORMATS = ["npz.npz", "representation.npz", "minari", "torchrl", "hdf5.h5"]


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """One small valid file or folder of each format, and a mark that only an executed payload makes."""
    from bisim_theory import TransitionDataset, write_representation, write_transitions
    from written_datasets import record, write_hdf5, write_minari, write_torchrl

    folder = tmp_path_factory.mktemp("fuzz")
    recorded = record(3, steps=4, image_size=24, max_count=2, target=1)
    write_minari(folder / "minari", recorded)
    write_torchrl(folder / "torchrl", recorded, capacity=20)
    shutil.rmtree(folder / "torchrl.scratch")
    write_hdf5(folder / "hdf5.h5", recorded)
    mark = folder / "executed"
    for place in (folder / "torchrl" / "storage", folder / "minari"):
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
    write_representation(
        folder / "representation.npz",
        data,
        encode=lambda images: images.reshape(len(images), -1)[:, :3] / 255,
        predict=lambda z, a: z + a,
        auxiliary=lambda z: z[:, 0],
    )
    return folder, mark


def in_a_process(folder, name, files):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MINARI_DATASETS_PATH": "/none"}
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
        code = "import sys; from bisim_theory.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, *arguments_for(*paths, out, rng)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert judge(done.returncode, done.stderr, out) == "", (name, number)
        assert "Traceback" not in done.stderr
    assert not mark.exists()
