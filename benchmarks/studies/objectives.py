"""Train every objective with settings that an equal search chose, and tabulate what its encoder keeps.

Command: ``uv run python -m benchmarks.studies.objectives --out objectives.png``. It goes on where it was stopped: first
each objective's search (eight settings for 300 updates, the better four for 600, on seeds of the search), then five
seeds that nothing was chosen by. ``--world grid`` does the same on MiniGrid-Empty-8x8, which takes the dependency group
``worlds``. ``--only NAME`` takes some of the objectives, ``--list`` prints their settings.
"""

import argparse
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bisim_theory.theorem.check import LevelCheck, Tolerance, check_theorem
from bisim_theory.theorem.nearest import distances
from numpy.typing import NDArray
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.evaluation.clusters import nearest_centroid_accuracy
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes, make_held_out
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED, PAIRS, represent
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.checkpoint import load
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import MetricsFile

from benchmarks.studies.kinds import kinds_of
from benchmarks.studies.objectives_figure import draw
from benchmarks.studies.objectives_tables import Runs, chosen_table, tables
from benchmarks.studies.recipes import VARIANTS as WORLDS
from benchmarks.studies.records import Records, Table
from benchmarks.studies.search import Search
from benchmarks.studies.study import (
    A_THOUSAND_UPDATES,
    Measures,
    Study,
    add_curve_options,
    list_variants,
    settings,
    study_parser,
)
from benchmarks.studies.workers import train_here, worker_processes

SCORES = "objectives-search.csv"
"""Table of the scores of all settings."""

CURVES = ("losses/total", "eval/spread")
"""The columns of the curves that are kept, which runs of all objectives have."""

QUICK = settings("evaluation.probe_per_count=0", "evaluation.every=1000")
"""What a training of the search leaves out."""

BATCH = settings("optimization.batch_size=128")
"""Half of the default's batch, so that a world takes hours of a core instead of a day."""


class World(NamedTuple):
    """Hold a world: options of `pjepa-train`, those that all objectives but ``tdmpc2`` have, and the learning rates."""

    options: Sequence[str]
    network: Sequence[str]
    rates: Mapping[str, Sequence[str]]


PLACES = {
    "counting": World(
        (), (), {rate: settings(f"optimization.learning_rate={rate}") for rate in ("8e-3", "2e-3", "5e-4", "2e-2")}
    ),
    "grid": World(
        WORLDS["minigrid-empty-8x8"],
        settings("network.latent_normalization=batch"),
        {
            f"8e-3x{factor}": settings(f"optimization.encoder_learning_rate_factor={factor}")
            for factor in ("0.15", "0.02", "0.005", "0.5")
        },
    ),
}
"""Of the learning rates all objectives try the first two; one of a single loss, without weights, tries all four."""

CLIPS = {clip: settings(f"optimization.clip={clip}") for clip in ("1", "20")}

SEQUENCES = settings("optimization.batch_size=64")
"""Half as many sequences of three transitions encode as many observations as the others' pairs."""


def objective(name: str, *more: str) -> list[str]:
    """Return the options that train with an objective."""
    return ["--objective", name, *more]


def arguments(**values: str) -> list[str]:
    """Return the options that set arguments of an objective, given in JSON."""
    return [part for name, value in values.items() for part in ("--objective-arg", f"{name}={value}")]


OWN: Mapping[str, list[str]] = {"own weights": []}
"""The weights that a method has, or P-JEPA's preset."""

REWARD_10 = {**OWN, "reward 10": arguments(reward_weight="10")}

OBJECTIVES: Mapping[str, tuple[list[str], Mapping[str, list[str]]]] = {
    "pjepa": (objective("pjepa"), {**OWN, "transition 0.1": settings("objective.transition_weight=0.1")}),
    "deepmdp": (objective("deepmdp"), REWARD_10),
    "dbc": (objective("dbc"), REWARD_10),
    "dbc-paper": (objective("dbc", *arguments(form="paper")), REWARD_10),
    "tdmpc2": (objective("tdmpc2", *SEQUENCES), {**OWN, "reward 2": arguments(reward_weight="2")}),
    "pldm": (
        objective("pldm", *SEQUENCES),
        {
            **OWN,
            "eb_jepa weights": arguments(
                variance_weight="16", covariance_weight="8", smoothness_weight="12", inverse_weight="1"
            ),
        },
    ),
    "inverse": (objective("inverse"), OWN),
    "inverse-transition": (
        objective("inverse"),
        {f"transition {weight}": arguments(transition_weight=weight) for weight in ("0.2", "1")},
    ),
    "sigreg": (objective("sigreg"), {**OWN, "sigreg 1": arguments(sigreg_weight="1")}),
    "vicreg": (objective("vicreg"), {**OWN, "transition 5": arguments(transition_weight="5")}),
    "ema": (objective("ema"), {**OWN, "momentum 0.999": arguments(momentum="0.999")}),
}
"""Options of each objective, and the weights that its search tries."""


def candidate_settings(world: str, name: str) -> dict[str, list[str]]:
    """Return the eight settings of an objective: two rates, two clips and two weights, or four rates and two clips."""
    place, (options, weights) = PLACES[world], OBJECTIVES[name]
    rates = dict(itertools.islice(place.rates.items(), 8 // (len(CLIPS) * len(weights))))
    network = [] if name == "tdmpc2" else place.network
    budget = A_THOUSAND_UPDATES if (world, name) == ("counting", "pjepa") else []
    return {
        f"rate {rate}, clip {clip}, {weight}": [
            *(*budget, *BATCH, *place.options, *options, *network),
            *(*rates[rate], *CLIPS[clip], *weights[weight]),
        ]
        for rate, clip, weight in itertools.product(rates, CLIPS, weights)
    }


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "objectives", seeds="40-44")
    parser.add_argument("--world", choices=list(PLACES), default="counting", help="(default: %(default)s)")
    add_curve_options(parser, OBJECTIVES)
    parser.add_argument("--recorded", action="store_true", help="train nothing, and print what is recorded")
    return parser


def main() -> None:
    """Search and train what is missing, print the tables and draw the figure."""
    options = make_parser().parse_args()
    every = {name: candidate_settings(options.world, name) for name in options.only}
    if options.list:
        print("\n\n".join(f"# {name}\n{list_variants(each)}" for name, each in every.items()))
        return
    records = Records(options.records, "objectives", CURVES)
    searches = searches_of(options.world, options.only, options.records, options.runs)
    if not options.recorded:
        with worker_processes(options.lanes) as pool:
            chosen = {name: search.complete(pool) for name, search in searches.items()}
            variants = {f"{options.world}-{name}": every[name][setting] for name, setting in chosen.items()}
            Study(options.runs, variants, options.seeds, records, measure).complete_in(pool, train_here)
    chosen = winners(searches)
    found = recorded_runs(options.world, chosen, records, options.seeds)
    print(chosen_table(chosen), *tables(options.world, found), sep="\n\n")
    if options.out:
        draw(options.world, found, options.out)


def searches_of(world: str, names: Sequence[str], folder: Path, runs: Path) -> dict[str, Search]:
    """Return the search of each objective, with its scores in a folder of records."""
    score = score_counting if world == "counting" else score_grid
    return {
        name: Search(
            f"{world}/{name}",
            {setting: [*given, *QUICK] for setting, given in candidate_settings(world, name).items()},
            Table(folder / SCORES),
            runs / "search",
            score,
        )
        for name in names
    }


def winners(searches: Mapping[str, Search]) -> dict[str, str]:
    """Return the setting that each finished search chose."""
    found = {name: search.halving.winner(search.scores()) for name, search in searches.items()}
    return {name: setting for name, setting in found.items() if setting is not None}


def recorded_runs(world: str, names: Iterable[str], records: Records, seeds: Sequence[int]) -> dict[str, Runs]:
    """Return the recorded runs of each objective that has any."""
    known = records.runs()
    found = {name: [known[key] for seed in seeds if (key := (f"{world}-{name}", seed)) in known] for name in names}
    return {name: runs for name, runs in found.items() if runs}


def score_counting(row: Mapping[str, float]) -> float:
    """Return the lowest separation of a level of R_D*(reward) on held-out transitions, 0 where there is none."""
    found = [row[f"theorem/separation_{level}"] for level in range(1, LEVELS_MEASURED + 1)]
    return min((each for each in found if not math.isnan(each)), default=0.0)


def score_grid(row: Mapping[str, float]) -> float:
    """Return the mean explained share of the first levels of R_D*(terminated) on held-out transitions, 0 without one.

    Later levels have so few pairs that the least share of all levels ranks settings by chance.
    """
    found = [row[f"theorem/explained_share_{level}"] for level in range(1, LEVELS_MEASURED + 1)]
    known = [each for each in found if not math.isnan(each)]
    return float(np.mean(known)) if known else 0.0


def measure(path: Path) -> Measures:
    """Count the embeddings that a finished run and an untrained one use, and measure with shuffled labels."""
    run, config = RunDirectory.open(path)
    model, spec = load(path), run.read_spec()
    untrained = PJEPA.untrained(config, spec)
    untrained.copy_standardization(model)
    if config.counting:
        return _measure_counting(HeldOut(config, Auxiliary(config)), model, untrained)
    held_out = make_held_out(config, spec, Auxiliary(config, bins=spec.auxiliary_bins))
    assert isinstance(held_out, HeldOutEpisodes)
    found: Measures = {}
    for prefix, each in (("", model), ("untrained_", untrained)):
        check = check_theorem(held_out.relation, represent(held_out.data, each), Tolerance(sample=PAIRS), None)
        found[f"{prefix}codes"] = codes_used(held_out.embed(each)[0], check.collapse_distance)
        found[f"{prefix}explained_pairs"] = explained_pairs(check.levels)
    last = MetricsFile(run.metrics, until=config.optimization.updates).rows[-1]
    # Without the collection, which a worker makes once for all objectives.
    return {**found, "observations": len(held_out.relation.observations), "training_seconds": last["seconds"]}


def explained_pairs(levels: Sequence[LevelCheck]) -> float:
    """Return the share of the pairs of all levels that the residuals explain."""
    pairs = [level.pairs for level in levels]
    return float(np.average([level.explained.share for level in levels], weights=pairs))


def _measure_counting(held_out: HeldOut, model: PJEPA, untrained: PJEPA) -> Measures:
    found: Measures = {}
    for name, each in (("codes", model), ("untrained_codes", untrained)):
        embedding = each.encode(held_out.images).numpy()
        found[name] = codes_used(embedding, view_radius(embedding, held_out.labels))
    embedding = model.encode(held_out.images).numpy()
    shuffled = np.random.default_rng(0).permutation(held_out.counts)
    scored = held_out.scored
    found["shuffled_accuracy"] = nearest_centroid_accuracy(
        embedding[~scored], shuffled[~scored], embedding[scored], shuffled[scored]
    )
    data = held_out.transitions.data
    labels = np.random.default_rng(1).permutation(data.labels["count"])
    check = check_theorem(
        held_out.transitions.relation, represent(data, model), Tolerance(sample=PAIRS), labels, witnesses=False
    )
    found["shuffled_separation"] = [level.separation for level in check.levels]
    return found


def view_radius(embedding: NDArray[Any], labels: Mapping[str, NDArray[Any]]) -> float:
    """Return the distance that a hundredth of the pairs which differ in positions alone exceed."""
    kinds = kinds_of(labels)
    apart = [
        distances(embedding, x, y)
        for kind, x, y in kinds.sorted_pairs(np.arange(len(embedding)))
        if kind.group == kinds.same_name
    ]
    return float(np.quantile(np.concatenate(apart), 0.99))


def codes_used(embedding: NDArray[Any], radius: float) -> int:
    """Count embeddings that are further apart than a radius, each the furthest from those before it, from the first on.

    Every embedding lies within the radius of one of them.
    """
    nearest = np.full(len(embedding), np.inf)
    at, count = 0, 0
    while nearest[at] > radius:
        count += 1
        nearest = np.minimum(nearest, np.linalg.norm(embedding.astype(np.float64) - embedding[at], axis=1))
        at = int(nearest.argmax())
    return count


if __name__ == "__main__":
    main()
