"""Whether memory stays flat: training with its environment for an hour, a million resets, ten thousand checkpoints.

Run it with ``uv run python -m benchmarks.speed.soak``; ``--minutes`` and ``--share`` make it shorter. It prints a
table: memory is that of the process after a tenth of the time, and the most it had after that.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pjepa_agent.collection.policy import make_environment
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.checkpoint import load_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer

from benchmarks.tables import markdown

SAMPLES = 200
"""How often memory is looked at."""

Look = Callable[[float], None]
"""Looks at the memory when some share is done."""

Soak = Callable[[Look], None]
"""Does something for long, and has somebody look again and again."""


def main() -> None:
    """Soak, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of training (default: 60)")
    parser.add_argument("--share", type=float, default=1.0, help="of the resets and the checkpoints (default: 1)")
    options = parser.parse_args()
    resets, checkpoints = int(1_000_000 * options.share), int(10_000 * options.share)
    soaks: dict[str, Soak] = {
        f"training and environment, {options.minutes:g} minutes": lambda look: training(look, 60 * options.minutes),
        f"{resets:,} resets": lambda look: resetting(look, resets),
        f"{checkpoints:,} checkpoints rotated": lambda look: checkpointing(look, checkpoints),
    }
    print(markdown(
        ["", "seconds", "MiB after a tenth", "most after that", "growth", "open files, before and after"],
        [[name, *measure(soak)] for name, soak in soaks.items()],
    ))  # fmt: skip


def measure(soak: Soak) -> list[str]:
    """Memory and open files over one soak."""
    began, files = time.perf_counter(), open_files()
    seen: list[float] = []
    next_look = 0.1

    def look(share: float) -> None:
        nonlocal next_look
        if share >= next_look:
            seen.append(resident())
            next_look = share + 1 / SAMPLES

    soak(look)
    warm, most = seen[0], max(seen)
    return [f"{time.perf_counter() - began:.0f}", f"{warm:.1f}", f"{most:.1f}", f"{most / warm - 1:.2%}",
            f"{files}, {open_files()}"]  # fmt: skip


def training(look: Look, seconds: float) -> None:
    """The laptop's network and batches, on transitions that are collected meanwhile, evaluated and saved as usual."""
    config = make_config().override([
        "collection.online=true", "collection.transitions=20000", "optimization.updates=1000000",
        "optimization.schedule=constant", "optimization.learning_rate=1e-3",
    ])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config)
        trained = Trainer(config, run, None, torch.device("cpu"))
        began = time.perf_counter()
        with contextlib.suppress(Interrupted):
            trained.train(
                on_update=lambda update: look((time.perf_counter() - began) / seconds),
                should_stop=lambda: time.perf_counter() - began >= seconds,
            )


def resetting(look: Look, number: int) -> None:
    """Resets of the registered environment, a step after each."""
    environment = make_environment(CollectionConfig())
    environment.reset(seed=0)
    for done in range(number):
        environment.step(environment.action_space.sample())
        environment.reset()
        look(done / number)


def checkpointing(look: Look, number: int) -> None:
    """Checkpoints of a small model, the last three kept; the newest is read now and then."""
    state = {"model": PJEPA(make_config().override(["network.width=4", "network.latent_dim=16"])).state_dict()}
    with tempfile.TemporaryDirectory() as folder:
        path, *older = RunDirectory(folder).checkpoints(3)
        path.parent.mkdir()
        for done in range(number):
            save_checkpoint(path, {"update": done, **state}, older)
            if done % 100 == 0:
                assert load_checkpoint(path)["update"] == done
            look(done / number)
        assert len(list(path.parent.iterdir())) == 3


def resident() -> float:
    """MiB of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    """Files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


if __name__ == "__main__":
    main()
