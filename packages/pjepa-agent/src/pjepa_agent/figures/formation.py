"""Animate how the principal components of held-out embeddings form over the training of a run."""

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory.files import atomic_write
from bisim_theory.progress import progress_bar
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pjepa_agent.evaluation.clusters import spread
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes
from pjepa_agent.figures.arrangement import Arrangement, arrange
from pjepa_agent.figures.figure_two import name_of, read_held_out
from pjepa_agent.figures.run import HELD_OUT_LABELS, POINTS, unstyled
from pjepa_agent.figures.world import add_value_bar, name_classes, panel, principal_components, scatter_classes
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.checkpoint import load_kept
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import MetricsFile

SIDE, LEFT, RIGHT, BOTTOM, TOP = 3.8, 0.25, 0.85, 0.6, 0.65
"""Inches of the panel and of what is around it."""

DPI = 90
"""Pixels an inch."""

COLORS = 64
"""Colours of a frame, which all have a palette of their own."""

MILLISECONDS, FIRST_MILLISECONDS, LAST_MILLISECONDS = 180, 900, 2_500
"""How long a state is shown, the untrained one, and the last."""


@dataclass(frozen=True)
class Formation:
    """Hold the embeddings of the same held-out observations over the training of a run.

    Attributes:
        name: experiment, or world and p, and the seed.
        updates: (s,) updates of the states, in order, 0 the untrained one.
        arrangements: the observations as each state embeds them.
        measure: what `values` are.
        values: (s,) the measure by which the run's best state is chosen; NaN where there is none.
    """

    name: str
    updates: tuple[int, ...]
    arrangements: tuple[Arrangement, ...]
    measure: str
    values: tuple[float, ...]


def read_formation(path: str | os.PathLike[str]) -> Formation:
    """Embed held-out observations by every checkpoint that a run keeps, and by the untrained model.

    Raises:
        RunError, DatasetError, OSError: a file of the run is missing or invalid.
        ConfigError: the run's environment, or its p, is there no more.
    """
    run, config = RunDirectory.open(path)
    number = 1 + sum(each.is_file() for each in run.checkpoints(config.evaluation.checkpoints))
    held_out = read_held_out(run, config)
    found: dict[int, Arrangement] = {}
    with progress_bar("embedding") as show:
        for update, model in load_kept(path):
            found[update] = _arrange(held_out, model)
            if not np.isfinite(found[update].embedding).all():
                raise RunError(
                    f"{path}: its embeddings after {update} updates are not finite; there is nothing to draw"
                )
            show(len(found), number)
    column = config.best_column.removeprefix("-")
    rows = {int(row["update"]): row.get(column, math.nan) for row in MetricsFile(run.metrics, max(found)).rows}
    values = tuple(rows.get(update, math.nan) for update in found)
    return Formation(name_of(config), tuple(found), tuple(found.values()), HELD_OUT_LABELS.get(column, column), values)


def _arrange(held_out: HeldOut | HeldOutEpisodes, model: PJEPA) -> Arrangement:
    """Arrange the observations that the run's own figures draw."""
    if isinstance(held_out, HeldOutEpisodes):
        return arrange(held_out, model)
    embedding, counts = held_out.embed(model)
    chosen = np.random.default_rng(0).permutation(len(counts))[:POINTS]
    names = tuple(map(str, range(int(counts.max()) + 1)))
    levels, order = np.zeros((0, 0), np.int64), np.zeros(0, np.int64)  # of which nothing is drawn
    value = counts[chosen].astype(np.float64)
    return Arrangement(embedding[chosen], held_out.label_name, value, names, levels, order, len(counts))


def align(states: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Turn or mirror each set of points (n, 2) so that it lies nearest to the following one, and scale it to size 1.

    The principal components of two states are the same up to a rotation and a mirroring, which would make an animation
    jump. The last state stays as it is. The size is the root of the mean square; a set of size 0 stays at the origin.
    """
    aligned: list[NDArray[np.float64]] = []
    for points in reversed(states):
        size = math.sqrt(float(np.square(points).sum(1).mean()))
        points = points / size if size else points
        if aligned:
            left, _, right = np.linalg.svd(points.T @ aligned[-1])  # the orthogonal Procrustes problem
            points = points @ left @ right
        aligned.append(points)
    return aligned[::-1]


@unstyled
def write_formation(path: Path, formation: Formation) -> None:
    """Write a GIF with a frame per state: the plane of the first two principal components, by class.

    Raises:
        OSError: the file cannot be written.
    """
    components = [principal_components(each.embedding) for each in formation.arrangements]
    points = align([each for each, _ in components])
    limits = _limits(points)
    frames = []
    for number, arrangement in enumerate(formation.arrangements):
        share = float(components[number][1].sum())
        frames.append(_frame(formation, number, points[number], arrangement, limits[number], share))
    durations = [FIRST_MILLISECONDS, *[MILLISECONDS] * (len(frames) - 2), LAST_MILLISECONDS]
    content = io.BytesIO()
    options: dict[str, Any] = {"append_images": frames[1:], "duration": durations[-len(frames) :], "loop": 0}
    frames[0].save(content, "GIF", save_all=True, optimize=False, **options)
    with atomic_write(path) as file:
        file.write(content.getvalue())


def _limits(states: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return the largest x and y (2,) that each frame shows: those of the last state, or its own if it reaches further.

    Scattered points of early states would leave the others little room.
    """
    largest = [1.2 * np.abs(points).max(0) for points in states]
    return [np.where(each > 0, each, 1.0) for each in (np.maximum(own, largest[-1]) for own in largest)]


def _frame(
    formation: Formation,
    number: int,
    points: NDArray[np.float64],
    arrangement: Arrangement,
    limits: NDArray[np.float64],
    share: float,
) -> Image.Image:
    figure = Figure(figsize=(LEFT + SIDE + RIGHT, BOTTOM + SIDE + TOP), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    axes = panel(figure, LEFT, BOTTOM, SIDE)
    scatter_classes(axes, points, arrangement)
    axes.set(xlim=(-limits[0], limits[0]), ylim=(-limits[1], limits[1]), xticks=[], yticks=[])
    name_classes(axes, points, arrangement)
    add_value_bar(axes, arrangement)
    value = formation.values[number]
    said = "" if math.isnan(value) else f"\n{formation.measure} {value:.3f}"
    axes.set_title(f"update {formation.updates[number]:,} of {formation.updates[-1]:,}{said}", fontsize=11)
    axes.set_xlabel(
        f"first two principal components ({share:.0%} of the variance),\n"
        f"turned and scaled to one size; spread {spread(arrangement.embedding):.3g}",
        fontsize=8,
    )
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    return image.quantize(COLORS, dither=Image.Dither.NONE)


def describe_formation(formation: Formation) -> str:
    """Say in one line what an animation shows."""
    first, last = formation.values[0], formation.values[-1]
    values = "" if math.isnan(first) or math.isnan(last) else f", {formation.measure} {first:.3f} to {last:.3f}"
    return f"{formation.name}: {len(formation.updates)} states, updates 0 to {formation.updates[-1]:,}{values}"
