"""Why compact clusters diffuse: runs at a constant learning rate are continued in several ways from one state.

Run it with ``uv run python -m benchmarks.studies.diffusion``: it prints a table of what ``benchmarks/records`` has.
What is missing there it makes first, and can be stopped: it continues a run for 200 updates in a way (two minutes of a
core), having trained that (seven minutes) unless ``runs/stability`` has it from the study of levers.
"""

import argparse
import copy
import dataclasses
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bisim_theory import read_transitions
from bisim_theory.files import atomic_write
from numpy.typing import NDArray
from pjepa_agent.collection.policy import redrawn_scenes
from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.evaluation import clusters as geometry
from pjepa_agent.evaluation.held_out import VIEWS
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training.trainer import Training
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.studies.stability import VARIANTS
from benchmarks.studies.study import RECORDS, train
from benchmarks.tables import markdown, seed_range

UPDATES, EVERY = 200, 20
NAME = "constant-rate-no-averaging"
Way = Callable[[Training], None]
Rows = list[dict[str, float]]


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
    training.sampler = DatasetReplay(data, size, training.config.seed, training.device)


WAYS: dict[str, Way] = {
    "as-it-was": lambda training: None,
    "tenth-of-the-rate": _rate(0.1),
    "no-rate": _rate(0.0),
    "four-times-the-batch": _larger_batch,
    "without-transition-loss": _objective(transition_weight=0.0),
    "without-auxiliary-loss": _objective(auxiliary_weight=0.0),
}
"""What is changed of the training, once, in the middle of it. Without a rate the running statistics alone go on."""


def main() -> None:
    """Make what is missing, and print what became of the clusters in every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/stability"), help="folder of the run directories")
    parser.add_argument("--records", type=Path, default=RECORDS / "diffusion", help="folder of the records")
    parser.add_argument("--seeds", type=seed_range, default=seed_range("10-12"), help="such as 10-12 (default)")
    parser.add_argument("--only", nargs="+", choices=WAYS, metavar="NAME", default=list(WAYS), help="these")
    options = parser.parse_args()
    logging.getLogger("torchrl").setLevel(logging.WARNING)  # it announces storages in the middle of the table
    for seed in options.seeds:
        for name in options.only:
            record(options.records / f"{name}-{seed}.json", options.runs / f"{NAME}-{seed}", seed, WAYS[name])
    print(table(options.records, options.seeds, options.only))


def record(path: Path, run: Path, seed: int, way: Way) -> None:
    """Continue a run in some way, having trained it if need be, and keep what was measured; nothing if that is kept."""
    if path.exists():
        return
    if train(run, [*VARIANTS[NAME], "--seed", str(seed)]):
        raise SystemExit(f"{run}: not trained")
    rows = follow(run, way)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(rows, indent=1) + "\n").encode())


def table(records: Path, seeds: Sequence[int], ways: Iterable[str] = WAYS) -> str:
    """A row a way: means over evaluations and seeds, in brackets the lowest evaluation of any seed."""
    rows = []
    for name in ways:
        runs: list[Rows] = [json.loads((records / f"{name}-{seed}.json").read_text()) for seed in seeds]
        columns = {key: np.array([[row[key] for row in run] for run in runs]) for key in runs[0][0]}
        rows.append([
            name,
            *(f"{columns[key].mean():.3f} ({columns[key].min():.3f})" for key in ("running", "exact", "averaged")),
            f"{columns['transition'].mean():.4f}",
            f"{columns['unpredictable'].mean() / columns['transition'].mean():.2f}",
            f"{columns['spread'][:, 0].mean():.2f} to {columns['spread'][:, -1].mean():.2f}",
            f"{EVERY * columns['moved'].mean():.2f}",
        ])  # fmt: skip
    return markdown(
        ["continued", "accuracy, running statistics", "exact statistics", "averaged weights too", "L_dyn",
         "of it unpredictable", "spread", f"moved in {EVERY} updates, of the smallest gap"],
        rows,
    )  # fmt: skip


def follow(path: Path, way: Way) -> Rows:
    """Continue a copy of a run in some way; what is measured every few updates.

    ``running`` is the accuracy of the weights with the batch statistics that ran along with them, ``exact`` of the same
    weights with statistics of their own, ``averaged`` of exponentially averaged weights (0.995) with theirs. All but
    the first is measured with exact statistics: ``moved`` is the root mean square of how far embeddings are from where
    they were at the last evaluation, an update.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(path, Path(folder) / "run")
        run, config = RunDirectory.open(Path(folder) / "run")
        training = Training(config, run, read_transitions(run.transitions), torch.device("cpu"))
        scenes, names = redrawn_scenes(config.collection, 16, VIEWS, 2**40)
        held_out, frames = training.held_out, training.sampler.frames
        training.model.train()
        way(training)
        averaged = AveragedModel(training.model, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
        averaged.update_parameters(training.model)
        rows: Rows = []
        losses: list[float] = []
        before = with_exact_statistics(training.model, frames).encode(held_out.images).numpy()
        for update in range(1, UPDATES + 1):
            losses.append(float(training.step()["transition"]))
            training.update += 1
            averaged.update_parameters(training.model)
            if update % EVERY == 0:
                exact = with_exact_statistics(training.model, frames)
                embedding = exact.encode(held_out.images).numpy()
                of_averaged = with_exact_statistics(averaged.module, frames).encode(held_out.images).numpy()
                moved = np.sqrt(np.square(embedding - before).sum(1).mean()) / EVERY
                row = {
                    "running": held_out.accuracy(training.model.encode(held_out.images).numpy()),
                    "exact": held_out.accuracy(embedding),
                    "averaged": held_out.accuracy(of_averaged),
                    "transition": float(np.mean(losses[-EVERY:])),
                    "unpredictable": unpredictable(exact, scenes, names),
                    "spread": geometry.spread(embedding),
                    "moved": moved / smallest_gap(embedding, held_out.counts),
                }
                rows.append({name: float(value) for name, value in row.items()})
                before = embedding
        return rows


def with_exact_statistics(model: PJEPA, frames: torch.Tensor, batches: int = 16) -> PJEPA:
    """The model with the statistics of 256 observations a batch instead of those that ran along with its weights."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all batches
            nn.Module.train(layer)
    rows = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))[: 256 * batches]
    with torch.no_grad():
        for batch in rows.split(256):
            model.encoder(frames[batch])
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


if __name__ == "__main__":
    main()
