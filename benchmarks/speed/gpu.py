"""Produce every row of the pages that needs a GPU, in a quarter of an hour on one.

Command: ``uv run python -m benchmarks.speed.gpu --out gpu``. It runs the tests that need CUDA, measures the updates per
second of each way to compute and of several seeds at once, profiles one of them, and trains at the paper's scale side
by side; each training is ended, drawn and checked. Results are written as they come, and what time did not allow is
named. ``--quick`` goes through all of it in small, on a CPU too.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import Config
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import MetricsFile
from pjepa_agent.runs.provenance import start
from pjepa_agent.training import Trainer

from benchmarks.speed.baseline import Baseline
from benchmarks.speed.seeds import milliseconds, rate_in_turn, ways
from benchmarks.speed.throughput import Step, acting, recorded_table, small, updating, wait
from benchmarks.tables import seed_range

EAGER, COMPILED = "eager", "compiled with CUDA graphs"
GRAPH, INDUCTOR = "one graph an update, eager kernels", "one graph an update, compiled kernels"

WAYS = {
    EAGER: ["compute.compile=off", "compute.graph=off"],
    COMPILED: ["compute.compile=on", "compute.graph=off"],
    GRAPH: ["compute.compile=off", "compute.graph=on"],
    INDUCTOR: ["compute.compile=on", "compute.graph=on"],
}
"""Settings of each way to compute an update, by its name."""

PRECISIONS = {"float32": "optimization.autocast=false", "bfloat16": "optimization.autocast=true"}

PARTS = ["tests", "throughput", "seeds", "profile", "trainings"]
"""What the command does, in this order."""

TINY = [
    "network.width=4", "network.blocks=1", "network.latent_dim=16", "network.hidden_dim=32",
    "optimization.batch_size=16", "collection.transitions=300", "collection.initial_transitions=100",
    "evaluation.reference_per_count=4", "evaluation.scored_per_count=4", "evaluation.transitions=120",
    "evaluation.probe_per_count=0",
]  # fmt: skip
"""Settings of ``--quick``."""


class Budget:
    """Share out the seconds of the whole.

    Args:
        seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()


class Sizes(NamedTuple):
    """How much of everything is done.

    Attributes:
        warm_up: updates before rates are taken: some before a graph is captured, and some of it.
        rounds: of rates of a row.
        updates: of a round.
        compare: update whose losses are written, which should be the same in all rows of one precision.
        end: seconds that are kept for the end of the trainings: figures and checks.
        tests: seconds that the tests may take.
        row: seconds that a row may take, compilation included.
        seeds: how many train at once, a row each.
    """

    warm_up: int = 6
    rounds: int = 3
    updates: int = 100
    compare: int = 20
    end: float = 100.0
    tests: float = 240.0
    row: float = 90.0
    seeds: tuple[int, ...] = (2, 4, 8)


QUICK = Sizes(warm_up=1, rounds=1, updates=1, compare=2, end=60.0, seeds=(2,))


class Report:
    """Collect results, and write them each time that there is one more.

    Args:
        folder: of ``gpu.json`` and the other files. Its rows have the form of those in ``records/gpu.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values: dict[str, Any] = {"rows": []}
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, value: Any) -> None:
        """Add a result, print it, and write all of them."""
        self.values[name] = value
        self._write(name, value)

    def row(self, name: str, rates: Sequence[float] = (), **more: Any) -> None:
        """Add the rates of a row, or ``reason``, why there are none."""
        row = {"memory_gb": None, "warm_seconds": None, "prototype": False} | more
        self.values["rows"].append({"name": name, "rates": list(rates), **row})
        self._write(name, self.values["rows"][-1])

    def rates(self, name: str) -> list[float]:
        """Return the rates of a row; empty if there are none."""
        return next((row["rates"] for row in self.values["rows"] if row["name"] == name), [])

    def _write(self, name: str, value: Any) -> None:
        (self.folder / "gpu.json").write_text(json.dumps(self.values, indent=1) + "\n")
        print(f"{name}: {json.dumps(value)}", flush=True)


def tests(folder: Path, seconds: float) -> str:
    """Run the tests that need CUDA; return their last line."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    status, text = execute(command, seconds)
    (folder / "tests.txt").write_text(text)
    return f"status {status}: {(text.strip().splitlines() or ['no output'])[-1]}"


def rows(device: torch.device) -> dict[str, list[str]]:
    """Return the settings of each row of the table by its name, those of the baseline aside."""
    found = {
        f"{way}, {precision}": [*settings, setting]
        for precision, setting in PRECISIONS.items()
        for way, settings in WAYS.items()
    }
    host = [*WAYS[GRAPH], PRECISIONS["bfloat16"], "compute.frame_storage=host"]
    found |= {
        f"{GRAPH}, bfloat16, frames on the host": host,
        f"{EAGER}, float32, every fast path off": [
            *WAYS[EAGER], PRECISIONS["float32"], "compute.fast_paths=false", "compute.joint_batch=false",
            "compute.check_every=1",
        ],
    }  # fmt: skip
    # Without CUDA there is neither a graph nor, in seconds, a compiler.
    return found if device.type == "cuda" else {name: each for name, each in found.items() if name.startswith(EAGER)}


def measure_row(config: Config, device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """Measure one way to compute: seconds until it is warm, updates per second, memory, and losses of one update."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        trainer = Trainer(config, RunDirectory.create(Path(folder) / "run", config), None, device)
        trainer.state.update = config.collection.initial_transitions  # from where on an update collects
        step, losses = updating(trainer), dict[str, float]()
        for number in range(1, max(sizes.warm_up, sizes.compare) + 1):
            found: Any = step()
            if number == sizes.compare:
                losses = {name: float(loss) for name, loss in found.items()}
            if number == sizes.warm_up:
                wait(device)
                warm = time.perf_counter() - started
        rates = [rate(step, sizes.updates, device) for _ in range(sizes.rounds)]
        captured = trainer.graphed is not None
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    return {"rates": rates, "warm_seconds": warm, "memory_gb": memory, "captured": captured, "losses": losses}


def rate(step: Step, updates: int, device: torch.device) -> float:
    """Return updates per second, until the device has finished."""
    wait(device)
    started = time.perf_counter()
    for _ in range(updates):
        step()
    wait(device)
    return updates / (time.perf_counter() - started)


def throughput(config: Config, device: torch.device, sizes: Sizes, budget: Budget, kept: float, report: Report) -> None:
    """Measure every row, one after the other, while more than `kept` seconds are left for what follows."""
    baseline = Baseline(config, device, config.collection.transitions, joint_batch=False)
    step = acting(baseline)
    rate(step, sizes.warm_up, device)
    rates = [rate(step, sizes.updates, device) for _ in range(sizes.rounds)]
    report.row("baseline", rates)
    del baseline, step
    for name, settings in rows(device).items():
        if budget.left < kept + sizes.row:
            report.row(name, reason="not measured, no time")
            continue
        release(device)
        try:
            report.row(name, **measure_row(config.override(settings), device, sizes))
        except Exception as error:  # a row that fails should not take the others with it
            report.row(name, reason=f"{type(error).__name__}: {error}".splitlines()[0])
    release(device)


def several(config: Config, device: torch.device, sizes: Sizes, budget: Budget, kept: float, report: Report) -> None:
    """Measure the updates per second of several seeds in turn, all together, and their encoders by themselves."""
    way = GRAPH if device.type == "cuda" else EAGER
    config = config.override([*WAYS[way], PRECISIONS["bfloat16"]])
    for number in sizes.seeds:
        name = f"{number} seeds in turn, {way}, bfloat16"
        if budget.left < kept + sizes.row:
            report.row(name, reason="not measured, no time")
            continue
        release(device)
        try:
            rate = rate_in_turn(config, number, device, sizes.warm_up, sizes.updates)
            memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
            report.row(name, [rate], memory_gb=memory)
            release(device)
            times = milliseconds(ways(config, number, device), sizes.rounds, max(sizes.updates // 5, 1), device)
            report.put(f"milliseconds, {number} encoders", times)
        except Exception as error:  # the others are measured
            report.row(name, reason=f"{type(error).__name__}: {error}".splitlines()[0])
    release(device)


def release(device: torch.device) -> None:
    """Forget what was compiled, and free the memory of the last row."""
    torch._dynamo.reset()  # more than eight trainings of one code would not be compiled
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def profile(config: Config, device: torch.device, sizes: Sizes) -> str:
    """Return a table of the kernels of some updates, the longest first."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, RunDirectory.create(Path(folder) / "run", config), None, device)
        step = updating(trainer)
        rate(step, sizes.warm_up, device)
        with torch.profiler.profile(activities=kinds) as found:
            rate(step, min(sizes.updates, 10), device)
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=key, row_limit=40))


def commands(path: Path, options: Sequence[str]) -> list[list[str]]:
    """Return the commands of one run: train it, draw it, check it."""
    return [
        [script("pjepa-train"), *options, "--run-dir", str(path)],
        [script("pjepa-figure"), str(path), "--out", str(path / "figure-2.png")],
        [script("bisim-check"), str(path), "--json", str(path / "check.json")],
    ]


def script(name: str) -> str:
    """Return the path of an installed command."""
    return str(Path(sys.executable).with_name(name))


def execute(command: Sequence[str], seconds: float) -> tuple[int, str]:
    """Run a command for so many seconds at most; return its exit status, 124 if it took longer, and what it wrote."""
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "4")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            text, _ = process.communicate(timeout=max(seconds, 1))
        except subprocess.TimeoutExpired:
            process.terminate()  # a training saves its state
            return 124, process.communicate()[0]
        return process.returncode, text


def finish(path: Path, options: Sequence[str], budget: Budget) -> dict[str, Any]:
    """Do the commands of one run one after the other; return their statuses, seconds, and what was found."""
    found: dict[str, Any] = {}
    for command in commands(path, options):
        started = time.monotonic()
        status, text = execute(command, budget.left)
        name = Path(command[0]).name
        found[name] = {"status": status, "seconds": round(time.monotonic() - started, 1)}
        with open(path.with_suffix(".txt"), "a", encoding="utf-8") as file:
            file.write(f"{name}: status {status}\n{text}\n")
    if (path / "report.json").is_file():
        keys = ("updates", "seconds", "nearest_centroid_accuracy", "best_nearest_centroid_accuracy",
                "within_across_ratio")  # fmt: skip
        report = json.loads((path / "report.json").read_text())
        found |= {key: report[key] for key in keys}
    if (path / "metrics.csv").is_file():
        metrics = MetricsFile(path / "metrics.csv", until=sys.maxsize)
        found["updates_per_second"] = metrics.column("charts/updates_per_second")[1:]
    if (path / "check.json").is_file():
        found["verdict"] = json.loads((path / "check.json").read_text())["verdict"]
    return found


def trainings(options: argparse.Namespace, way: str, sizes: Sizes, budget: Budget, report: Report) -> None:
    """Train seeds side by side at the paper's scale, as many updates as there is time for."""
    seconds = budget.left - sizes.end
    updates = 8 if options.quick else updates_in(seconds, len(options.seeds), report.rates(f"{way}, bfloat16"))
    settings = [*(TINY if options.quick else []), *WAYS[way], PRECISIONS["bfloat16"]]
    shared = ["--preset", "paper", "--updates", str(updates), "--device", options.device]
    shared += [part for each in settings for part in ("--set", each)]
    with ThreadPoolExecutor(len(options.seeds)) as pool:
        runs = {
            seed: pool.submit(finish, options.out / f"seed-{seed}", [*shared, "--seed", str(seed)], budget)
            for seed in options.seeds
        }
        for seed, run in runs.items():
            report.put(f"training, seed {seed}", run.result())


def updates_in(seconds: float, number: int, rates: Sequence[float]) -> int:
    """Return how many updates each of several trainings can do side by side, with a fifth of the time for what else.

    Args:
        seconds: that there are.
        number: of trainings.
        rates: updates per second of one alone; where there are none, 40.
    """
    speed = min(rates, default=40.0)
    return max(int(0.8 * seconds * speed / number) // 1_000 * 1_000, 1_000)


def table(values: Mapping[str, Any]) -> str:
    """Format the rows that were measured as the page has them, and name the others."""
    measured = [row for row in values["rows"] if row["rates"]]
    others = [f"{row['name']}: {row['reason']}" for row in values["rows"] if not row["rates"]]
    return "\n".join([recorded_table({"rows": measured}), *([""] if others else []), *others])


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder of all results (default: gpu)")
    parser.add_argument("--seconds", type=float, default=870, help="for everything (default: 870)")
    parser.add_argument(
        "--seeds", type=seed_range, default=seed_range("0-1"), help="trained side by side (default: 0-1)"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to do (default: all)")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --quick (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all parts run")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do all parts and print the table."""
    options = make_parser().parse_args(arguments)
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    if cuda and not torch.cuda.is_available():
        raise SystemExit("benchmarks.speed.gpu: PyTorch finds no CUDA device; --quick --device cpu tries the script")
    sizes, budget, report = QUICK if options.quick else Sizes(), Budget(options.seconds), Report(options.out)
    config = small(make_config("paper")).override(TINY if options.quick else [])
    report.put("provenance", start(config, device))
    if "tests" in options.parts:
        report.put("tests", tests(options.out, sizes.tests))
    if "throughput" in options.parts:
        kept = 0.5 * options.seconds if "trainings" in options.parts and not options.quick else 0.0
        throughput(config, device, sizes, budget, kept, report)
        (options.out / "table.md").write_text(table(report.values) + "\n")
    if "seeds" in options.parts:
        kept = 0.4 * options.seconds if "trainings" in options.parts and not options.quick else 0.0
        several(config, device, sizes, budget, kept, report)
        (options.out / "table.md").write_text(table(report.values) + "\n")
    if "profile" in options.parts:
        chosen = [*WAYS[GRAPH if cuda else EAGER], PRECISIONS["bfloat16"]]
        (options.out / "profile.txt").write_text(profile(config.override(chosen), device, sizes))
    if "trainings" in options.parts:
        trainings(options, INDUCTOR if cuda else EAGER, sizes, budget, report)
    print(
        f"\n{table(report.values)}\n\n{options.seconds - budget.left:.0f} s; all of it is in {options.out}", flush=True
    )


if __name__ == "__main__":
    main()
