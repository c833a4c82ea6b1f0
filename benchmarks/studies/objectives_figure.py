"""The figure of what each objective keeps, from the records of the study `objectives`."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pjepa_agent.figures.colors import DISTINCT
from pjepa_agent.figures.run import save_figure, unstyled

from benchmarks.studies.objectives_tables import UNTRAINED, Runs, of_levels

Run = Mapping[str, Any]
TRAINED = "trained"


class Panel(NamedTuple):
    """Hold what a panel shows: its title, its value of the trained or untrained model of a run, and chance."""

    title: str
    value: Callable[[Run, str], float | None]
    chance: float | None = None


def _held_out(run: Run, which: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run["report"]["held_out"][which]
    return found


def _lowest(name: str) -> Callable[[Run, str], float | None]:
    return lambda run, which: min(of_levels(_held_out(run, which), name), default=None)


def _mean_explained(run: Run, which: str) -> float | None:
    found = of_levels(_held_out(run, which), "explained_share")
    return statistics.mean(found) if found else None


def _explained_pairs(run: Run, which: str) -> float:
    found: float = run["measures"]["explained_pairs" if which == TRAINED else "untrained_explained_pairs"]
    return found


PANELS = {
    "counting": (
        Panel("separation, lowest level", _lowest("separation"), 0.5),
        Panel("explained share, lowest level", _lowest("explained_share")),
        Panel("accuracy of the count", lambda run, which: _held_out(run, which)["nearest_centroid_accuracy"], 1 / 9),
    ),
    "grid": (
        Panel("explained share, mean of levels 1 to 5", _mean_explained),
        Panel("explained share, all pairs", _explained_pairs),
    ),
}
"""What is shown of each world."""


def alternative(world: str, found: Mapping[str, Runs]) -> str:
    """Say in words what the figure shows: all panels, and the numbers of the first."""
    first, *others = PANELS[world]
    floor = next(iter(found.values()))
    shown = [(name, runs, TRAINED) for name, runs in found.items()] + [(UNTRAINED, floor, UNTRAINED)]
    means = ", ".join(f"{name} {statistics.mean(_known(first, runs, which)):.2f}" for name, runs, which in shown)
    titles = "; ".join(panel.title for panel in (first, *others))
    return f"A dot a seed of {len(found)} objectives: {titles}. Mean of the seeds, {first.title}: {means}."


@unstyled
def draw(world: str, found: Mapping[str, Runs], path: Path) -> None:
    """Write a figure: a dot a seed of each objective, and the encoder before training beside it.

    Raises:
        OSError: the file cannot be written.
    """
    panels = PANELS[world]
    figure = Figure(figsize=(3.6 * len(panels) + 1.4, 0.32 * len(found) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, panel, found)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    save_figure(figure, path, dpi=120)


def _draw_panel(ax: Axes, panel: Panel, found: Mapping[str, Runs]) -> None:
    ways = (("trained", TRAINED, DISTINCT[0], "o", 0.7), ("before training", UNTRAINED, DISTINCT[1], "|", 1.0))
    for label, which, color, marker, alpha in ways:
        places = [(value, row) for row, runs in enumerate(found.values()) for value in _known(panel, runs, which)]
        ax.scatter(*zip(*places, strict=True), s=22, color=color, marker=marker, alpha=alpha, label=label)
    if panel.chance is not None:
        ax.axvline(panel.chance, color="grey", linewidth=0.8, linestyle=":", label="chance")
    ax.set_title(panel.title, fontsize=10)
    ax.set_xlim(-0.03, 1.03)
    ax.set_yticks(range(len(found)), list(found))
    ax.set_ylim(len(found) - 0.5, -0.5)


def _known(panel: Panel, runs: Runs, which: str) -> list[float]:
    return [value for run in runs if (value := panel.value(run, which)) is not None]
