"""Draw the paper's Figure 2 for a set of runs: PCA, distances and reconstructions of held-out embeddings.

Of another world than the counting one, pairs along their witnesses stand in the place of reconstructions.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory import read_transitions
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.compactness import world_name
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes, make_held_out
from pjepa_agent.evaluation.reconstruction import Reconstruction, reconstruct, run_decoder
from pjepa_agent.figures.arrangement import Arrangement, arrange
from pjepa_agent.figures.run import POINTS, draw_distances, draw_pca, save_figure, unstyled
from pjepa_agent.figures.strips import Strips, draw_strips, find_strips
from pjepa_agent.figures.world import draw_classes, draw_ordered_distances, panel
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.checkpoint import Which, load
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import LEAST_EXPLAINED

EXAMPLES = 8
"""Observations drawn with their reconstructions: one of each count from 1."""

MARGIN, GAP = 2, 6
"""Pixels between an image and its reconstruction, and between pairs."""

PANEL, LEFT, COLUMN, TOP, ROW = 3.4, 0.75, 5.2, 1.15, 4.35
"""Inches: side of a panel, left margin, distance of columns, top margin, distance of rows."""

LINE = 0.25
"""Inches for one more line in the titles of columns."""

MORE = 1.3
"""Inches by which the panel of witnesses is wider than the others."""

STRIPS = 3
"""Most levels of which a pair is shown."""


@dataclass(frozen=True)
class Column:
    """Hold the data that one column of the figure shows of a run.

    Attributes:
        name: experiment and seed.
        embedding: (256, d) of held-out observations.
        counts: (256,) their counts.
        accuracy: nearest-centroid accuracy on held-out observations.
        reconstruction: the reconstruction of all scored observations.
        examples: (8,) indices of the observations drawn with their reconstructions.
    """

    name: str
    embedding: NDArray[np.float32]
    counts: NDArray[np.int64]
    accuracy: float
    reconstruction: Reconstruction
    examples: NDArray[np.int64]


@dataclass(frozen=True)
class WorldColumn:
    """Hold the data that one column of the figure shows of a run of another world.

    Attributes:
        name: world, auxiliary function and seed.
        arrangement: its held-out observations.
        strips: pairs of them along their witnesses.
        measures: of the model, by the names of ``metrics.csv``.
    """

    name: str
    arrangement: Arrangement
    strips: Strips
    measures: dict[str, float]


def load_column(path: str | os.PathLike[str], at: Which = "last") -> Column | WorldColumn:
    """Embed the held-out observations of a run, and reconstruct those of the counting world.

    A run of the counting world without a decoder gets one. In another world the episodes are collected, or read, again.

    Raises:
        RunError, DatasetError, OSError: a file of the run is missing or invalid.
        ConfigError: the run's environment, or its p, is there no more.
    """
    run, config = RunDirectory.open(path)
    model = load(path, at=at)
    held_out = read_held_out(run, config)
    if isinstance(held_out, HeldOutEpisodes):
        return _load_world_column(run, config, held_out, model)
    embedding = model.encode(held_out.images).numpy()
    if not np.isfinite(embedding).all():
        raise RunError(f"{path}: its encoder's embeddings are not finite, so there is nothing to draw")
    scored, counts = embedding[held_out.scored], held_out.counts[held_out.scored]
    chosen = np.random.default_rng(0).permutation(len(counts))[:POINTS]
    return Column(
        name=name_of(config),
        embedding=scored[chosen],
        counts=counts[chosen],
        accuracy=held_out.accuracy(embedding),
        reconstruction=reconstruct(run_decoder(run, config, model, at), held_out, model),
        examples=np.searchsorted(counts, np.arange(1, EXAMPLES + 1)),
    )


def read_held_out(run: RunDirectory, config: Config) -> HeldOut | HeldOutEpisodes:
    """Make the held-out data of a run again, with p as it was trained.

    Raises:
        RunError, DatasetError, OSError: a file of the run is missing or invalid.
        ConfigError: the run's environment, or its p, is there no more.
    """
    if config.counting:
        return HeldOut(config)
    spec = run.read_spec()
    auxiliary = Auxiliary(config, bins=spec.auxiliary_bins)
    auxiliary.restore(read_transitions(run.transitions))
    held_out = make_held_out(config, spec, auxiliary, run.held_out)
    assert isinstance(held_out, HeldOutEpisodes)
    return held_out


def _load_world_column(run: RunDirectory, config: Config, held_out: HeldOutEpisodes, model: PJEPA) -> WorldColumn:
    measures = held_out.measure(model)
    if math.isnan(measures["eval/spread"]):
        raise RunError(f"{run.path}: its encoder's embeddings are not finite, so there is nothing to draw")
    return WorldColumn(name_of(config), arrange(held_out, model), find_strips(held_out, model, STRIPS), measures)


def name_of(config: Config) -> str:
    """Return experiment and seed of a run, and its auxiliary function if it is not the experiment's default.

    Of another world than the counting one: the world, its auxiliary function and the seed.
    """
    auxiliary = config.objective.auxiliary
    if not config.counting:
        return f"{world_name(config)}, p: {auxiliary}, seed {config.seed}"
    usual = "random" if config.experiment == "random" else "reward"
    named = config.experiment if auxiliary == usual else f"{config.experiment}, auxiliary {auxiliary}"
    return f"{named}, seed {config.seed}"


@unstyled
def draw_figure_two(columns: Sequence[Column | WorldColumn], path: Path, at: Which = "last") -> None:
    """Write a figure with one column per run: PCA, distances, and reconstructions or witnesses below each other.

    Args:
        columns: at least one column.
        path: the file, written atomically in the format named by its suffix.
        at: the checkpoint that was loaded, named in the title.

    Raises:
        OSError: the file cannot be written.
    """
    top = TOP + (0.0 if all(isinstance(column, Column) for column in columns) else LINE)
    size = (COLUMN * len(columns), top + 3 * ROW)
    figure = Figure(figsize=size)
    best = "most compact" if all(isinstance(column, Column) for column in columns) else "best"
    when = "at the last update" if at == "last" else f"at the {best} update"
    figure.suptitle(f"Held-out observations, {when}", fontsize=14, y=1 - 0.3 / size[1])
    for number, column in enumerate(columns):
        corners = [(LEFT + number * COLUMN, size[1] - top - row * ROW - PANEL) for row in range(3)]
        if isinstance(column, Column):
            _draw_column([panel(figure, left, bottom, PANEL) for left, bottom in corners], column)
        else:
            left, bottom = corners.pop()
            widest = panel(figure, left - MORE / 2, bottom, PANEL + MORE, PANEL)
            _draw_world_column([*(panel(figure, *corner, PANEL) for corner in corners), widest], column)
    save_figure(figure, path, dpi=150)


def _draw_world_column(panels: Sequence[Axes], column: WorldColumn) -> None:
    """Draw PCA, distances and witnesses of one run of another world into its three panels."""
    pca, distances, witnesses = panels
    draw_classes(pca, column.arrangement)
    title = pca.get_title().replace("\n", " ")
    world, _, rest = column.name.partition(", ")
    pca.set_title(f"{world}\n{rest}\n", fontsize=12, weight="bold")
    pca.text(0.5, 1.025, title, transform=pca.transAxes, ha="center", fontsize=10)
    draw_ordered_distances(distances, column.arrangement)
    draw_strips(witnesses, column.strips, (PANEL + MORE, PANEL))
    witnesses.text(
        0.5, -0.03, measures_text(column.measures), transform=witnesses.transAxes, ha="center", va="top", fontsize=11
    )


def describe(column: Column | WorldColumn) -> str:
    """Say in one line what a column shows."""
    if isinstance(column, WorldColumn):
        return f"{column.name}: {measures_text(column.measures)}".replace("\n", ", ")
    return (
        f"{column.name}: nearest-centroid accuracy {column.accuracy:.4f}, reconstruction error "
        f"{column.reconstruction.error:.4f} in [-1, 1] "
        f"({column.reconstruction.explained:.1%} of the pixels' variance explained)"
    )


def measures_text(measures: dict[str, float]) -> str:
    """Say what was measured of a model of another world, in two lines."""
    least, collapsed = measures[LEAST_EXPLAINED], measures["theorem/collapsed_pairs"]
    explained = "no pair to explain" if math.isnan(least) else f"least explained share (of 20 pairs): {least:.3f}"
    left = measures["theorem/unexplained_levels"]
    levels = "" if math.isnan(left) else f"; levels not explained: {left:.0f}"
    return f"{explained}{levels}\ncollapsed pairs: {collapsed:,.0f}; RankMe: {measures['eval/rankme']:.1f}"


def _draw_column(panels: Sequence[Axes], column: Column) -> None:
    """Draw PCA, distances and reconstructions of one run into its three panels."""
    pca, distances, pairs = panels
    draw_pca(pca, column.embedding, column.counts)
    pca.set_title(f"{column.name}\n", fontsize=13, weight="bold")
    pca.text(0.5, 1.025, f"PCA of {len(column.counts)} embeddings", transform=pca.transAxes, ha="center", fontsize=11)

    place = distances.get_position()
    draw_distances(distances, column.embedding, column.counts)
    distances.set_title("distances between them, sorted by count", fontsize=11)
    bar = distances.images[0].colorbar
    assert bar is not None
    bar.ax.set_box_aspect(None)
    distances.set_position(place)
    bar.ax.set_position((place.x1 + 0.03 * place.width, place.y0, 0.04 * place.width, place.height))

    pairs.imshow(mosaic(column.reconstruction, column.examples), interpolation="nearest")
    pairs.set_title("observations above, reconstructions below", fontsize=11)
    pairs.set_xticks([])
    pairs.set_yticks([])
    pairs.spines[:].set_visible(False)
    pairs.set_xlabel(
        f"nearest-centroid accuracy {column.accuracy:.3f}\n"
        f"reconstructed: {column.reconstruction.explained:.1%} of the pixels' variance",
        fontsize=12,
        labelpad=6,
    )


def mosaic(reconstruction: Reconstruction, examples: NDArray[np.int64]) -> NDArray[np.float64]:
    """Arrange pairs of observation and reconstruction in two strips: (h, w, 3) floats in [0, 1], white in between.

    Each reconstruction is stretched to the range [0, 1], so that faint ones are visible.
    """
    observed = reconstruction.images[examples] / 255
    decoded = np.stack([normalized(image) for image in reconstruction.decoded[examples]])
    pairs = [_stack(pair, MARGIN, 0) for pair in zip(observed, decoded, strict=True)]
    half = -(-len(pairs) // 2)
    return _stack([_stack(pairs[:half], GAP, 1), _stack(pairs[half:], GAP, 1)], 2 * GAP, 0)


def normalized(image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Stretch an image linearly, all channels alike, to minimum 0 and maximum 1; a constant image becomes black."""
    least, most = float(image.min()), float(image.max())
    return (image.astype(np.float64) - least) / (most - least if most > least else 1)


def _stack(images: Sequence[NDArray[np.float64]], gap: int, axis: int) -> NDArray[np.float64]:
    """Concatenate images along an axis with `gap` white pixels in between."""
    shape = list(images[0].shape)
    shape[axis] = gap
    white = np.ones(shape)
    parts = [part for image in images for part in (white, image)][1:]
    return np.concatenate(parts, axis)
