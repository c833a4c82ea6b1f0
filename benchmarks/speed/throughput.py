"""Measure the updates per second of training with each fast path off, all off, and of a plain baseline loop.

Command: ``uv run python -m benchmarks.speed.throughput``, on a CPU or a GPU. All rows of a table take turns in one
process; take their ratios. ``--json`` writes every measurement. ``--recorded`` prints the table of what was measured on
a GPU, from ``records/gpu.json``, and measures nothing.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.compute.precision import has_bfloat16
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.config.schema import Config
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer

from benchmarks.speed.baseline import Baseline
from benchmarks.studies.records import RECORDS
from benchmarks.tables import markdown

RECORD = RECORDS / "gpu.json"
"""What was measured on a GPU: rates of each way to compute, a profile, and a run of the preset `laptop`."""

TRANSITIONS = 2_000
"""Transitions of the replay buffer. The speed of an update does not depend on their number."""

Step = Callable[[], object]


def small(config: Config) -> Config:
    """Return the configuration with little data, a small evaluation, and batches of 256, twice the laptop preset's."""
    return config.override([
        f"collection.transitions={TRANSITIONS}", "optimization.batch_size=256", "evaluation.reference_per_count=2",
        "evaluation.scored_per_count=2", "evaluation.transitions=100", "evaluation.probe_per_count=0",
    ])  # fmt: skip


def variants(config: Config, device: torch.device) -> dict[str, list[str]]:
    """Return the settings of each row by its name."""
    cuda = device.type == "cuda"
    off = {
        "observations encoded one after the other": ["compute.joint_batch=false"],
        "channels first, plain convolutions, Adam one tensor at a time": ["compute.fast_paths=false"],
        "looked at after every update": ["compute.check_every=1"],
    }
    if has_bfloat16(device.type):
        name = "float32" if config.optimization.autocast else "bfloat16"
        off[name] = [f"optimization.autocast={json.dumps(not config.optimization.autocast)}"]
    if cuda:
        off |= {
            "not compiled": ["compute.compile=off"],
            "not one graph": ["compute.graph=off"],
            "frames on the host": ["compute.frame_storage=host"],
        }
    together = [assignment for name, each in off.items() if name != "bfloat16" for assignment in each]
    rows = {"the default": [], **off, "all of this": together}
    return rows if cuda else rows | {"compiled": ["compute.compile=on"]}


@contextlib.contextmanager
def contestants(config: Config, device: torch.device) -> Iterator[dict[str, Step]]:
    """Prepare a training for each row, the baseline first; yield functions that do one update."""
    with tempfile.TemporaryDirectory() as folder:
        joint = config.network.normalization == "batch"  # encoded separately, batches have other statistics
        steps = {"baseline": acting(Baseline(config, device, TRANSITIONS, joint_batch=joint))}
        data = None if config.collection.while_training else collect_dataset(config)
        for number, (name, assignments) in enumerate(variants(config, device).items()):
            chosen = config.override(assignments)
            run = RunDirectory.create(Path(folder) / str(number), chosen)
            steps[name] = updating(Trainer(chosen, run, data, device))
        yield steps


def acting(baseline: Baseline) -> Step:
    """Return a function that does one environment step and one update of the baseline."""

    def step() -> object:
        baseline.act()
        return baseline.step()

    return step


def updating(trainer: Trainer) -> Step:
    """Return the function that does one update of a training."""
    trainer.model.train()
    return trainer.step


def measure(steps: Mapping[str, Step], rounds: int, updates: int, device: torch.device) -> dict[str, list[float]]:
    """Measure the updates per second of each row in each round; the rows take turns."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            wait(device)
            started = time.perf_counter()
            for _ in range(updates):
                step()
            wait(device)
            if round_:  # the first round warms up and compiles
                rates[name].append(updates / (time.perf_counter() - started))
    return rates


def wait(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratios(rates: Mapping[str, list[float]], name: str, other: str) -> float:
    """Return the median over rounds of the ratio of one row's rate to another's."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))


def table(rates: Mapping[str, list[float]]) -> str:
    """Format each row's rate and its ratios to the default and to the baseline."""
    rows = [
        [name, f"{statistics.median(each):.3g}", f"{min(each):.3g}..{max(each):.3g}",
         f"{ratios(rates, name, 'the default'):.2f}", f"{ratios(rates, name, 'baseline'):.2f}"]
        for name, each in rates.items()
    ]  # fmt: skip
    return markdown(["", "updates/s, median", "smallest..largest", "of the default", "x baseline"], rows)


def recorded_table(record: Mapping[str, Any]) -> str:
    """Format the rows of a record; those with a star were measured with a prototype."""
    baseline = statistics.median(record["rows"][0]["rates"])
    rows = []
    for each in record["rows"]:
        rates, memory, warm = each["rates"], each["memory_gb"], each["warm_seconds"]
        rows.append([
            each["name"] + " *" * each["prototype"], f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f}..{max(rates):.1f}" if len(rates) > 1 else "",
            f"{statistics.median(rates) / baseline:.2f}", "" if warm is None else f"{warm:.1f}",
            "" if memory is None else f"{memory:.2f}",
        ])  # fmt: skip
    return markdown(["", "updates/s, median", "smallest..largest", "x baseline", "until warm, s", "memory, GB"], rows)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--presets", nargs="+", choices=PRESETS, default=list(PRESETS), help="presets to measure (default: all)"
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu or cuda (default: cuda if there is one)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the one that warms up (default: 5)")
    parser.add_argument(
        "--updates", type=int, help="updates per row and round (default: 1 to 200, by preset and device)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        help="set a field of the configuration of all rows",
    )
    parser.add_argument("--json", type=Path, help="write all rates into this file")
    parser.add_argument("--recorded", action="store_true", help="print what was recorded on a GPU, and exit")
    return parser


def main() -> None:
    """Measure the presets and print their tables."""
    options = make_parser().parse_args()
    if options.recorded:
        print(recorded_table(json.loads(RECORD.read_text())))
        return
    device = torch.device(options.device)
    measured = {}
    for preset in options.presets:
        config = small(make_config(preset)).override(options.set)
        updates = options.updates or (200 if device.type == "cuda" else {"laptop": 8}.get(preset, 1))
        with contestants(config, device) as steps:
            rates = measure(steps, options.rounds, updates, device)
        measured[preset] = rates
        print(f"\n{preset} on {device}, {torch.get_num_threads()} threads\n\n{table(rates)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
