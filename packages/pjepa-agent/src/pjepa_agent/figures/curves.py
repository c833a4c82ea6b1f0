"""The course of training of any set of runs, as curves: mean and range over the seeds of a configuration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bisim_theory.files import atomic_write
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from pjepa_agent.evaluation.compactness import COMPACT, RunGroup
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.runs.metrics import ACCURACY

PANELS = {
    ACCURACY: "nearest-centroid accuracy",
    "eval/between_within_variance": "variance between over within counts",
    "eval/gap_over_radius": "smallest gap over largest radius",
    **{
        f"theorem/separation_{level}": f"Theorem 3: separation, level {level}"
        for level in range(1, LEVELS_MEASURED + 1)
    },
}
"""What is drawn, by the names in the metrics."""

LOGARITHMIC = "eval/between_within_variance"

LEAST_ERROR = 0.005
"""Errors much below this one are drawn as none."""

COLUMNS = 4


def draw_group_curves(groups: Sequence[RunGroup], path: Path, compact: float = COMPACT) -> None:
    """Write the picture: a panel a measure, a line a group for the mean over its seeds, shaded from lowest to highest.

    Args:
        groups: at least one; see `compactness.read_groups`.
        path: of the picture, in a format that its suffix names; it appears whole or not at all.
        compact: accuracy that is marked.

    Raises:
        OSError: it cannot be written.
    """
    rows = -(-len(PANELS) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4.1 * COLUMNS, 3.3 * rows + 0.5), layout="constrained")
    try:
        for panel, (name, title) in zip(axes.flat, PANELS.items(), strict=False):
            _draw(panel, groups, name)
            panel.set_title(title, fontsize=11)
            if name == ACCURACY:
                panel.axhline(compact, color="grey", linestyle=":", linewidth=1)
        for panel in axes.flat[len(PANELS) :]:
            panel.set_visible(False)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
        with atomic_write(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi=130)
    finally:
        plt.close(figure)


def _draw(panel: Axes, groups: Sequence[RunGroup], name: str) -> None:
    colors = plt.get_cmap("tab10" if len(groups) <= 10 else "tab20").colors
    for number, group in enumerate(groups):
        updates, values = group.curves(name)
        known = np.isfinite(values).all(0)
        color = colors[number % len(colors)]
        label = f"{group.name} ({len(values)} seed{'s' if len(values) > 1 else ''})"
        panel.plot(updates[known], values[:, known].mean(0), color=color, linewidth=1.4, label=label)
        panel.fill_between(
            updates[known], values[:, known].min(0), values[:, known].max(0), color=color, alpha=0.18, linewidth=0
        )
    if not any(np.isfinite(line.get_ydata()).any() for line in panel.lines):
        panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", va="center", color="grey")
        return
    panel.set_xlabel("update")
    panel.grid(alpha=0.3)
    if name == LOGARITHMIC:
        panel.set_yscale("log")
    elif name == ACCURACY or name.startswith("theorem/"):
        _widen_towards_one(panel)


def _widen_towards_one(panel: Axes) -> None:
    """Scale by the logarithm of the error, for what tells compact encoders apart lies between 0.9 and 1."""
    panel.set_yscale(
        "function", functions=(lambda a: -np.log(1 + LEAST_ERROR - a), lambda e: 1 + LEAST_ERROR - np.exp(-e))
    )
    panel.set_ylim(0, 1)
    panel.set_yticks([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1], labels=["0", ".5", ".8", ".9", ".95", ".98", ".99", "1"])
