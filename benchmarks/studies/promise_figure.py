"""Draw what is predicted of kinds of pairs beside what is kept of them: one dot a kind of pair and seed."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pjepa_agent.figures.colors import DISTINCT, MARKERS
from pjepa_agent.figures.run import save_figure, unstyled

from benchmarks.studies.promise_tables import KEPT, MERGED, Found, Row, count_kept, is_learnt, rows_of

PANELS_A_ROW = 4

GROUPS = {"count": MARKERS[0], "cell": MARKERS[0], "shape": MARKERS[1], "colour": MARKERS[3], "positions": MARKERS[4],
          "tint": MARKERS[4]}  # fmt: skip
"""Marker of each group of kinds."""

PROTECTED, UNPROTECTED = DISTINCT[0], DISTINCT[1]

MOST_LEVELS = 6
"""Levels from this one on share a place on the axis."""


@unstyled
def draw(found: Found, path: Path) -> None:
    """Write a panel a variant: separation on held-out observations over the level that is predicted.

    Raises:
        OSError: the file cannot be written.
    """
    rows = -(-len(found) // PANELS_A_ROW)
    figure = Figure(figsize=(3.1 * PANELS_A_ROW, 2.5 * rows + 1.1), layout="constrained")
    axes = figure.subplots(rows, PANELS_A_ROW, squeeze=False, sharex=True, sharey=True)
    lowest = axes.flat[max(len(found) - PANELS_A_ROW, 0) : len(found)]
    for panel, (name, runs) in zip(axes.flat, found.items(), strict=False):
        _draw_panel(panel, [row for run in runs for row in rows_of(run)])
        unlearnt = "" if all(map(is_learnt, runs)) else ", p not learnt"
        panel.set_title(f"{name}{unlearnt}", fontsize=10)
    for panel in axes.flat[len(found) :]:
        panel.set_visible(False)
    for panel in axes[:, 0]:
        panel.set_ylabel("separation kept")
    for panel in lowest:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("predicted: lowest level of R_D*\nwith a pair of the kind", fontsize=9)
    handles = [
        Line2D([], [], color=PROTECTED, marker="o", linestyle="", label="protected, level explained"),
        Line2D([], [], color=PROTECTED, marker="o", linestyle="", fillstyle="none", label="protected, not explained"),
        Line2D([], [], color=UNPROTECTED, marker="o", linestyle="", label="nothing protects it"),
        *(
            Line2D([], [], color="grey", marker=marker, linestyle="", label=f"differ in {group}")
            for group, marker in GROUPS.items()
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path, dpi=120)


def _draw_panel(panel: Axes, rows: list[Row]) -> None:
    """Draw the dots of a variant. Those of one place are spread a little, the same way at every drawing."""
    panel.axhline(0.5, color="grey", linewidth=0.8)
    panel.axhline(KEPT, color="grey", linewidth=0.8, linestyle=":")
    panel.set_ylim(-0.04, 1.04)
    panel.set_xlim(-0.6, MOST_LEVELS + 0.6)
    panel.set_xticks(range(MOST_LEVELS + 1), ["none", *map(str, range(1, MOST_LEVELS)), f"{MOST_LEVELS}+"])
    compared = [row for row in rows if row.separation is not None and row.seen]
    if not compared:
        panel.text(0.5, 0.3, "every pair is distinguished:\nnone to compare with", ha="center", va="center",
                   transform=panel.transAxes, fontsize=9)  # fmt: skip
    offsets = np.random.default_rng(0).uniform(-0.3, 0.3, len(compared))
    for row, offset in zip(compared, offsets, strict=True):
        color = PROTECTED if row.protected else UNPROTECTED
        panel.plot(
            min(row.level, MOST_LEVELS) + offset, row.separation, GROUPS[row.kind.group], color=color, markersize=3.6,
            fillstyle="none" if row.protected and not row.explained else "full", alpha=0.7, markeredgewidth=0.7,
        )  # fmt: skip


def alternative(found: Found) -> str:
    """Say in words what the figure shows."""
    of_learnt = [row for runs in found.values() for run in runs if is_learnt(run) for row in rows_of(run) if row.seen]
    protected = [row.separation for row in of_learnt if row.protected and row.separation is not None]
    explained = [row.separation for row in of_learnt if row.explained and row.separation is not None]
    free = [row.separation for row in of_learnt if not row.protected and row.separation is not None]
    parts = [f"Separation of kinds of pairs over the level predicted for them, {len(found)} auxiliary functions."]
    if protected:
        parts.append(
            f"Where p was learnt, {count_kept(protected)} protected kinds lie at {KEPT} or more, the lowest at "
            f"{min(protected):.3f}; of levels that are explained, {count_kept(explained)}."
        )
    if free:
        parts.append(
            f"Of {len(free)} that nothing protects, {sum(each <= MERGED for each in free)} lie at {MERGED} or less and "
            f"{sum(each >= KEPT for each in free)} at {KEPT} or more."
        )
    return " ".join(parts)
