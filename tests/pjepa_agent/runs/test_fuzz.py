"""Damaged run directories: every command that reads one goes on from it or ends with one line, whatever is in it.

As with datasets, in a process of its own, with little memory and little time a directory.
"""

import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.fuzzing import SECONDS, copy_of, guarded, peak_memory
from support.mutations import mutate

MEMORY = 3 << 30
TRAINS = 3
"""Seconds after which a run goes on long enough: a damaged configuration may ask for any number of updates."""

BEGINS = 0.05
"""Seconds between the signals that stop a run as soon as it has done an update."""

FILES = {
    "config.json": "config.json",
    "metrics.csv": "metrics.csv",
    "checkpoint": "checkpoints/last.pt",
    "sealed checkpoint": "checkpoints/last.pt",
    "provenance.json": "provenance.json",
    "run directory": ".",
}
"""What is damaged, by name; a sealed checkpoint has a checksum that fits what is in it now."""


IMPORTED_LATE = (
    "pjepa_agent.run",
    "pjepa_agent.figures.run",
    "pjepa_agent.figures.figure_two",
    "pjepa_agent.figures.curves",
    "sklearn.metrics",
)
"""What takes seconds to import, and is no file's fault."""


# The process that reads: python test_fuzz.py FOLDER FORMAT FILES, results as JSON on its standard output


def seal(path):
    """Put a checksum that fits behind what a damaged checkpoint holds."""
    import hashlib

    archive = path.read_bytes()[:-73]
    path.write_bytes(archive + (71).to_bytes(2, "little") + b"sha256:" + hashlib.sha256(archive).hexdigest().encode())


def commands(run):
    """The commands that read a run directory, with arguments, and what they may leave."""
    from pjepa_agent.cli import curves as curves_cli
    from pjepa_agent.cli import figure as figure_cli
    from pjepa_agent.cli import train as cli

    out = run.parent / "out.png"
    return [
        ("pjepa-train", cli.main, ["--resume", str(run), "--device", "cpu"], None),
        ("pjepa-curves", curves_cli.main, [str(run), "--out", str(out)], out),
        ("pjepa-figure", figure_cli.main, [str(run), "--out", str(out)], out),
    ]


def judge(program, status, err, out):
    """What is wrong with an outcome, or an empty text."""
    if status not in (0, 2, 143):
        return f"status {status!r}: {err[-500:]}"
    last = (err.splitlines() or [""])[-1]
    if status == 2 and not last.startswith(f"{program}: error: "):
        return f"status 2 and {err[-500:]!r}"
    if "Traceback" in err:
        return err[-500:]
    if out is not None and (status == 0) != out.exists():
        return f"status {status}, and the picture {'exists' if out.exists() else 'does not exist'}"
    return ""


def command_of(number, run):
    """The command that reads the copy of a number, and every how many seconds it is told to stop.

    Most runs go on for one update, every tenth to its end; every tenth is drawn by each of the commands that draw.
    """
    training, curves, figure = commands(run)
    if number % 10 in (3, 7):
        return (curves if number % 10 == 3 else figure), 0
    return training, TRAINS if number % 10 == 0 else BEGINS


def read(number, run):
    """Read a run directory: what is wrong with how that ended, the exit status, and the seconds of it."""
    (program, main, arguments, out), interval = command_of(number, run)
    begun = time.perf_counter()
    signal.setitimer(signal.ITIMER_VIRTUAL, interval, interval)
    status, errors = guarded(main, arguments)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    fault = errors if status is None else judge(program, status, errors, out)
    return fault and f"{program}: {fault}", status, time.perf_counter() - begun


def read_all(folder, name, files):
    """Read mutated copies of a run directory with every command in turn."""
    import torch

    for module in IMPORTED_LATE:
        importlib.import_module(module)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until a run listens to it
    signal.signal(signal.SIGVTALRM, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    work = folder / f"work-{name}"
    work.mkdir()
    run = work / "run"
    for number in (0, 3, 7):  # nor is what every command does once
        copy_of(folder / "run", run)
        assert read(number, run)[:2] == ("", 0), number
    counts, faults, slowest, started = {}, [], 0.0, time.perf_counter()
    for number in range(files):
        rng = random.Random(f"{name} {number}")
        copy_of(folder / "run", run)
        (work / "out.png").unlink(missing_ok=True)
        mutate(run / FILES[name], rng)
        if name == "sealed checkpoint" and run.joinpath(FILES[name]).is_file():
            seal(run / FILES[name])
        (work / "current").write_text(str(number))
        fault, status, seconds = read(number, run)
        slowest = max(slowest, seconds)
        counts[str(status)] = counts.get(str(status), 0) + 1
        left = {path.name for path in work.iterdir()} - {"run", "out.png", "current"}
        if fault or left:
            faults.append(f"{name} {number}: {fault or f'left {sorted(left)}'}")
    report = {"counts": counts, "faults": faults, "slowest": slowest, "peak": peak_memory()}
    print(json.dumps({**report, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    read_all(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.exit()


# The tests


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a small run that was stopped two updates before its end."""
    import dataclasses

    from pjepa_agent.config.presets import make_config
    from pjepa_agent.config.schema import CollectionConfig, EvaluationConfig, NetworkConfig, OptimizationConfig
    from pjepa_agent.run import train_run
    from pjepa_agent.runs.directory import RunDirectory
    from pjepa_agent.training.trainer import Interrupted

    folder = tmp_path_factory.mktemp("fuzz")
    config = dataclasses.replace(
        make_config(),
        collection=CollectionConfig(transitions=60),
        network=NetworkConfig(latent_dim=8, width=4, hidden_dim=16, decoder=True),
        optimization=OptimizationConfig(updates=6, batch_size=8, warmup=2),
        evaluation=EvaluationConfig(
            every=3, reference_per_count=2, scored_per_count=30, transitions=30, probe_per_count=0
        ),
    )
    run = RunDirectory.create(folder / "run", config)
    asked = iter((False, False, True))  # after updates 1, 2 and 4
    with pytest.raises(Interrupted):
        train_run(run, config, "cpu", should_stop=lambda: next(asked))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_runs_go_on_or_end_in_one_line(original, name, request):
    files = request.config.getoption("--fuzz-runs")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, __file__, str(original), name, str(files)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=original, timeout=2 * SECONDS + 4 * files
    )
    current = original / f"work-{name}" / "current"
    assert done.returncode == 0, f"ended by {done.returncode} at {current.read_text()}: {done.stderr[-500:]}"
    report = json.loads(done.stdout.splitlines()[-1])
    figures = f"{report['seconds']:.1f} s, slowest {report['slowest']:.2f} s, peak {report['peak'] / 1e6:.0f} MB"
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{name}: {report['counts']} in {figures}")
    shutil.rmtree(original / f"work-{name}")
    assert report["faults"] == []
    assert report["counts"].get("2", 0) > 0


@pytest.mark.slow
def test_damaged_runs_on_the_command_line(original, tmp_path):
    for number in range(20):
        name = list(FILES)[number % len(FILES)]
        run, out = tmp_path / "run", tmp_path / "out.png"
        copy_of(original / "run", run)
        out.unlink(missing_ok=True)
        mutate(run / FILES[name], random.Random(f"command {number}"))
        program = ("pjepa-train", "pjepa-curves", "pjepa-figure")[number % 3]
        options = ["--resume", run, "--device", "cpu"] if program == "pjepa-train" else [run, "--out", out]
        try:
            done = subprocess.run(
                [Path(sys.executable).with_name(program), *options], capture_output=True, text=True, timeout=60,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            # A damaged configuration may ask for years of training; that it trains is all that was to be seen.
            assert (program, name) in {("pjepa-train", "config.json"), ("pjepa-train", "run directory")}, number
            continue
        fault = judge(program, done.returncode, done.stderr, None if program == "pjepa-train" else out)
        assert fault == "", (name, number)
