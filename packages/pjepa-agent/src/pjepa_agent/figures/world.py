"""Draw the figures of one run of any world: PCA, distances and levels, and pairs along their witnesses."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pjepa_agent.evaluation.clusters import pairwise_distances
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes
from pjepa_agent.figures.arrangement import Arrangement, arrange
from pjepa_agent.figures.colors import UNKNOWN, markers, ordered_colors
from pjepa_agent.figures.run import draw_training_curves, save_figure, unstyled
from pjepa_agent.figures.strips import Strips, draw_strips, find_strips
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.metrics import MetricsFile

SIDE = 4.2
"""Inches of a panel's side."""

BADGE = 0.2
"""Inches of a class's number in the PCA, and the least distance of two ticks."""

LONGEST_BADGE = 4
"""Most characters of a name that is written into the PCA."""

MOST_LINES = 40
"""Most classes with a line between them in the heatmap."""

STRIPS = 5
"""Most levels of which a pair is shown."""


@unstyled
def write_world_figures(folder: Path, held_out: HeldOutEpisodes, model: PJEPA, metrics: MetricsFile) -> None:
    """Write ``pca.png``, ``distances.png``, ``witnesses.png`` and ``curves.png``.

    Args:
        folder: the folder to write to, created if missing.
        held_out: the held-out episodes of the run.
        model: the model to draw.
        metrics: the metrics of the run.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(exist_ok=True)
    arrangement = arrange(held_out, model)
    figure = Figure(figsize=(SIDE + 2.0, SIDE + 1.2))
    draw_classes(panel(figure, 0.8, 0.65, SIDE), arrangement)
    save_figure(figure, folder / "pca.png", dpi=120)
    figure = Figure(figsize=(2 * SIDE + 4.0, SIDE + 1.2))
    draw_ordered_distances(panel(figure, 0.8, 0.65, SIDE), arrangement)
    draw_levels(panel(figure, SIDE + 2.8, 0.65, SIDE), arrangement)
    save_figure(figure, folder / "distances.png", dpi=120)
    strips = find_strips(held_out, model, STRIPS)
    save_figure(witness_figure(strips), folder / "witnesses.png", dpi=120)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    draw_training_curves(figure, metrics)
    save_figure(figure, folder / "curves.png", dpi=120)


def witness_figure(strips: Strips) -> Figure:
    """Draw pairs along their witnesses on a figure of their own."""
    width, height = 8.0, max(1, len(strips.pairs)) * (1.7 if strips.images else 1.0)
    figure = Figure(figsize=(width + 0.4, height + 0.9))
    draw_strips(panel(figure, 0.2, 0.15, width, height), strips, (width, height))
    return figure


def panel(figure: Figure, left: float, bottom: float, width: float, height: float | None = None) -> Axes:
    """Add axes at a place and of a size in inches, by default as high as wide, so that panels align exactly."""
    wide, high = figure.get_size_inches()
    height = width if height is None else height
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def draw_classes(axes: Axes, arrangement: Arrangement) -> None:
    """Scatter the first two principal components, coloured and marked by class, or coloured by a scale.

    The axes must have their final size, by which is decided which classes are named where there is room.
    """
    points, share = principal_components(arrangement.embedding)
    scatter_classes(axes, points, arrangement)
    axes.margins(0.08)
    name_classes(axes, points, arrangement)
    add_value_bar(axes, arrangement)
    axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second component ({share[1]:.0%})")
    axes.set_title(f"PCA of {_count(arrangement)} held-out embeddings,\nby {arrangement.kind}", fontsize=11)


def scatter_classes(axes: Axes, points: NDArray[np.float64], arrangement: Arrangement) -> None:
    """Scatter points (n, 2), coloured and marked by class, or coloured by a scale; grey where the value is unknown."""
    value = arrangement.value
    unknown = np.isnan(value)
    axes.scatter(points[unknown, 0], points[unknown, 1], s=14, color=UNKNOWN, linewidths=0)
    if arrangement.names:
        colors, shapes = ordered_colors(len(arrangement.names)), markers(len(arrangement.names))
        for number in np.unique(value[~unknown]).astype(int):
            rows = points[value == number]
            look = {"color": colors[number], "marker": shapes[number], "linewidths": 0.4, "edgecolors": "white"}
            axes.scatter(rows[:, 0], rows[:, 1], s=26, **look)
    else:
        x, y = points[~unknown].T
        axes.scatter(x, y, s=22, c=value[~unknown], cmap=_colors(arrangement), norm=_norm(arrangement))


def principal_components(embedding: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal components (n, 2), and their shares (2,) of the variance."""
    centred = embedding.astype(np.float64) - embedding.mean(0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(embedding), 2))
    number = min(2, len(directions))
    points[:, :number] = centred @ directions[:number].T
    share = np.zeros(2)
    share[:number] = (singular**2 / max(float((singular**2).sum()), np.finfo(float).tiny))[:number]
    return points, share


def _count(arrangement: Arrangement) -> str:
    shown = len(arrangement.embedding)
    return f"{shown:,}" if shown == arrangement.every else f"{shown:,} of {arrangement.every:,}"


def _colors(arrangement: Arrangement) -> Colormap:
    return ListedColormap(ordered_colors(len(arrangement.names) or 256))


def _norm(arrangement: Arrangement) -> Normalize:
    if arrangement.names:
        return BoundaryNorm(np.arange(len(arrangement.names) + 1) - 0.5, len(arrangement.names))
    known = arrangement.value[~np.isnan(arrangement.value)]
    return Normalize(known.min(initial=0.0), known.max(initial=0.0) or 1.0) if len(known) else Normalize(0, 1)


def name_classes(axes: Axes, points: NDArray[np.float64], arrangement: Arrangement) -> None:
    """Write the name of each class at its centre, of those that would cover each other the first alone."""
    if not arrangement.names or max(map(len, arrangement.names)) > LONGEST_BADGE:
        return
    axes.set_xlim(*axes.get_xlim())  # as they are now
    axes.set_ylim(*axes.get_ylim())
    colors = ordered_colors(len(arrangement.names))
    taken: list[NDArray[np.float64]] = []
    figure = axes.figure
    for number, name in enumerate(arrangement.names):
        rows = points[arrangement.value == number]
        if not len(rows):
            continue
        centre = rows[np.square(rows - rows.mean(0)).sum(1).argmin()]
        place = axes.transData.transform(centre) / figure.dpi
        room = np.array([BADGE + 0.08 * len(name), BADGE + 0.06])
        if all((abs(place - other) > room).any() for other in taken):
            taken.append(place)
            axes.annotate(
                name, centre, xytext=(0, 7), textcoords="offset points", fontsize=8, ha="center", va="bottom",
                bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": colors[number], "alpha": 0.85},
            )  # fmt: skip


def add_value_bar(axes: Axes, arrangement: Arrangement) -> None:
    """Add a bar of the classes or of the scale to the right of axes, with as many names as there is room for."""
    mappable = ScalarMappable(_norm(arrangement), _colors(arrangement))
    bar = axes.figure.colorbar(mappable, cax=_bar_axes(axes), label=arrangement.kind)
    if arrangement.names:
        ticks = spaced(np.arange(len(arrangement.names)), _height(axes) / len(arrangement.names))
        bar.set_ticks(ticks, labels=[arrangement.names[tick] for tick in ticks])
        bar.ax.tick_params(length=0, which="both")
    if np.isnan(arrangement.value).any():
        bar.ax.text(0, -0.02, "grey: unknown", transform=bar.ax.transAxes, fontsize=7, va="top")


def _bar_axes(axes: Axes) -> Axes:
    place = axes.get_position()
    return axes.figure.add_axes((place.x1 + 0.03 * place.width, place.y0, 0.04 * place.width, place.height))


def _height(axes: Axes) -> float:
    return float(axes.bbox.height / axes.figure.dpi)


def spaced(places: NDArray[Any], inches: float) -> list[int]:
    """Return the numbers of the places whose ticks have room: the first, and each that is `BADGE` from the last one.

    Args:
        places: (n,) where ticks would be, in increasing order.
        inches: of one unit.
    """
    kept: list[int] = []
    for number, place in enumerate(places):
        if not kept or (place - places[kept[-1]]) * inches >= BADGE:
            kept.append(number)
    return kept


def draw_ordered_distances(axes: Axes, arrangement: Arrangement) -> None:
    """Draw the distances between embeddings as a heatmap, with lines between classes that stand in one piece."""
    order = arrangement.order
    embedding = arrangement.embedding[order]
    image = axes.imshow(pairwise_distances(embedding, embedding), cmap="viridis", interpolation="nearest")
    axes.figure.colorbar(image, cax=_bar_axes(axes), label="Euclidean distance")
    _mark_classes(axes, arrangement)
    axes.set_title("distances between them,\n" + _order_text(arrangement), fontsize=11)


def draw_levels(axes: Axes, arrangement: Arrangement) -> None:
    """Draw the level of every pair in R_D*, in the same order; pairs that are not distinguished are grey."""
    order = arrangement.order
    levels = arrangement.levels[np.ix_(order, order)]
    most = max(int(levels.max()), 1)
    colors = np.concatenate([[[0.88, 0.88, 0.88, 1.0]], ordered_colors(most)[::-1]])
    norm = BoundaryNorm(np.arange(most + 2) - 0.5, most + 1)
    image = axes.imshow(levels, cmap=ListedColormap(colors), norm=norm, interpolation="nearest")
    bar = axes.figure.colorbar(image, cax=_bar_axes(axes), label="level at which a pair is told apart")
    ticks = spaced(np.arange(most + 1), _height(axes) / (most + 1))
    bar.set_ticks(ticks, labels=["none" if tick == 0 else str(tick) for tick in ticks])
    bar.ax.tick_params(length=0, which="both")
    _mark_classes(axes, arrangement)
    axes.set_title("levels of the pairs in R_D*,\n" + _order_text(arrangement), fontsize=11)


def _order_text(arrangement: Arrangement) -> str:
    by_label = arrangement.names and not (np.diff(arrangement.value[arrangement.order]) < 0).any()
    return f"sorted by {arrangement.kind}" if by_label else "in the order of their levels"


def _mark_classes(axes: Axes, arrangement: Arrangement) -> None:
    """Name the classes along both axes, with lines between them, where each stands in one piece."""
    value = arrangement.value[arrangement.order]
    starts = np.flatnonzero(np.diff(value) != 0) + 1
    pieces = len(starts) + 1
    whole = bool(arrangement.names) and not np.isnan(value).any() and pieces == len(np.unique(value))
    edges = np.concatenate([[0], starts, [len(value)]])
    middles = (edges[:-1] + edges[1:] - 1) / 2
    shown = spaced(middles, _height(axes) / len(value)) if whole else []
    names = [arrangement.names[int(value[edges[number]])] for number in shown]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([middles[number] for number in shown], names)
        axis.set_tick_params(labelsize=7, length=2)
        axis.set_label_text(arrangement.kind if whole else "observation")
    if max(map(len, names), default=0) > 2:
        axes.tick_params(axis="x", labelrotation=90)
    if whole and pieces <= MOST_LINES:
        for start in starts:
            axes.axhline(start - 0.5, color="white", linewidth=0.7)
            axes.axvline(start - 0.5, color="white", linewidth=0.7)
