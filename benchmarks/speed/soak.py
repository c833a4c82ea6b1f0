"""Measure whether memory stays flat over an hour of training, a million resets and ten thousand checkpoints.

Command: ``uv run python -m benchmarks.speed.soak``; ``--minutes`` and ``--share`` shorten it. The table has the
resident memory of the process after a tenth of the work, and its maximum after that.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.checkpoint import load_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer

from benchmarks.tables import markdown

SAMPLES = 200
"""How often the memory is sampled."""

Look = Callable[[float], None]
"""Sample the memory at a share, 0 to 1, of the work."""

Soak = Callable[[Look], None]
"""Do long work and report each share that is done."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes of training (default: 60)")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the resets and checkpoints, 0 to 1 (default: 1)"
    )
    return parser


def main() -> None:
    """Run each soak and print its row."""
    options = make_parser().parse_args()
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
    """Measure memory and open files over one soak."""
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
    """Train the laptop preset's network on transitions that are collected online, with evaluations and checkpoints."""
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
    """Reset the registered environment again and again, with a step before each reset."""
    environment = CountingDomain(CollectionConfig()).make_environment()
    environment.reset(seed=0)
    for done in range(number):
        environment.step(environment.action_space.sample())
        environment.reset()
        look(done / number)


def checkpointing(look: Look, number: int) -> None:
    """Save checkpoints of a small model, keeping the last three; load the newest after every hundred."""
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
    """Return the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    """Count the files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


if __name__ == "__main__":
    main()
