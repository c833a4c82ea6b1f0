"""Damaged run directories: every command that reads one goes on from it or ends with one line, whatever is in it.

Each is read in a process of its own, with little memory and little time.
"""

import collections
import dataclasses
import hashlib
import importlib
import importlib.metadata
import random
import resource
import signal
import time
from pathlib import Path

import pytest
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import CollectionConfig, EvaluationConfig, NetworkConfig, OptimizationConfig
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted
from support.forks import run_forked
from support.fuzzing import SECONDS, copy_of
from support.mutations import mutate

MEMORY = 2 << 30
"""Bytes that a command may take beyond those of this process, which has those of the tests before."""

TRAINS = 3
"""Seconds after which a run goes on long enough: a damaged configuration may ask for any number of updates."""

BEGINS = 0.05
"""Seconds between the signals that stop a run as soon as it has done an update."""

FILES = {
    "config.json": "config.json",
    "spec.json": "spec.json",
    "metrics.csv": "metrics.csv",
    "checkpoint": "checkpoints/last.pt",
    "sealed checkpoint": "checkpoints/last.pt",
    "provenance.json": "provenance.json",
    "run directory": ".",
}
"""What is damaged, by name; a sealed checkpoint has a checksum that fits what is in it now."""


IMPORTED_LATE = (
    "pjepa_agent.figures.run",
    "pjepa_agent.figures.figure_two",
    "pjepa_agent.figures.curves",
    "sklearn.metrics",
)
"""What takes seconds to import, and is no file's fault."""


def seal(path):
    """Put a checksum that fits behind what a damaged checkpoint holds."""
    archive = path.read_bytes()[:-73]
    path.write_bytes(archive + (71).to_bytes(2, "little") + b"sha256:" + hashlib.sha256(archive).hexdigest().encode())


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


def command_of(number, run, out):
    """The command that reads the copy of a number, its arguments, and every how many seconds it is told to stop.

    Most runs go on for one update, every tenth to its end; every tenth is drawn by each of the commands that draw.
    """
    if number % 10 in (3, 7):
        return ("pjepa-curves" if number % 10 == 3 else "pjepa-figure"), [str(run), "--out", str(out)], 0
    return "pjepa-train", ["--resume", str(run), "--device", "cpu"], TRAINS if number % 10 == 0 else BEGINS


def data_of_this_process():
    """Bytes of this process that `RLIMIT_DATA` counts."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def read(number, run, out):
    """Read a run directory with a command; return what is wrong with how that ended, and the exit status."""
    program, arguments, interval = command_of(number, run, out)
    main = importlib.metadata.distribution("pjepa-agent").entry_points[program].load()

    def limited():
        resource.setrlimit(resource.RLIMIT_DATA, (data_of_this_process() + MEMORY,) * 2)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until a run listens to it
        signal.signal(signal.SIGVTALRM, lambda number, frame: signal.raise_signal(signal.SIGTERM))
        signal.setitimer(signal.ITIMER_VIRTUAL, interval, interval)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        return main(arguments)

    ended = run_forked(limited)
    picture = None if program == "pjepa-train" else out
    fault = judge(program, ended.status, ended.stderr, picture)
    return fault and f"{program}: {fault}", ended.status


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a small run that was stopped two updates before its end, and that each command reads."""
    for name in IMPORTED_LATE:
        importlib.import_module(name)

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
    (folder / "copy").mkdir()
    run = RunDirectory.create(folder / "run", config)
    asked = iter((False, False, True))  # after updates 1, 2 and 4
    with pytest.raises(Interrupted):
        train_run(run, config, "cpu", should_stop=lambda: next(asked))
    for number in (0, 3, 7):
        copy_of(folder / "run", folder / "copy" / "run")
        assert read(number, folder / "copy" / "run", folder / "copy" / "out.png") == ("", 0), number
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_runs_go_on_or_end_in_one_line(original, tmp_path, name, request):
    run, out = tmp_path / "run", tmp_path / "out.png"
    counts, faults, slowest, began = collections.Counter(), [], 0.0, time.perf_counter()
    for number in range(request.config.getoption("--fuzz-runs")):
        rng = random.Random(f"{name} {number}")
        copy_of(original / "run", run)
        out.unlink(missing_ok=True)
        mutate(run / FILES[name], rng)
        if name == "sealed checkpoint" and run.joinpath(FILES[name]).is_file():
            seal(run / FILES[name])
        begun = time.perf_counter()
        fault, status = read(number, run, out)
        slowest = max(slowest, time.perf_counter() - begun)
        counts[status] += 1
        left = {path.name for path in tmp_path.iterdir()} - {"run", "out.png"}
        if fault or left:
            faults.append(f"{name} {number}: {fault or f'left {sorted(left)}'}")
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{name}: {dict(counts)} in {time.perf_counter() - began:.1f} s, slowest {slowest:.2f} s")
    assert faults == []
    assert counts[2] > 0
