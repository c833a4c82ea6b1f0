"""Measure the time of each part of an update, and the floor that its operations and memory traffic set.

Command: ``uv run python -m benchmarks.speed.account``, on a CPU or a GPU. The device is waited for between parts.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.compute.precision import autocast
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.throughput import small, updating, wait
from benchmarks.tables import markdown


class Stopwatch:
    """Measure exclusive seconds by label: a nested block is not counted in the block around it."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._device, self._labels, self._since = device, [""], time.perf_counter()

    @contextlib.contextmanager
    def of(self, label: str, whole: bool = False) -> Iterator[None]:
        """Time a block under a label; if `whole`, including the blocks nested in it."""
        if self._labels[-1].startswith("="):
            yield
            return
        self._charge()
        self._labels.append(f"={label}" if whole else label)
        yield
        self._charge()
        self._labels.pop()

    def wrap(self, owner: Any, name: str, label: str, whole: bool = False) -> None:
        """Time every call of a method under a label."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.of(label, whole):
                return method(*arguments, **named)

        setattr(owner, name, timed)

    def _charge(self) -> None:
        wait(self._device)
        now = time.perf_counter()
        self.seconds[self._labels[-1].removeprefix("=")] += now - self._since
        self._since = now


class Traffic(TorchDispatchMode):
    """Count the bytes that operations read and write, as if no cache kept anything between two of them."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = any(a.alias_info is not None and not a.alias_info.is_write for a in func._schema.arguments)
        if not views:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors}.values())
        return result


@contextlib.contextmanager
def prepared(preset: str, device: torch.device, assignments: list[str]) -> Iterator[Trainer]:
    """Prepare a training of a preset with little data, not compiled, so that its parts can be timed."""
    config = small(make_config(preset)).override(["compute.compile=off", "compute.graph=off", *assignments])
    with tempfile.TemporaryDirectory() as folder:
        data = None if config.collection.while_training else collect_dataset(config)
        yield Trainer(config, RunDirectory.create(Path(folder) / "run", config), data, device)


def account(trainer: Trainer, device: torch.device, updates: int) -> dict[str, float]:
    """Measure the seconds per update of each part, the median over updates."""
    watch = Stopwatch(device)
    watch.wrap(trainer.replay, "sample", "sampling, gathering of frames")
    watch.wrap(trainer.model.encoder, "forward", "encoder, forward")
    watch.wrap(trainer.objective, "terms", "dynamics, head, losses")
    watch.wrap(trainer.optimizer, "minimize", "clipping, Adam")
    if (readouts := trainer.update_function.readouts) is not None:
        watch.wrap(readouts, "learn", "control heads, decoder: all", whole=True)
    watch.wrap(trainer.finite, "check", "looking whether all was finite")
    if trainer.averaged is not None:
        watch.wrap(trainer.averaged, "update", "averaging of weights")
    backward = Tensor.backward
    watch.wrap(Tensor, "backward", "backward")
    step, rows = updating(trainer), []
    try:
        for _ in range(updates + 2):
            watch.seconds.clear()
            with watch.of("the rest: logging, bookkeeping"):
                step()
            rows.append(dict(watch.seconds))
    finally:
        Tensor.backward = backward  # type: ignore[method-assign]
    parts = {"collection": collection(trainer)}
    labels = [label for label in dict.fromkeys(label for row in rows for label in row) if label]
    return parts | {label: statistics.median(row.get(label, 0.0) for row in rows[2:]) for label in labels}


def collection(trainer: Trainer, updates: int = 3_000) -> float:
    """Measure the mean seconds of collection per update; transitions are collected a thousand at a time."""
    first = max(trainer.update, trainer.config.collection.initial_transitions)
    trainer.replay.collect_until(first)
    started = time.perf_counter()
    for update in range(first, first + updates):
        trainer.replay.collect_until(update + 1)
    return (time.perf_counter() - started) / updates


def work(trainer: Trainer) -> tuple[int, int]:
    """Count the floating-point operations of an update's convolutions and products, and the bytes of all operations."""
    step = updating(trainer)
    with FlopCounterMode(display=False) as counter:
        step()
    with Traffic() as traffic:
        step()
    return counter.get_total_flops(), traffic.bytes


def peaks(device: torch.device, wanted: bool) -> tuple[float, float]:
    """Measure the device's peaks: operations per second of a matrix product, bytes per second of a copy."""
    size, big = (8192, 2**29) if device.type == "cuda" else (2048, 2**26)
    a, b = torch.randn(2, size, size, device=device)
    source = torch.zeros(big, device=device)
    target = torch.empty_like(source)
    products, copies = [], []
    for _ in range(8):
        with autocast(device.type, wanted):
            products.append(2 * size**3 / seconds(lambda: a @ b, device))
        copies.append(2 * source.nbytes / seconds(lambda: target.copy_(source), device))
    return max(products), max(copies)


def seconds(function: Any, device: torch.device) -> float:
    """Measure the seconds of a call, until the device has finished."""
    wait(device)
    started = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - started


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
    parser.add_argument("--updates", type=int, help="updates that are timed (default: 5 to 100, by preset and device)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="set a field of the configuration"
    )
    return parser


def main() -> None:
    """Print the parts and the floor of each preset."""
    options = make_parser().parse_args()
    device = torch.device(options.device)
    for preset in options.presets:
        updates = options.updates or (100 if device.type == "cuda" else {"laptop": 30}.get(preset, 5))
        with prepared(preset, device, options.set) as trainer:
            flops, traffic = work(trainer)
            rate, bandwidth = peaks(device, trainer.config.optimization.autocast)
            parts = account(trainer, device, updates)
        total = sum(parts.values())
        floors = flops / rate, traffic / bandwidth
        rows = [[label, f"{1e3 * each:.3g}", f"{each / total:.1%}"] for label, each in parts.items()]
        print(f"\n{preset} on {device}, {torch.get_num_threads()} threads\n")
        print(markdown(["", "ms an update", "share"], [*rows, ["together", f"{1e3 * total:.3g}", "100 %"]]))
        print(f"\n{flops / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s: {1e3 * floors[0]:.3g} ms;"
              f" {traffic / 1e9:.2f} GB at {bandwidth / 1e9:.1f} GB/s: {1e3 * floors[1]:.3g} ms;"
              f" an update takes {total / max(floors):.2f} times the larger, {total / sum(floors):.2f} times both",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
