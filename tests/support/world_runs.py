"""Small runs of the command in other worlds than the counting one."""

import csv

from pjepa_agent.cli.train import main
from pjepa_agent.runs.directory import RunDirectory

SMALL = [
    "network.width=4", "network.latent_dim=16", "network.hidden_dim=32", "optimization.batch_size=16",
    "optimization.autocast=false", "collection.transitions=300", "evaluation.every=4", "evaluation.transitions=100",
    "evaluation.batch_norm_samples=32",
]  # fmt: skip


def train(folder, *arguments, updates=8):
    """Train a small run in a new directory, and return the exit status and the run."""
    small = [part for setting in SMALL for part in ("--set", setting)]
    run_dir = folder / "run"
    status = main(["--updates", str(updates), "--run-dir", str(run_dir), *small, *map(str, arguments)])
    return status, RunDirectory(run_dir)


def rows_of(run):
    """Return the rows of a run's metrics, without what depends on the clock."""
    with open(run.metrics, newline="") as file:
        return [
            {name: value for name, value in row.items() if not name.startswith(("seconds", "charts/updates"))}
            for row in csv.DictReader(file)
        ]
