"""Draw the metrics of runs of any worlds over training: losses, explained shares, residuals and separation by level."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from bisim_theory.theorem.check import EXPLAINED
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pjepa_agent.evaluation.compactness import RunGroup
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.evaluation.world_table import with_least_explained
from pjepa_agent.figures.colors import DISTINCT, line_style
from pjepa_agent.figures.curves import draw_group_curves
from pjepa_agent.figures.run import LOSS_LABELS, plain_logarithmic, save_figure, say_unmeasured, unstyled
from pjepa_agent.runs.metrics import ACCURACY, LEAST_EXPLAINED, objective_losses

GENERAL = {
    LEAST_EXPLAINED: "explained share, least of\nlevels of 20 pairs or more",
    "theorem/collapsed_pairs": "collapsed distinguished pairs",
    "eval/rankme": "RankMe: effective rank",
    "eval/transition_error": "error of T over the\nvariance of embeddings",
    ACCURACY: "nearest-centroid accuracy\nby label",
    "eval/within_across_ratio": "within / across distance\nby label",
}
"""Titles of the held-out measures that are not of one level, by their column."""

BY_LEVEL = {
    "theorem/explained_share": "explained share",
    "theorem/residual_ratio": "residual ratio",
    "theorem/separation": "separation",
}
"""Titles of the held-out measures of a level of R_D*, by the beginning of their column."""

LOGARITHMIC = ("losses/", "theorem/residual_ratio", "eval/transition_error")
"""Beginnings of the columns with a logarithmic axis."""

SHARES = (LEAST_EXPLAINED, ACCURACY, "theorem/explained_share", "theorem/separation")
"""Beginnings of the columns with values in [0, 1]."""

MARKED = {LEAST_EXPLAINED: EXPLAINED, "theorem/explained_share": EXPLAINED, "theorem/residual_ratio": 1.0}
"""Values that are marked by a dotted line: what `bisim-check` asks for, and residuals as large as half a distance."""


def draw_curves(groups: Sequence[RunGroup], path: Path, compact: float) -> None:
    """Write the figure of groups of runs: of the counting world alone by count, else what all worlds have.

    Args:
        groups: at least one group, from `compactness.read_groups`.
        path: the file, written atomically in the format named by its suffix.
        compact: the accuracy to mark with a dotted line.

    Raises:
        OSError: the file cannot be written.
    """
    if all(group.counting for group in groups):
        draw_group_curves(groups, path, compact)
    else:
        draw_world_curves(groups, path, compact)


@unstyled
def draw_world_curves(groups: Sequence[RunGroup], path: Path, compact: float) -> None:
    """Write a figure with one panel per measure and one line per group: the mean, shaded from lowest to highest seed.

    A column is a level in the lower rows. Measures and levels that no run has are left out.

    Args:
        groups: at least one group.
        path: the file, written atomically in the format named by its suffix.
        compact: the accuracy to mark with a dotted line.

    Raises:
        OSError: the file cannot be written.
    """
    groups = [replace(group, metrics=[with_least_explained(rows) for rows in group.metrics]) for group in groups]
    rows = world_panels(groups)
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(3.1 * columns, 2.75 * len(rows) + 1.0 + 0.25 * -(-len(groups) // 2)), layout="constrained")
    figure.suptitle(world_title(groups), fontsize=12)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, panels in zip(rows, axes, strict=True):
        for panel, (name, title) in zip(panels, line.items(), strict=False):
            _draw_measure(panel, groups, name, MARKED | {ACCURACY: compact})
            panel.set_title(title, fontsize=10)
        for panel in panels[len(line) :]:
            panel.set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2), frameon=False)
    save_figure(figure, path, dpi=130)


def world_title(groups: Sequence[RunGroup]) -> str:
    """Return the title of the figure: the world, or how many there are, whose numbers are not of the same things."""
    worlds = list(dict.fromkeys(group.world for group in groups))
    if len(worlds) == 1:
        return f"{worlds[0]}: held-out episodes, and losses since the evaluation before"
    return (
        f"{len(worlds)} worlds, each on held-out observations of its own, and losses since the evaluation before.\n"
        "Levels, pairs and values of p of different worlds are not the same ones."
    )


def world_panels(groups: Sequence[RunGroup]) -> list[dict[str, str]]:
    """Return rows of panels, their titles by column of ``metrics.csv``: losses, held-out measures, then by level."""
    names = dict.fromkeys(name for group in groups for rows in group.metrics for name in rows[-1])
    losses = {
        name: LOSS_LABELS.get(name, name.removeprefix("losses/").replace("_", " ")).replace(", above", ",\nabove")
        for name in sorted(objective_losses(names), key=lambda name: name not in LOSS_LABELS)
    }
    general = {name: title for name, title in (losses | GENERAL).items() if _measured(groups, name)}
    levels = [
        level
        for level in range(1, LEVELS_MEASURED + 1)
        if any(_measured(groups, f"{name}_{level}") for name in BY_LEVEL)
    ]
    width = max(len(levels), 4)
    items = list(general.items())
    rows = [dict(items[start : start + width]) for start in range(0, len(items), width)]
    for name, title in BY_LEVEL.items():
        row = {f"{name}_{level}": f"{title}, level {level}" for level in levels}
        if any(_measured(groups, each) for each in row):
            rows.append(row)
    return rows


def _measured(groups: Sequence[RunGroup], name: str) -> bool:
    return any(np.isfinite(group.curves(name)[1]).any() for group in groups)


def _draw_measure(panel: Axes, groups: Sequence[RunGroup], name: str, marked: dict[str, float]) -> None:
    """Draw one measure of all groups."""
    for number, group in enumerate(groups):
        updates, values = group.curves(name)
        known = np.isfinite(values).all(0)
        label = f"{group.name} ({len(values)} seed{'' if len(values) == 1 else 's'})"
        color, style = DISTINCT[number % len(DISTINCT)], line_style(number)
        mean, low, high = values[:, known].mean(0), values[:, known].min(0), values[:, known].max(0)
        panel.plot(updates[known], mean, marker=".", linewidth=1.4, label=label, color=color, linestyle=style)
        panel.fill_between(updates[known], low, high, color=color, alpha=0.18, linewidth=0)
    for beginning, value in marked.items():
        if name.startswith(beginning):
            panel.axhline(value, color="grey", linestyle=":", linewidth=1)
    panel.set_xlabel("update")
    panel.grid(alpha=0.3)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if not any(np.isfinite(line.get_ydata()).any() for line in panel.lines[: len(groups)]):
        say_unmeasured(panel)
    elif name.startswith(LOGARITHMIC):
        plain_logarithmic(panel)
    elif name.startswith(SHARES):
        panel.set_ylim(-0.03, 1.03)
    elif name == "theorem/collapsed_pairs":
        panel.set_yscale("symlog", linthresh=1)
        panel.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
        panel.set_ylim(-0.3, 2 * max(1.0, *panel.get_ylim()))
