"""Draw held-out measures of groups of runs over training: mean and range over the seeds of a configuration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pjepa_agent.evaluation.compactness import COMPACT, RunGroup
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.figures.colors import DISTINCT, line_style
from pjepa_agent.figures.run import save_figure, say_unmeasured, unstyled
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
"""Titles of the panels, by the names of the measures in ``metrics.csv``."""

LOGARITHMIC = "eval/between_within_variance"
"""The measure with a logarithmic axis."""

LEAST_ERROR = 0.005
"""Offset of the logarithmic error axis: errors much below it are drawn as zero."""

COLUMNS = 4
"""Panels in a row."""


@unstyled
def draw_group_curves(groups: Sequence[RunGroup], path: Path, compact: float = COMPACT) -> None:
    """Write a figure with one panel per measure and one line per group: the mean, shaded from lowest to highest seed.

    Args:
        groups: at least one group, from `compactness.read_groups`.
        path: the file, written atomically in the format named by its suffix.
        compact: the accuracy to mark with a dotted line.

    Raises:
        OSError: the file cannot be written.
    """
    rows = -(-len(PANELS) // COLUMNS)
    figure = Figure(figsize=(4.1 * COLUMNS, 3.3 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, COLUMNS)
    for panel, (name, title) in zip(axes.flat, PANELS.items(), strict=False):
        _draw_measure(panel, groups, name)
        panel.set_title(title, fontsize=11)
        if name == ACCURACY:
            panel.axhline(compact, color="grey", linestyle=":", linewidth=1)
    for panel in axes.flat[len(PANELS) :]:
        panel.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
    save_figure(figure, path, dpi=130)


def _draw_measure(panel: Axes, groups: Sequence[RunGroup], name: str) -> None:
    """Draw one measure of all groups."""
    for number, group in enumerate(groups):
        updates, values = group.curves(name)
        known = np.isfinite(values).all(0)
        color, style = DISTINCT[number % len(DISTINCT)], line_style(number)
        label = f"{group.name} ({len(values)} seed{'s' if len(values) > 1 else ''})"
        panel.plot(updates[known], values[:, known].mean(0), color=color, linestyle=style, linewidth=1.4, label=label)
        panel.fill_between(
            updates[known], values[:, known].min(0), values[:, known].max(0), color=color, alpha=0.18, linewidth=0
        )
    if not any(np.isfinite(line.get_ydata()).any() for line in panel.lines):
        say_unmeasured(panel)
        return
    panel.set_xlabel("update")
    panel.grid(alpha=0.3)
    if name == LOGARITHMIC:
        panel.set_yscale("log")
    elif name == ACCURACY or name.startswith("theorem/"):
        _widen_towards_one(panel)


def _widen_towards_one(panel: Axes) -> None:
    """Scale the vertical axis by the logarithm of 1 minus the value: compact encoders differ between 0.9 and 1."""
    panel.set_yscale(
        "function",
        functions=(
            lambda a: -np.log(np.maximum(1 + LEAST_ERROR - a, LEAST_ERROR)),
            lambda e: 1 + LEAST_ERROR - np.exp(-e),
        ),
    )
    panel.set_ylim(0, 1)
    panel.set_yticks([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1], labels=["0", ".5", ".8", ".9", ".95", ".98", ".99", "1"])
