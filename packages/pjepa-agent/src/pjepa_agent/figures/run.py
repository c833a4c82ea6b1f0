"""Draw the figures of one run: PCA and distances of held-out embeddings (paper Figure 2), and training curves."""

from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory.files import atomic_write
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from pjepa_agent.evaluation.clusters import pairwise_distances
from pjepa_agent.figures.colors import DISTINCT, UNKNOWN, line_style, markers, ordered_colors
from pjepa_agent.runs.metrics import ACCURACY, MetricsFile, objective_losses

POINTS = 256
"""Embeddings drawn, as many as in the paper's Figure 2."""

unstyled = style.context("default")
"""Decorator of whatever draws: no matplotlibrc of the user's reaches a picture, nor a LaTeX that is missing."""

LOSS_LABELS = {
    "losses/transition": r"transition $L_{dyn}$",
    "losses/auxiliary": r"auxiliary $L_p$, above its entropy floor",
}
"""Labels of losses with a symbol in the paper; others are labelled with their name."""

HELD_OUT_LABELS = {
    ACCURACY: "nearest-centroid accuracy",
    "eval/within_across_ratio": "within / across distance",
    "theorem/least_explained_share": "explained share, least of levels of 20 pairs or more",
}
"""Labels of the held-out measures that are drawn, by their column."""


MOST_NAMED = 24
"""Most labels whose names are written into a figure; more would cover each other."""


def draw_pca(axes: Axes, embedding: NDArray[Any], labels: NDArray[np.int64], name: str | None = "count") -> None:
    """Scatter the first two principal components of embeddings (n, d), coloured and marked by label (n,).

    Args:
        axes: the axes to draw on.
        embedding: (n, d) embeddings.
        labels: (n,) whole numbers from 0, or -1 for none.
        name: what the labels are called; None draws without them.
    """
    centred = embedding - embedding.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T
    variance = singular**2 / max(float((singular**2).sum()), np.finfo(float).tiny)
    different = np.unique(labels)
    number = int(labels.max()) + 1
    colors, shapes = ordered_colors(number), markers(number)
    for label in different:
        chosen, color = points[labels == label], colors[label] if label >= 0 else UNKNOWN
        look: dict[str, Any] = {
            "marker": shapes[label] if label >= 0 else "o",
            "edgecolors": "white",
            "linewidths": 0.3,
        }
        axes.scatter(chosen[:, 0], chosen[:, 1], s=24, color=color, **look)
        if name is None or label < 0 or len(different) > MOST_NAMED:
            continue
        axes.annotate(
            str(label), chosen.mean(0), fontsize=11, weight="bold", ha="center", va="center",
            bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": color, "alpha": 0.9},
        )  # fmt: skip
    axes.set_xlabel(f"first component ({variance[0]:.0%} of the variance)")
    axes.set_ylabel(f"second component ({variance[1]:.0%})")
    axes.set_title("PCA of held-out embeddings" + ("" if name is None else f", by {name}"))


def draw_distances(axes: Axes, embedding: NDArray[Any], labels: NDArray[np.int64], name: str | None = "count") -> None:
    """Draw the distances between embeddings (n, d) as a heatmap sorted by label (n,), with lines between labels."""
    order = np.argsort(labels, kind="stable")
    image = axes.imshow(pairwise_distances(embedding[order], embedding[order]), cmap="viridis", interpolation="nearest")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    for start in starts:
        axes.axhline(start - 0.5, color="white", linewidth=0.8)
        axes.axvline(start - 0.5, color="white", linewidth=0.8)
    edges = np.concatenate([[0], starts, [len(labels)]])
    middles = (edges[:-1] + edges[1:] - 1) / 2
    different = [str(label) for label in np.unique(labels)]
    named = name is not None and len(different) <= MOST_NAMED
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(middles if named else [], different if named else [])
        axis.set_label_text(name or "observation")
    axes.set_title("distances between the embeddings")
    axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.04, label="Euclidean distance")


def draw_training_curves(figure: Figure, metrics: MetricsFile) -> None:
    """Draw the losses of the objective (logarithmic) and the held-out measures over the updates."""
    left, right = figure.subplots(1, 2)
    # The mean over an interval is drawn at its end; before the first update there is none.
    losses = {
        name: LOSS_LABELS.get(name, name.removeprefix("losses/").replace("_", " "))
        for name in objective_losses(metrics.names)
    }
    if _draw_columns(left, metrics, losses):
        plain_logarithmic(left)
    left.set_title("losses, mean since the last evaluation")
    if _draw_columns(right, metrics, HELD_OUT_LABELS):
        accuracy = metrics.column(ACCURACY)
        if not np.isnan(accuracy[0]):
            right.axhline(accuracy[0], color="grey", linestyle=":", label="accuracy of the untrained encoder")
        right.set_ylim(-0.03, 1.05)
    right.set_title("held-out observations")
    for axes in (left, right):
        axes.set_xlabel("update")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)


def _draw_columns(axes: Axes, metrics: MetricsFile, labels: dict[str, str]) -> bool:
    """Draw columns that were measured, a colour and a marker each, and return whether there are any."""
    updates = np.array(metrics.column("update"))
    drawn = {name: np.array(metrics.column(name)) for name in labels}
    drawn = {name: values for name, values in drawn.items() if np.isfinite(values).any()}
    for number, (name, values) in enumerate(drawn.items()):
        color, marker = DISTINCT[number % len(DISTINCT)], markers(len(drawn))[number]
        style: dict[str, Any] = {"color": color, "linestyle": line_style(number), "marker": marker, "markersize": 4}
        axes.plot(updates, values, label=labels[name], **style)
    if not drawn:
        say_unmeasured(axes)
        axes.set_yticks([])
    axes.set_xlim(-0.03 * max(updates[-1], 1), 1.03 * max(updates[-1], 1))  # alike in both, and of one evaluation too
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return bool(drawn)


def say_unmeasured(axes: Axes) -> None:
    """Write into empty axes why they are empty."""
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="dimgrey")


def plain_logarithmic(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with few ticks and plain numbers; values that are not positive are left out.

    Matplotlib writes numbers at its minor ticks too, which then cover each other.
    """
    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,), numticks=6))
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


@unstyled
def write_figures(
    folder: Path,
    embedding: NDArray[Any],
    labels: NDArray[np.int64],
    metrics: MetricsFile,
    label_name: str | None = "count",
) -> None:
    """Write ``pca.png``, ``distances.png`` and ``curves.png``.

    Args:
        folder: the folder to write to, created if missing.
        embedding: (n, d) held-out embeddings, of which 256 are drawn.
        labels: (n,) their labels.
        metrics: the metrics of the run.
        label_name: what the labels are called; None draws without them.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(exist_ok=True)  # a copied run may lack its empty folders
    chosen = np.random.default_rng(0).permutation(len(labels))[:POINTS]
    for name, draw in (("pca", draw_pca), ("distances", draw_distances)):
        figure = Figure(figsize=(6.4, 5.6), layout="constrained")
        draw(figure.subplots(), embedding[chosen], labels[chosen], label_name)
        save_figure(figure, folder / f"{name}.png", dpi=120)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    draw_training_curves(figure, metrics)
    save_figure(figure, folder / "curves.png", dpi=120)


def save_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure atomically, in the format named by the file's suffix.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=dpi)  # of a bare Figure: no display, nothing kept by pyplot
