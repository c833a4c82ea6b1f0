"""Summarize the runs of worlds other than the counting one: what the losses reached, and which pairs are explained."""

import math
from collections.abc import Sequence

import numpy as np

from pjepa_agent.evaluation.compactness import RunGroup, format_range
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.runs.metrics import LEAST_EXPLAINED, Rows

COLUMNS = {
    "L_dyn": ("losses/transition", "{:.3g}"),
    "L_p": ("losses/auxiliary", "{:.3g}"),
    "explained share, least": (LEAST_EXPLAINED, "{:.3f}"),
    "collapsed pairs": ("theorem/collapsed_pairs", "{:,.0f}"),
    "RankMe": ("eval/rankme", "{:.1f}"),
}
"""Columns of the table: the measure at the last update, and how it is formatted."""


def world_table(groups: Sequence[RunGroup]) -> str:
    """Format a Markdown table with one row per group: mean, lowest and highest over its seeds at the last update.

    ``best`` is the largest of a run's least explained shares after its first update. A cell is empty where nothing was
    measured.
    """
    heads = ["configuration", "world", "seeds", *COLUMNS, "best explained share, least"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for group in groups:
        runs = [with_least_explained(rows) for rows in group.metrics]
        cells = [group.name, group.world, str(len(runs))]
        cells += [_cell([rows[-1].get(name, math.nan) for rows in runs], form) for name, form in COLUMNS.values()]
        cells.append(_cell([_best([row[LEAST_EXPLAINED] for row in rows[1:]]) for rows in runs], "{:.3f}"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_least_explained(rows: Rows) -> Rows:
    """Return the rows with the least explained share, of runs that have one per level alone that of these levels."""
    levels = [f"theorem/explained_share_{level}" for level in range(1, LEVELS_MEASURED + 1)]
    return [{LEAST_EXPLAINED: _least([row.get(name, math.nan) for name in levels]), **row} for row in rows]


def _least(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return min(known) if known else math.nan


def _best(values: list[float]) -> float:
    return -_least([-value for value in values])


def _cell(values: list[float], form: str) -> str:
    known = [value for value in values if np.isfinite(value)]
    return format_range(known, form)
