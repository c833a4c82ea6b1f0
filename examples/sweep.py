"""Train seeds and settings in parallel with Ray Tune, each on a core or a share of a GPU.

    uv run --group consumers python examples/sweep.py runs/sweep

Every trial is a run directory. Run it again to resume the trials that were stopped.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import torch
from pjepa_agent import RunDirectory, make_config
from pjepa_agent.run import prepare, train_run
from ray import tune

VARIED = {"objective.transition_weight": tune.grid_search([0.2, 0.5])}
"""Fields that are varied, besides the seed, by their names in `config.json`."""


def train(trial: dict[str, Any], folder: Path, updates: int | None, common: list[str]) -> None:
    """Train or resume a run and report its measures."""
    path = folder / "-".join(f"{name.split('.')[-1]}-{value}" for name, value in trial.items())
    if (path / "config.json").is_file():
        run, config = RunDirectory.open(path)
    else:
        chosen = make_config(seed=trial["seed"], updates=updates).override(common)
        config = prepare(chosen.override(f"{name}={trial[name]}" for name in VARIED))
        run = RunDirectory.create(path, config)
    report = json.loads(run.report.read_text()) if run.report.is_file() else train_run(run, config)
    tune.report({name: report[name] for name in ("nearest_centroid_accuracy", "within_across_ratio", "seconds")})


def main() -> None:
    """Train all trials, one per core at a time, and print their results, the best first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the run directories and Ray's logs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of every variant (0 1 2)")
    parser.add_argument("--updates", type=int, help="of every run, instead of the preset's")
    parser.add_argument("--gpu", type=float, default=0.25, help="share of a GPU for a trial, if there is one (0.25)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="for all runs")
    options = parser.parse_args()
    folder = options.folder.resolve()
    ray.init(log_to_driver=False, include_dashboard=False)
    resources = {"cpu": 1, "gpu": options.gpu if torch.cuda.is_available() else 0}
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train, folder=folder, updates=options.updates, common=options.set), resources
        ),
        param_space={"seed": tune.grid_search(options.seeds), **VARIED},
        run_config=tune.RunConfig(name="ray", storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    names = [
        "config/seed",
        *(f"config/{name}" for name in VARIED),
        "nearest_centroid_accuracy",
        "within_across_ratio",
        "seconds",
    ]
    table = results.get_dataframe()[names].sort_values("nearest_centroid_accuracy", ascending=False)
    print(table.to_string(index=False))
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed; Ray's logs are in {folder / 'ray'}")


if __name__ == "__main__":
    main()
