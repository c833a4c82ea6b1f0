"""Measure the time until clusters are compact: the laptop preset against plain loops with the same network.

Command: ``uv run python -m benchmarks.speed.race``. They train in turns, some updates at a time, until a held-out
accuracy of 0.97. Evaluation and collection, of equally much data, are not timed.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer

from benchmarks.speed.baseline import Baseline
from benchmarks.speed.throughput import Step, updating
from benchmarks.tables import markdown, seed_range, spread

COMPACT = 0.97
"""Held-out accuracy that ends the race."""

PLAIN = [
    "objective.transition_weight=0.2", "objective.transition_warmup=0", "optimization.updates=3000",
    "optimization.batch_size=128", "optimization.learning_rate=1e-3", "optimization.encoder_learning_rate_factor=1",
    "optimization.clip=200", "optimization.averaging_age=0", "evaluation.batch_norm_samples=0",
]  # fmt: skip
"""Adam as one would first try it: a learning rate of 1e-3 with a cosine for all parameters, constant loss weights."""


@dataclass
class Contestant:
    """Hold one training of the race: how it does an update, which model is evaluated, and its results so far."""

    step: Step
    model: Callable[[], PJEPA]
    most: int
    seconds: float = 0.0
    updates: int = 0
    accuracy: list[float] = field(default_factory=list)

    @property
    def there(self) -> bool:
        """Return true once the accuracy is reached."""
        return bool(self.accuracy) and self.accuracy[-1] >= COMPACT

    def go_on(self, updates: int, held_out: HeldOut) -> None:
        """Train for some updates, then evaluate."""
        started = time.perf_counter()
        for _ in range(min(updates, self.most - self.updates)):
            self.step()
            self.updates += 1
        self.seconds += time.perf_counter() - started
        self.accuracy.append(held_out.accuracy(self.model().encode(held_out.images).numpy()))


def preset(config: Config, folder: Path) -> Contestant:
    """Prepare the training that `pjepa-train` does."""
    run = RunDirectory.create(folder / "run", config)
    trainer = Trainer(config, run, collect_dataset(config), torch.device("cpu"))

    def evaluated() -> PJEPA:
        trainer.renew_batch_statistics()
        return trainer.evaluated

    return Contestant(updating(trainer), evaluated, config.optimization.updates)


def loop(config: Config) -> Contestant:
    """Prepare the plain loop, with its transitions collected in advance."""
    baseline = Baseline(config, torch.device("cpu"), config.collection.transitions, joint_batch=True)
    return Contestant(baseline.step, lambda: baseline.model, config.optimization.updates)


def race(seed: int, every: int, folder: Path, plain: bool) -> dict[str, Contestant]:
    """Train all contestants of a seed until each has reached the accuracy or done all of its updates."""
    config = make_config(seed=seed)
    held_out = HeldOut(config)
    contestants = {
        "the laptop preset": preset(config, folder),
        "its recipe, plain loop": loop(config.override(["optimization.averaging_age=0"])),
    }
    if plain:
        contestants["Adam 1e-3, plain loop"] = loop(config.override(PLAIN))
    while going := [each for each in contestants.values() if not each.there and each.updates < each.most]:
        for each in going:
            each.go_on(every, held_out)
    return contestants


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seed_range, default=seed_range("20-22"), help="first-last (default: 20-22)")
    parser.add_argument("--every", type=int, default=25, help="updates between two evaluations (default: 25)")
    parser.add_argument("--plain", action="store_true", help="also race Adam as one would first try it")
    parser.add_argument("--json", type=Path, help="write updates, seconds and accuracies of every seed into this file")
    return parser


def main() -> None:
    """Race the seeds and print the table."""
    options = make_parser().parse_args()
    found: dict[str, list[Contestant]] = {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            for name, each in race(seed, options.every, Path(folder), options.plain).items():
                found.setdefault(name, []).append(each)
                print(f"seed {seed}, {name}: {each.accuracy[-1]:.3f} after {each.updates} updates, "
                      f"{each.seconds:.0f} s", flush=True)  # fmt: skip
    first = next(iter(found.values()))
    rows = [
        [name, spread([each.updates for each in rivals], ".0f"), spread([each.seconds for each in rivals], ".0f"),
         spread([own.seconds / each.seconds for own, each in zip(first, rivals, strict=True)], ".2f"),
         f"{sum(each.there for each in rivals)} of {len(rivals)}"]
        for name, rivals in found.items()
    ]  # fmt: skip
    print(markdown(["", f"updates to {COMPACT}", "seconds", "the preset's time over it", "reached"], rows))
    if options.json:
        kept = {name: [{"updates": each.updates, "seconds": each.seconds, "accuracy": each.accuracy} for each in rivals]
                for name, rivals in found.items()}  # fmt: skip
        options.json.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
