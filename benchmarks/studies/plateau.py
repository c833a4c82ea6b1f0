"""Train a small twin of the paper's network from several starts, and tabulate how long its plateau is.

Command: ``uv run python -m benchmarks.studies.plateau --out plateau.png``. A run without a record in
``benchmarks/records`` is trained first, four to seven minutes of a core; an interrupted one is resumed. ``--only NAME``
takes some of the starts, ``--list`` prints the options of each.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from bisim_theory import read_transitions
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pjepa_agent.figures.colors import DISTINCT
from pjepa_agent.figures.run import save_figure, unstyled
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import ACCURACY, Rows

from benchmarks.studies.records import UPDATE, Records
from benchmarks.studies.study import Measures, Study, add_curve_options, list_variants, settings, study_parser
from benchmarks.tables import markdown, spread

TWIN = [
    *("--preset", "paper"),
    *settings(
        "network.width=16", "network.blocks=1", "network.control_heads=false", "network.decoder=false",
        "collection.online=false", "collection.transitions=60000", "optimization.batch_size=128", "evaluation.every=50",
        "evaluation.reference_per_count=16", "evaluation.scored_per_count=32", "evaluation.transitions=100",
        "evaluation.probe_per_count=0",
    ),
]  # fmt: skip
"""The paper's preset with one block a stage and half the width, on fewer transitions and in smaller batches."""

LONG, SHORT = ["--updates", "4000"], ["--updates", "2000"]

GAINS = ("0.8", "1", "1.2", "1.414")
"""Initial deviations of convolutions times sqrt(inputs). PyTorch's, which the paper has, is 0.577; He's is 1.414."""

AVERAGED = settings("optimization.schedule=cosine", "optimization.averaging_age=0.2")

STARTS: Mapping[str, list[str]] = {
    "paper": LONG,
    **{f"gain-{gain}": [*LONG, *settings(f"ablation.convolution_gain={gain}")] for gain in GAINS},
    "centred-scaled": [
        *SHORT, *AVERAGED,
        *settings(
            "ablation.start=centred-scaled", "optimization.learning_rate=1e-3",
            "optimization.encoder_learning_rate_factor=1", "objective.transition_warmup=0.25",
        ),
    ],
    "he-image-scale": [
        *SHORT, *AVERAGED,
        *settings(
            "ablation.convolution_gain=1.414", "ablation.pixel_offset=-0.25", "ablation.pixel_scale=image",
            "optimization.learning_rate=8e-3", "optimization.encoder_learning_rate_factor=0.08",
            "optimization.warmup=100", "optimization.clip=1", "objective.transition_warmup=0.05",
            "collection.transitions=200000",  # p of 60,000 is learnt by heart: accuracy falls again
        ),
    ],
}  # fmt: skip
"""Options of each start. The architecture, its number of parameters and the weights of both losses are one."""

GAIN_OF = {"paper": 3**-0.5, **{f"gain-{gain}": float(gain) for gain in GAINS}}
"""The gain of the starts that differ in it alone."""

SCALED_LAYERS = 4
"""Convolutions on the shortest path to the embedding: the stem and a projection at each of three stages."""

VARIANTS = {name: [*TWIN, *options] for name, options in STARTS.items()}

CURVES = ("losses/transition", "losses/auxiliary", "eval/spread", "eval/within_across_ratio", ACCURACY)

LEARNT = 0.9
"""Accuracy whose first update is told."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "plateau", seeds="0-4")
    add_curve_options(parser, STARTS)
    return parser


def main() -> None:
    """Train what is missing, print the table and draw the curves."""
    options = make_parser().parse_args()
    if options.list:
        print(list_variants(STARTS))
        return
    variants = {name: VARIANTS[name] for name in options.only}
    study = Study(options.runs, variants, options.seeds, Records(options.records, "plateau", CURVES), measure)
    study.complete(options.lanes)
    print(table(study))
    if options.out:
        draw(study, options.out)


def measure(path: Path) -> Measures:
    """Measure L_p of the best constant prediction on the transitions of the training."""
    _, counts = np.unique(read_transitions(RunDirectory.open(path)[0].transitions).auxiliary, return_counts=True)
    share = counts / counts.sum()
    return {"constant": float(-(share * np.log(share)).sum())}


def escape(rows: Rows, constant: float) -> float | None:
    """Return the first evaluated update with L_p below half of a constant prediction's; None where there is none."""
    return next((row[UPDATE] for row in rows if row["losses/auxiliary"] < constant / 2), None)


def first_learnt(rows: Rows) -> float | None:
    """Return the first evaluated update with an accuracy of `LEARNT`; None where there is none."""
    return next((row[UPDATE] for row in rows if row[ACCURACY] >= LEARNT), None)


def table(study: Study) -> str:
    """Format a row a start: when each seed left the plateau, and what it reached at the last update."""
    rows = []
    for name in study.variants:
        metrics = study.metrics(name)
        left = [escape(rows, each["constant"]) for rows, each in zip(metrics, study.measures(name), strict=True)]
        last = [rows[-1] for rows in metrics]
        rows.append([
            name, spread((rows[0]["eval/spread"] for rows in metrics), ".2g"),
            _each(left), _each([first_learnt(rows) for rows in metrics]), f"{last[0][UPDATE]:,.0f}",
            spread((row[ACCURACY] for row in last), ".3f"),
            spread((row["eval/within_across_ratio"] for row in last), ".3f"),
        ])  # fmt: skip
    return markdown(
        ["start", "spread before", "leaves the plateau at", f"accuracy {LEARNT} at", "updates", "accuracy then",
         "within / across then"],
        rows,
    )  # fmt: skip


def _each(updates: Sequence[float | None]) -> str:
    return ", ".join("never" if update is None else f"{update:,.0f}" for update in updates)


@unstyled
def draw(study: Study, path: Path) -> None:
    """Write a figure: L_p over updates, a line a seed, and the length of the plateau over the initial gain.

    Starts that differ from the paper's in the gain alone are in the second panel, which is left out if there are none.

    Raises:
        OSError: the file cannot be written.
    """
    gains = [name for name in study.variants if name in GAIN_OF]
    alone = len(gains) < 2
    figure = Figure(figsize=(7, 3.2) if alone else (10, 3.4), layout="constrained")
    if alone:
        _draw_losses(figure.subplots(), study, list(study.variants))
    else:
        left, right = figure.subplots(1, 2)
        _draw_losses(left, study, [name for name in study.variants if name not in gains[1:]])
        _draw_lengths(right, study, gains)
    save_figure(figure, path, dpi=120)


def _draw_losses(axes: Axes, study: Study, names: Sequence[str]) -> None:
    """Draw L_p over updates, a line a seed, as a share of a constant prediction's."""
    for color, name in zip(DISTINCT, names, strict=False):
        for number, (rows, each) in enumerate(zip(study.metrics(name), study.measures(name), strict=True)):
            known = [row for row in rows if not math.isnan(row["losses/auxiliary"])]
            axes.plot(
                [row[UPDATE] for row in known], [row["losses/auxiliary"] / each["constant"] for row in known],
                color=color, linewidth=1, label=None if number else name,
            )  # fmt: skip
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="update", ylabel="L_p, of a constant's", ylim=(0, 1.3))
    axes.legend(frameon=False, fontsize=8)


def _draw_lengths(axes: Axes, study: Study, names: Sequence[str]) -> None:
    """Draw the update at which each seed left the plateau over the gain, beside the law of escape from a small start.

    The law, tau ~ gain ** -(r - 2) of r scaled layers, goes through the mean of the first start's seeds that left.
    """
    ends, first = [], []
    for name in names:
        for rows, each in zip(study.metrics(name), study.measures(name), strict=True):
            left = escape(rows, each["constant"])
            ends.append(rows[-1][UPDATE])
            if name == names[0] and left is not None:
                first.append(left)
            axes.plot(
                GAIN_OF[name], ends[-1] if left is None else left, "o" if left is not None else "^", markersize=6,
                color=DISTINCT[0], markerfacecolor=DISTINCT[0] if left is not None else "none",
            )  # fmt: skip
    if first:
        gains = np.linspace(GAIN_OF[names[0]], max(GAIN_OF[name] for name in names))
        axes.plot(
            gains,
            np.mean(first) * (gains / gains[0]) ** -(SCALED_LAYERS - 2.0),
            "--",
            color="grey",
            label=f"law of small starts, r = {SCALED_LAYERS}",
        )
    axes.plot([], [], "o", color=DISTINCT[0], label="left at")
    axes.plot([], [], "^", color=DISTINCT[0], markerfacecolor="none", label="not left by the last update")
    axes.set(xlabel="initial gain of convolutions", ylabel="update", ylim=(0, 1.1 * max(ends)))
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
