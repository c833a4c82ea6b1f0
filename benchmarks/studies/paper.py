"""Print the tables and draw the curves of docs/results.md, "Paper scale", from the records of runs on a GPU.

Command: ``uv run python -m benchmarks.studies.paper --out curves.png``. It trains nothing: the runs were stopped by the
clock, and ``records/paper.json`` has their configuration, device and revision, and what `bisim-check` found.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.figures.colors import DISTINCT, line_style, markers
from pjepa_agent.figures.run import plain_logarithmic, save_figure, unstyled
from pjepa_agent.runs.metrics import ACCURACY, Rows

from benchmarks.studies.records import RECORDS, Records
from benchmarks.tables import markdown

SEED = 0

VARIANTS = ("exact", "changed")
"""The preset `paper` in bfloat16, and the same with a gain of 0.8, black at -0.1, pixels over the largest value of
their image, and L_dyn that comes in over the first 6,000 updates."""

SHOWN = (0, 1_000, 4_000, 8_000, 12_000, 16_000, 17_000, 18_000, 19_000, 20_000)
"""Updates that the table shows, before the last."""

WITHIN_ACROSS, SPREAD, AUXILIARY = "eval/within_across_ratio", "eval/spread", "losses/auxiliary"

COURSE = {
    ACCURACY: ("accuracy", ".3f"),
    WITHIN_ACROSS: ("within / across", ".3f"),
    AUXILIARY: ("L_p in training", ".2g"),
    SPREAD: ("spread", ".2g"),
}
"""Heading and format of each measure over the course of training."""

LOGARITHMIC = (AUXILIARY, SPREAD)

PROBED = ("count", "shape", "position")

Run = dict[str, Any]


class PaperScale:
    """Read the runs at the paper's scale from their records.

    Args:
        folder: of the records.
    """

    def __init__(self, folder: Path = RECORDS) -> None:
        records = Records(folder, "paper")
        runs, metrics = records.runs(), records.metrics()
        self.runs: dict[str, Run] = {name: runs[name, SEED] for name in VARIANTS}
        self.metrics: dict[str, Rows] = {name: metrics[name, SEED] for name in VARIANTS}

    def escape(self, name: str, accuracy: float) -> tuple[int, int]:
        """Return the last update evaluated below an accuracy before the first one that has it, and that one."""
        updates = [int(row["update"]) for row in self.metrics[name]]
        first = next(number for number, row in enumerate(self.metrics[name]) if row[ACCURACY] >= accuracy)
        return updates[first - 1], updates[first]


def course(scale: PaperScale) -> str:
    """Format the measures of both runs at some updates and at the last one, which is another in each."""
    header = ["update", *(f"{name}: {heading}" for name in scale.metrics for heading, _ in COURSE.values())]
    by_update = [{int(row["update"]): row for row in rows} for rows in scale.metrics.values()]
    shown = [(f"{update:,}", [rows[update] for rows in by_update]) for update in SHOWN]
    shown.append(("last", [rows[max(rows)] for rows in by_update]))
    return markdown(header, ([update, *(cell for row in rows for cell in _measures(row))] for update, rows in shown))


def _measures(row: Mapping[str, float]) -> list[str]:
    return ["" if np.isnan(row[name]) else format(row[name], form) for name, (_, form) in COURSE.items()]


def ends(scale: PaperScale) -> str:
    """Format a row a measure of the last state, and a column a run."""
    cells: dict[str, Callable[[Run, Rows], str]] = {
        "updates": lambda run, rows: f"{run['report']['updates']:,}",
        "seconds": lambda run, rows: f"{run['report']['seconds']:.0f}",
        "accuracy, last update": lambda run, rows: f"{rows[-1][ACCURACY]:.3f}",
        "best accuracy, at update": lambda run, rows: (
            f"{run['report']['best_nearest_centroid_accuracy']:.3f}, {run['report']['best_update']:,}"
        ),
        "untrained": lambda run, rows: f"{rows[0][ACCURACY]:.3f}",
        "within / across": lambda run, rows: f"{rows[-1][WITHIN_ACROSS]:.3f}",
        "separation, lowest level": lambda run, rows: f"{_lowest_separation(rows[-1]):.3f}",
        "RankMe": lambda run, rows: f"{rows[-1]['eval/rankme']:.1f}",
        "count, shape, position by linear probes": lambda run, rows: ", ".join(
            f"{run['report']['held_out']['trained']['linear_probe'][name]:.3f}" for name in PROBED
        ),
        "reconstructed": lambda run, rows: f"{run['measures']['reconstruction_explained']:.1%}",
    }
    return markdown(
        ["", *scale.runs],
        ([name, *(cell(run, scale.metrics[each]) for each, run in scale.runs.items())] for name, cell in cells.items()),
    )


def _lowest_separation(row: Mapping[str, float]) -> float:
    return min(row[f"theorem/separation_{level}"] for level in range(1, LEVELS_MEASURED + 1))


def theorem(scale: PaperScale) -> str:
    """Format what `bisim-check` found on the transitions that each run collected."""
    rows = []
    for name, run in scale.runs.items():
        check = run["measures"]["check"]
        levels, conclusion = check["hypothesis"]["levels"], check["conclusion"]
        rows.append([
            name, check["verdict"], f"{check['certified_share']:.3f}",
            ", ".join(f"{each['residual_ratio']:.2f}" for each in levels),
            ", ".join(f"{each['separation']:.3f}" for each in levels),
            f"{check['hypothesis']['auxiliary_share']:.5f}", f"{conclusion['min_distance']:.2g}",
            f"{conclusion['min_distance'] / conclusion['median_distance']:.1%}", str(conclusion["level"]),
            str(conclusion["collapsed_pairs"]),
        ])  # fmt: skip
    return markdown(
        ["run", "verdict by medians", "certified share", "2 median e_d / median distance, levels 1, 2, 3, 4",
         "separation, levels 1, 2, 3, 4", r"level-1 pairs with e_p(x) + e_p(y) < \|p(x) - p(y)\|",
         "smallest distance in R", "over the median of all pairs", "at level", "collapsed pairs"],
        rows,
    )  # fmt: skip


@unstyled
def draw(scale: PaperScale, path: Path) -> None:
    """Write a panel a measure over the updates, with a line a run.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    for panel, (name, (heading, _)) in zip(axes.flat, COURSE.items(), strict=True):
        _draw_measure(panel, scale, name)
        panel.set_title(heading, fontsize=11)
    for panel in axes[-1]:
        panel.set_xlabel("update")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    save_figure(figure, path, dpi=110)


def _draw_measure(panel: Axes, scale: PaperScale, name: str) -> None:
    for number, (variant, rows) in enumerate(scale.metrics.items()):
        known = [row for row in rows if not np.isnan(row[name])]
        panel.plot(
            [row["update"] for row in known], [row[name] for row in known], label=variant, color=DISTINCT[number],
            linestyle=line_style(number), marker=markers(len(scale.metrics))[number], markersize=3.5, linewidth=1.4,
        )  # fmt: skip
    panel.grid(alpha=0.3)
    if name in LOGARITHMIC:
        plain_logarithmic(panel)
    else:
        panel.set_ylim(0, 1)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    parser.add_argument("--out", type=Path, help="also draw the curves, into this picture")
    return parser


def main() -> None:
    """Print the tables and draw the curves."""
    options = make_parser().parse_args()
    scale = PaperScale(options.records)
    print("\n\n".join(make(scale) for make in (course, ends, theorem)))
    if options.out:
        draw(scale, options.out)


if __name__ == "__main__":
    main()
