"""Draw the figures of one run: PCA and distances of held-out embeddings (paper Figure 2), and training curves."""

from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory.files import atomic_write
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pjepa_agent.evaluation.clusters import pairwise_distances
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
    "theorem/least_explained_share": "explained share, least of all levels",
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
    colors = colormaps["turbo"](np.linspace(0.03, 0.97, int(labels.max()) + 1))
    for label in different:
        chosen, color = points[labels == label], colors[label] if label >= 0 else "lightgrey"
        axes.scatter(chosen[:, 0], chosen[:, 1], s=18, color=color, linewidths=0, alpha=0.85)
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
    """Draw the distances between embeddings (n, d) as a heatmap sorted by label (n,), with red lines between labels."""
    order = np.argsort(labels, kind="stable")
    image = axes.imshow(pairwise_distances(embedding[order], embedding[order]), cmap="viridis", interpolation="nearest")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    for start in starts:
        axes.axhline(start - 0.5, color="red", linewidth=0.8)
        axes.axvline(start - 0.5, color="red", linewidth=0.8)
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
    updates = metrics.column("update")
    # The mean over an interval is drawn at its end; before the first update there is none.
    for name in objective_losses(metrics.names):
        label = LOSS_LABELS.get(name, name.removeprefix("losses/").replace("_", " "))
        left.plot(updates, metrics.column(name), marker=".", label=label)
    left.set_yscale("log")
    left.set_title("losses, mean since the last evaluation")
    for name, label in HELD_OUT_LABELS.items():
        values = metrics.column(name)
        if not np.isnan(values).all():
            right.plot(updates, values, marker=".", label=label)
    accuracy = metrics.column(ACCURACY)
    if not np.isnan(accuracy[0]):
        right.axhline(accuracy[0], color="grey", linestyle=":", label="accuracy of the untrained encoder")
    right.set_ylim(0, 1.05)
    right.set_title("held-out observations")
    for axes in (left, right):
        axes.set_xlabel("update")
        axes.grid(alpha=0.3)
        if axes.lines:  # a damaged record may have no losses
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)


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
