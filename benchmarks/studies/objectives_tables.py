"""Tables and the figure of what each objective keeps, from the records of the study `objectives`."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.figures.colors import DISTINCT
from pjepa_agent.figures.run import save_figure, unstyled

from benchmarks.tables import markdown, spread

Runs = Sequence[Mapping[str, Any]]
"""The records of an objective's seeds: ``report`` and ``measures``."""

SYMBOLS = {"dynamics": "T", "head": "P"}
UNTRAINED, SHUFFLED = "untrained", "shuffled labels"
LEVELS = range(1, LEVELS_MEASURED + 1)


def chosen_table(chosen: Mapping[str, str]) -> str:
    """Format a table of the settings that each objective's search chose."""
    return markdown(["objective", "chosen by the search"], [[name, setting] for name, setting in chosen.items()])


def tables(world: str, found: Mapping[str, Runs]) -> list[str]:
    """Format the tables of a world: a row an objective, mean (lowest to highest) over its seeds."""
    if not found:
        return []
    if world == "grid":
        return [_of_grid(found)]
    return [_of_counting(found), _of_theorem(found), _of_probes(found)]


def beside(runs: Runs) -> str:
    """Name what of T and P learnt on detached embeddings."""
    return ", ".join(SYMBOLS[name] for name in runs[0]["report"]["detached"]) or "none"


def trained_of(runs: Runs) -> list[Mapping[str, Any]]:
    """Return the held-out measures of each seed."""
    return [run["report"]["held_out"]["trained"] for run in runs]


def untrained_of(runs: Runs) -> list[Mapping[str, Any]]:
    """Return the held-out measures of each seed's initial weights."""
    return [run["report"]["held_out"]["untrained"] for run in runs]


def trained(runs: Runs, key: str) -> list[Any]:
    """Return a held-out measure of each seed."""
    return [measures.get(key) for measures in trained_of(runs)]


def untrained(runs: Runs, key: str) -> list[Any]:
    """Return a held-out measure of each seed's initial weights."""
    return [measures.get(key) for measures in untrained_of(runs)]


def lowest(measures: Mapping[str, Any], name: str) -> float | None:
    """Return the smallest of a measure's levels; None without any."""
    found = [measures.get(f"theorem_{name}_{level}") for level in LEVELS]
    return min((each for each in found if each is not None), default=None)


def _of_counting(found: Mapping[str, Runs]) -> str:
    header = ["objective", "beside it", "seeds", "accuracy", "within / across", "RankMe", "embeddings used",
              "collapsed pairs", "seconds"]  # fmt: skip
    rows = [
        [
            name, beside(runs), str(len(runs)),
            *_cells(trained, runs),
            spread((run["measures"]["codes"] for run in runs), ".0f"),
            spread(trained(runs, "theorem_collapsed_pairs"), ".0f"),
            spread((run["report"]["seconds"] for run in runs), ".0f"),
        ]
        for name, runs in found.items()
    ]  # fmt: skip
    floor = next(iter(found.values()))
    rows.append([
        UNTRAINED, "", str(len(floor)), *_cells(untrained, floor),
        spread((run["measures"]["untrained_codes"] for run in floor), ".0f"),
        spread(untrained(floor, "theorem_collapsed_pairs"), ".0f"), "",
    ])  # fmt: skip
    every = [run for runs in found.values() for run in runs]
    rows.append([
        SHUFFLED, "", str(len(every)), spread((run["measures"]["shuffled_accuracy"] for run in every), ".3f"),
        *[""] * 5,
    ])  # fmt: skip
    return markdown(header, rows)


def _cells(of: Any, runs: Runs) -> list[str]:
    keys = {"nearest_centroid_accuracy": ".3f", "within_across_ratio": ".3f", "rankme": ".1f"}
    return [spread(of(runs, key), form) for key, form in keys.items()]


def _of_theorem(found: Mapping[str, Runs]) -> str:
    names = {"separation": "separation", "explained_share": "explained"}
    rows = [[name, *_levels(trained, runs, names)] for name, runs in found.items()]
    floor = next(iter(found.values()))
    rows.append([UNTRAINED, *_levels(untrained, floor, names)])
    every = [run["measures"]["shuffled_separation"] for runs in found.values() for run in runs]
    shuffled = [spread((run[level - 1] if level <= len(run) else None for run in every), ".3f") for level in LEVELS]
    rows.append([SHUFFLED, *shuffled, *[""] * len(LEVELS)])
    return markdown(["objective", *(f"{title} {level}" for title in names.values() for level in LEVELS)], rows)


def _levels(of: Any, runs: Runs, names: Iterable[str]) -> list[str]:
    return [spread(of(runs, f"theorem_{name}_{level}"), ".3f") for name in names for level in LEVELS]


def _of_probes(found: Mapping[str, Runs]) -> str:
    asked = [(kind, label) for label in ("count", "shape", "color", "position") for kind in ("linear", "mlp")]
    floor = next(iter(found.values()))
    rows = [[name, *_probes(trained, runs, asked)] for name, runs in found.items()]
    rows.append([UNTRAINED, *_probes(untrained, floor, asked)])
    chance = [each or {} for each in trained(floor, "chance")]
    rows.append(["chance", *(spread((each.get(label) for each in chance), ".3f") for _, label in asked)])
    return markdown(["objective", *(f"{label}, {kind}" for kind, label in asked)], rows)


def _probes(of: Any, runs: Runs, asked: Iterable[tuple[str, str]]) -> list[str]:
    return [spread(((each or {}).get(label) for each in of(runs, f"{kind}_probe")), ".3f") for kind, label in asked]


def _of_grid(found: Mapping[str, Runs]) -> str:
    header = ["objective", "beside it", "seeds", "explained, least level", "transition error", "collapsed pairs",
              "RankMe", "embeddings used", "of observations", "seconds of training"]  # fmt: skip
    keys = {"theorem_least_explained_share": ".3f", "transition_error": ".3f", "theorem_collapsed_pairs": ".0f",
            "rankme": ".1f"}  # fmt: skip
    floor = next(iter(found.values()))
    rows = [
        [
            name, beside(runs), str(len(runs)),
            *(spread(trained(runs, key), form) for key, form in keys.items()),
            *(spread((run["measures"][key] for run in runs), ".0f") for key in ("codes", "observations")),
            spread((run["measures"]["training_seconds"] for run in runs), ".0f"),
        ]
        for name, runs in found.items()
    ]  # fmt: skip
    rows.append([
        UNTRAINED, "", str(len(floor)), *(spread(untrained(floor, key), form) for key, form in keys.items()),
        *(spread((run["measures"][key] for run in floor), ".0f") for key in ("untrained_codes", "observations")), "",
    ])  # fmt: skip
    return markdown(header, rows)


def alternative(found: Mapping[str, Runs]) -> str:
    """Say in words what the figure of the counting world shows."""
    floor = next(iter(found.values()))
    shown = [(name, trained_of(runs)) for name, runs in found.items()] + [(UNTRAINED, untrained_of(floor))]
    means = ", ".join(
        f"{name} {statistics.mean(_value(each, 'separation') for each in measures):.2f}" for name, measures in shown
    )
    return (
        f"Separation, explained share and accuracy of {len(found)} objectives, a dot a seed. Lowest separation of a "
        f"level, mean of the seeds: {means}."
    )


@unstyled
def draw(world: str, found: Mapping[str, Runs], path: Path) -> None:
    """Write a figure: a dot a seed of each objective, and the floors as lines.

    Raises:
        OSError: the file cannot be written.
    """
    panels = {"explained share, least level": ("theorem_least_explained_share", None)}
    if world == "counting":
        panels = {
            "separation, lowest level": ("separation", 0.5),
            "explained share, lowest level": ("explained_share", None),
            "accuracy of the count": ("nearest_centroid_accuracy", 1 / 9),
        }
    figure = Figure(figsize=(3.6 * len(panels) + 1.4, 0.32 * len(found) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for panel, (title, (key, chance)) in zip(axes, panels.items(), strict=True):
        _draw_panel(panel, found, key)
        if chance is not None:
            panel.axvline(chance, color="grey", linewidth=0.8, linestyle=":", label="chance")
        panel.set_title(title, fontsize=10)
        panel.set_xlim(-0.03, 1.03)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    save_figure(figure, path, dpi=120)


def _draw_panel(panel: Axes, found: Mapping[str, Runs], key: str) -> None:
    ways = (("trained", trained_of, DISTINCT[0], "o", 0.7), ("before training", untrained_of, DISTINCT[1], "|", 1.0))
    for label, of, color, marker, alpha in ways:
        places = [(_value(each, key), row) for row, runs in enumerate(found.values()) for each in of(runs)]
        panel.scatter(*zip(*places, strict=True), s=22, color=color, marker=marker, alpha=alpha, label=label)
    panel.set_yticks(range(len(found)), list(found))
    panel.set_ylim(len(found) - 0.5, -0.5)


def _value(measures: Mapping[str, Any], key: str) -> float:
    found = measures[key] if key in measures else lowest(measures, key)
    return float("nan") if found is None else float(found)
