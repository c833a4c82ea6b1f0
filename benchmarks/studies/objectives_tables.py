"""Tables of what each objective keeps, from the records of the study `objectives`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pjepa_agent.evaluation.theorem import LEVELS_MEASURED

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


def trained(runs: Runs, key: str) -> list[Any]:
    """Return a held-out measure of each seed."""
    return [run["report"]["held_out"]["trained"].get(key) for run in runs]


def untrained(runs: Runs, key: str) -> list[Any]:
    """Return a held-out measure of each seed's initial weights."""
    return [run["report"]["held_out"]["untrained"].get(key) for run in runs]


def of_levels(measures: Mapping[str, Any], name: str) -> list[float]:
    """Return a measure of the levels that have it."""
    found = (measures.get(f"theorem_{name}_{level}") for level in LEVELS)
    return [each for each in found if each is not None]


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
    header = ["objective", "beside it", "seeds", *(f"explained {level}" for level in LEVELS), "explained, all pairs",
              "transition error", "collapsed pairs", "RankMe", "embeddings used", "of observations",
              "seconds of training"]  # fmt: skip
    floor = next(iter(found.values()))
    rows = [
        [
            name, beside(runs), str(len(runs)), *_grid_cells(trained, runs, ""),
            spread((run["measures"]["training_seconds"] for run in runs), ".0f"),
        ]
        for name, runs in found.items()
    ]  # fmt: skip
    rows.append([UNTRAINED, "", str(len(floor)), *_grid_cells(untrained, floor, "untrained_"), ""])
    return markdown(header, rows)


def _grid_cells(of: Any, runs: Runs, prefix: str) -> list[str]:
    keys = {"transition_error": ".3g", "theorem_collapsed_pairs": ".0f", "rankme": ".1f"}
    measured = {f"{prefix}codes": ".0f", "observations": ".0f"}
    return [
        *_levels(of, runs, ["explained_share"]),
        spread((run["measures"][f"{prefix}explained_pairs"] for run in runs), ".3f"),
        *(spread(of(runs, key), form) for key, form in keys.items()),
        *(spread((run["measures"][key] for run in runs), form) for key, form in measured.items()),
    ]
