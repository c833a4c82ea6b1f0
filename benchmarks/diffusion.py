"""Why compact clusters diffuse: a run at a constant learning rate is continued in several ways from one state.

Run it with ``uv run python benchmarks/diffusion.py``: it trains the run (some six minutes) unless ``runs/stability``
has it from the study of levers, continues it for 300 updates in each way, and prints a table.
"""

import argparse
import copy
import dataclasses
import functools
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bisim_theory import read_transitions
from numpy.typing import NDArray
from pjepa_agent import geometry
from pjepa_agent.buffer import Sampler
from pjepa_agent.collection import redrawn_scenes
from pjepa_agent.held_out import VIEWS, HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.run_directory import RunDirectory
from pjepa_agent.training import Training
from stability import VARIANTS
from study import markdown, train
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

UPDATES, EVERY = 300, 10
NAME = "constant-rate-no-averaging"
Way = Callable[[Training], None]


def _rate(factor: float) -> Way:
    def change(training: Training) -> None:
        schedule = training.optimization.state_dict()["schedule"]
        schedule["base_lrs"] = [factor * rate for rate in schedule["base_lrs"]]
        optimizer = training.optimization.state_dict()["optimizer"]
        for group in optimizer["param_groups"]:
            group["lr"] *= factor
        training.optimization.load_state_dict({"optimizer": optimizer, "schedule": schedule})

    return change


def _objective(**values: Any) -> Way:
    def change(training: Training) -> None:
        objective = dataclasses.replace(training.config.objective, **values)
        training.config = dataclasses.replace(training.config, objective=objective)

    return change


def _larger_batch(training: Training) -> None:
    data = read_transitions(training.run.transitions)
    size = 4 * training.config.optimization.batch_size
    training.sampler = Sampler(data, size, training.config.seed, training.device)


def _fixed_statistics(training: Training) -> None:
    for layer in training.model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
            layer.train = functools.partial(_stay, layer)


def _stay(layer: nn.Module, mode: bool = True) -> nn.Module:
    """In place of `train`, which is called for the whole model whenever that has been looked at."""
    return layer


WAYS: dict[str, Way] = {
    "as it was": lambda training: None,
    "a tenth of the learning rate": _rate(0.1),
    "no learning rate: the statistics alone go on": _rate(0.0),
    "the statistics of the batches fixed": _fixed_statistics,
    "four times the batch": _larger_batch,
    "without L_dyn": _objective(transition_weight=0.0),
    "without L_p": _objective(auxiliary_weight=0.0),
}


def main() -> None:
    """Train the run if need be, continue it in every way, and print what became of its clusters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/stability"), help="folder of the run directory")
    parser.add_argument("--seed", type=int, default=10, help="of the run (default: 10)")
    options = parser.parse_args()
    logging.getLogger("torchrl").setLevel(logging.WARNING)  # it announces storages in the middle of the table
    path = options.runs / f"{NAME}-{options.seed}"
    if train(path, [*VARIANTS[NAME], "--seed", str(options.seed)]):
        parser.error(f"{path}: not trained")
    print(markdown(
        ["continued", "accuracy", "exact statistics", "averaged weights", "L_dyn", "of it unpredictable", "spread",
         "moved per update, of the smallest gap"],
        [[name, *_row(follow(path, way))] for name, way in WAYS.items()],
    ))  # fmt: skip


def follow(path: Path, way: Way) -> list[dict[str, float]]:
    """Continue a copy of a run in some way; what is measured every few updates."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(path, Path(folder) / "run")
        run, config = RunDirectory.open(Path(folder) / "run")
        data = read_transitions(run.transitions)
        training = Training(config, run, data, torch.device("cpu"))
        scenes, names = redrawn_scenes(config.collection, 16, VIEWS, 2**40)
        training.model.train()
        way(training)
        averaged = AveragedModel(training.model, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
        averaged.update_parameters(training.model)
        rows, before = [], training.held_out.embed(training.model)[0]
        losses = []
        for update in range(1, UPDATES + 1):
            losses.append(float(training.step()["transition"]))
            training.update += 1
            averaged.update_parameters(training.model)
            if update % EVERY == 0:
                embedding, counts = training.held_out.embed(training.model)
                moved = np.sqrt(np.square(embedding - before).sum(1).mean()) / EVERY
                rows.append({
                    "accuracy": accuracy(training.held_out, training.model),
                    "exact": accuracy(training.held_out, with_exact_statistics(training)),
                    "averaged": accuracy(training.held_out, averaged.module),
                    "transition": float(np.mean(losses[-EVERY:])),
                    "unpredictable": unpredictable(training.model, scenes, names),
                    "spread": geometry.spread(embedding),
                    "moved": moved / smallest_gap(embedding, counts),
                })  # fmt: skip
                before = embedding
        return rows


def accuracy(held_out: HeldOut, model: PJEPA) -> float:
    """Nearest-centroid accuracy of a model."""
    return held_out.accuracy(model.encode(held_out.images).numpy())


def with_exact_statistics(training: Training, batches: int = 16) -> PJEPA:
    """The model with the statistics of all of 4,096 observations instead of those that ran along with its weights."""
    model = copy.deepcopy(training.model)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all batches
            nn.Module.train(layer)
    rows = torch.randperm(len(training.sampler.frames), generator=torch.Generator().manual_seed(0))[: 256 * batches]
    with torch.no_grad():
        for batch in rows.split(256):
            model.encoder(training.sampler.frames[batch])
    return model


def unpredictable(model: PJEPA, scenes: NDArray[np.uint8], names: NDArray[Any]) -> float:
    """The least L_dyn that any dynamics can have: how a scene's embeddings vary with the places of its objects."""
    embedding = model.encode(scenes).numpy().astype(np.float64)
    _, _, spreads = geometry.clusters(embedding, names)
    return float(spreads.mean()) / embedding.shape[1] * VIEWS / (VIEWS - 1)


def smallest_gap(embedding: NDArray[Any], counts: NDArray[Any]) -> float:
    """Smallest distance between the centroids of two counts."""
    _, centroids, _ = geometry.clusters(embedding, counts)
    return float(geometry.pairwise_distances(centroids, centroids)[np.triu_indices(len(centroids), 1)].min())


def _row(rows: list[dict[str, float]]) -> list[str]:
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    shown = [f"{columns[name].mean():.3f} ({columns[name].min():.3f})" for name in ("accuracy", "exact", "averaged")]
    share = columns["unpredictable"].mean() / columns["transition"].mean()
    return [*shown, f"{columns['transition'].mean():.4f}", f"{share:.2f}",
            f"{columns['spread'][0]:.2f} to {columns['spread'][-1]:.2f}", f"{columns['moved'].mean():.3f}"]  # fmt: skip


if __name__ == "__main__":
    main()
