"""Whether memory stays flat: training with its environment for an hour, a million resets, ten thousand checkpoints.

Run it with ``uv run python benchmarks/soak.py``; ``--minutes`` and ``--share`` make it shorter. It prints the table of
docs/reliability.md: memory is that of the process after a tenth of the time, and the most it had after that.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import counting_env
import gymnasium
import torch
from pjepa_agent.checkpoint import load_checkpoint, save_checkpoint
from pjepa_agent.config import make_config
from pjepa_agent.model import PJEPA
from pjepa_agent.run_directory import RunDirectory
from pjepa_agent.training import Training
from study import markdown

SAMPLES = 200
"""How often memory is looked at."""

Soak = Callable[[], Iterator[float]]
"""Does something for long, and says again and again which share of it is done."""


def main() -> None:
    """Soak, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of training (default: 60)")
    parser.add_argument("--share", type=float, default=1.0, help="of the resets and the checkpoints (default: 1)")
    options = parser.parse_args()
    resets, checkpoints = int(1_000_000 * options.share), int(10_000 * options.share)
    soaks: dict[str, Soak] = {
        f"training and environment, {options.minutes:g} minutes": lambda: training(60 * options.minutes),
        f"{resets:,} resets": lambda: resetting(resets),
        f"{checkpoints:,} checkpoints rotated": lambda: checkpointing(checkpoints),
    }
    print(markdown(
        ["", "seconds", "MiB after a tenth", "most after that", "growth", "open files, before and after"],
        [[name, *measure(soak)] for name, soak in soaks.items()],
    ))  # fmt: skip


def measure(soak: Soak) -> list[str]:
    """Memory and open files over one soak."""
    began, files = time.perf_counter(), open_files()
    warm: float | None = None
    most = next_look = 0.0
    for share in soak():
        if share < next_look:
            continue
        next_look = share + 1 / SAMPLES
        if share >= 0.1:
            now = resident()
            warm = now if warm is None else warm
            most = max(most, now)
    assert warm is not None
    return [f"{time.perf_counter() - began:.0f}", f"{warm:.1f}", f"{most:.1f}", f"{most / warm - 1:.2%}",
            f"{files}, {open_files()}"]  # fmt: skip


def training(seconds: float) -> Iterator[float]:
    """The laptop's network and batches, on transitions that are collected meanwhile, with its evaluations."""
    config = make_config().override([
        "collection.online=true", "collection.transitions=20000", "optimization.updates=1000000",
        "optimization.schedule=constant", "optimization.learning_rate=1e-3",
    ])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config)
        trained = Training(config, run, None, torch.device("cpu"))
        began = time.perf_counter()
        trained.model.train()
        while (done := time.perf_counter() - began) < seconds:
            trained.step()
            trained.update += 1
            if trained.update % config.evaluation.every == 0:
                trained.held_out.measure(trained.evaluated)
                trained.model.train()
            yield done / seconds


def resetting(number: int) -> Iterator[float]:
    """Resets of the registered environment, a step after each."""
    assert counting_env.__name__
    environment = gymnasium.make("CountingEnv-v0")
    environment.reset(seed=0)
    for done in range(number):
        environment.step(environment.action_space.sample())
        environment.reset()
        yield done / number


def checkpointing(number: int) -> Iterator[float]:
    """Checkpoints of the laptop's model, the last three kept; the newest is read now and then."""
    state = {"model": PJEPA(make_config().override(["network.width=4", "network.latent_dim=16"])).state_dict()}
    with tempfile.TemporaryDirectory() as folder:
        path, *older = RunDirectory(folder).checkpoints(3)
        path.parent.mkdir()
        for done in range(number):
            save_checkpoint(path, {"update": done, **state}, older)
            if done % 100 == 0:
                assert load_checkpoint(path)["update"] == done
            yield done / number
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
