"""Continue runs at a constant learning rate in several ways from one state, and tabulate how their clusters diffuse.

Command: ``uv run python -m benchmarks.studies.diffusion``. A way without a record in ``benchmarks/records`` is measured
first, two minutes of a core. The run that it continues is taken from ``runs/stability``, or trained, seven minutes.
"""

import argparse
import copy
import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bisim_theory import read_transitions
from numpy.typing import NDArray
from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.evaluation import clusters as geometry
from pjepa_agent.evaluation.held_out import VIEWS
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.pjepa import PJEPAObjective
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import Rows
from pjepa_agent.training import Trainer
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.studies.records import UPDATE, Table
from benchmarks.studies.stability import VARIANTS
from benchmarks.studies.study import add_only, study_parser, train
from benchmarks.tables import markdown

UPDATES, EVERY = 200, 20
NAME = "constant-rate-no-averaging"
TABLE = "diffusion.csv"
Way = Callable[[Trainer], None]


def _rate(factor: float) -> Way:
    def change(trainer: Trainer) -> None:
        trainer.optimizer.scale_rates(factor)

    return change


def _objective(**values: Any) -> Way:
    def change(trainer: Trainer) -> None:
        assert isinstance(trainer.objective, PJEPAObjective)
        trainer.objective.objective = dataclasses.replace(trainer.objective.objective, **values)

    return change


def _larger_batch(trainer: Trainer) -> None:
    data = read_transitions(trainer.run.transitions)
    size = 4 * trainer.config.optimization.batch_size
    trainer.replay = DatasetReplay(data, size, trainer.config.seed, trainer.device)


WAYS: dict[str, Way] = {
    "as-it-was": lambda trainer: None,
    "tenth-of-the-rate": _rate(0.1),
    "no-rate": _rate(0.0),
    "four-times-the-batch": _larger_batch,
    "without-transition-loss": _objective(transition_weight=0.0),
    "without-auxiliary-loss": _objective(auxiliary_weight=0.0),
}
"""Changes of the training at the state that it continues from. At a learning rate of 0 the running statistics of batch
normalisation alone go on changing."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "stability")
    add_only(parser, WAYS)
    return parser


def main() -> None:
    """Measure what is missing and print the table."""
    options = make_parser().parse_args()
    logging.getLogger("torchrl").setLevel(logging.WARNING)  # it announces storages in the middle of the table
    for seed in options.seeds:
        for name in options.only:
            record(Table(options.records / TABLE), options.runs / f"{NAME}-{seed}", name, seed)
    print(table(Table(options.records / TABLE), options.seeds, options.only))


def record(records: Table, run: Path, way: str, seed: int) -> None:
    """Continue a run in one way and record the measures, unless they are recorded. Train the run if it is not there.

    Raises:
        SystemExit: the run could not be trained.
    """
    if (way, seed) in records.read():
        return
    if train(run, [*VARIANTS[NAME], "--seed", str(seed)]):
        raise SystemExit(f"{run}: not trained")
    records.put((way, seed), follow(run, WAYS[way]))


def table(records: Table, seeds: Sequence[int], ways: Iterable[str] = WAYS) -> str:
    """Format a row a way: means over evaluations and seeds, in brackets the lowest evaluation of any seed."""
    rows, recorded = [], records.read()
    for name in ways:
        runs = [recorded[name, seed] for seed in seeds]
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
    """Continue a copy of a run in one way and return measures every `EVERY` updates.

    ``running`` is the accuracy of the weights with the running batch statistics, ``exact`` that of the same weights
    with batch statistics taken anew, ``averaged`` that of exponentially averaged weights (0.995) with statistics taken
    anew. All but the first are measured with the statistics taken anew. ``moved`` is the root mean square distance
    that embeddings moved since the last evaluation, per update and over the smallest gap between two counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(path, Path(folder) / "run")
        run, config = RunDirectory.open(Path(folder) / "run")
        trainer = Trainer(config, run, read_transitions(run.transitions), torch.device("cpu"))
        scenes, names = CountingDomain(config.collection).redrawn_scenes(16, VIEWS, 2**40)
        held_out, frames = trainer.held_out, trainer.replay.frames.images
        trainer.model.train()
        way(trainer)
        averaged = AveragedModel(trainer.model, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
        averaged.update_parameters(trainer.model)
        rows: Rows = []
        losses: list[float] = []
        before = with_exact_statistics(trainer.model, frames).encode(held_out.images).numpy()
        for update in range(1, UPDATES + 1):
            losses.append(float(trainer.step()["transition"]))
            averaged.update_parameters(trainer.model)
            if update % EVERY == 0:
                exact = with_exact_statistics(trainer.model, frames)
                embedding = exact.encode(held_out.images).numpy()
                of_averaged = with_exact_statistics(averaged.module, frames).encode(held_out.images).numpy()
                moved = np.sqrt(np.square(embedding - before).sum(1).mean()) / EVERY
                row = {
                    UPDATE: update,
                    "running": held_out.accuracy(trainer.model.encode(held_out.images).numpy()),
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
    """Copy a model and replace its running batch statistics by the mean over batches of 256 observations."""
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
    """Measure the least L_dyn of any dynamics: the variance of a scene's embeddings over redrawn positions."""
    embedding = model.encode(scenes).numpy().astype(np.float64)
    _, _, spreads = geometry.clusters(embedding, names)
    return float(spreads.mean()) / embedding.shape[1] * VIEWS / (VIEWS - 1)


def smallest_gap(embedding: NDArray[Any], counts: NDArray[Any]) -> float:
    """Measure the smallest distance between the centroids of two counts."""
    _, centroids, _ = geometry.clusters(embedding, counts)
    return float(geometry.pairwise_distances(centroids, centroids)[np.triu_indices(len(centroids), 1)].min())


if __name__ == "__main__":
    main()
