"""Train the laptop preset on other people's worlds, over seeds, and print the table of docs/your-world.md.

Command: ``uv run python -m benchmarks.studies.recipes``. A run without a record in ``benchmarks/records`` is trained
first, which takes the dependency group ``worlds``; an interrupted one is resumed. ``--only NAME`` takes some of the
worlds, and ``--list`` prints the options that each is trained with.
"""

import argparse
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bisim_theory import TransitionDataset, read_transitions
from bisim_theory.data.transitions import chunks
from bisim_theory.theorem.check import LevelCheck, Tolerance, check_theorem
from bisim_theory.theorem.explained import FEW_PAIRS
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes, make_held_out
from pjepa_agent.evaluation.theorem import represent
from pjepa_agent.runs.checkpoint import load
from pjepa_agent.runs.directory import RunDirectory

from benchmarks.studies.records import WORLD_CURVES, Key, Records
from benchmarks.studies.study import Measures, Study, add_lanes, add_only, list_variants, settings, study_parser
from benchmarks.tables import markdown, spread
from benchmarks.worlds.worlds import WORLDS

DATASETS = Path("runs/recipes-data")
"""Folder of the datasets that are recorded with other people's writers; relative, since configurations name it."""

ALL = 10**6
"""More held-out transitions than any run has."""

TILE = 64
"""Height and width that images are resized to."""


class Recorded(NamedTuple):
    """Describe a dataset: an entry of `benchmarks.worlds.worlds.WORLDS`, and how many episodes are recorded."""

    world: str
    episodes: int


RECORDED = {
    "minari": Recorded("minigrid-empty-5x5", 150),
    "torchrl": Recorded("cartpole", 600),
    "hdf5": Recorded("minigrid-doorkey-5x5", 80),
}
"""Datasets by the name of the variant that is trained on them."""


def environment(name: str, p: str, *assignments: str, **arguments: str) -> list[str]:
    """Return the options that train on an environment, with its arguments in JSON."""
    given = [part for key, value in arguments.items() for part in ("--env-arg", f"{key}={value}")]
    return ["--env", name, *given, "--auxiliary", p, *settings(*assignments)]


def grid(name: str) -> list[str]:
    """Return the options that train on a world of MiniGrid, seen whole."""
    return environment(f"minigrid:MiniGrid-{name}-v0", "terminated", IMAGES, ABSORB)


IMAGES, ABSORB = f"collection.size={TILE}", "collection.terminal=absorb"

VARIANTS: Mapping[str, list[str]] = {
    "frozenlake-4x4": environment("FrozenLake-v1", "terminated", IMAGES, ABSORB, is_slippery="false"),
    "frozenlake-8x8": environment("FrozenLake-v1", "terminated", IMAGES, ABSORB, is_slippery="false", map_name='"8x8"'),
    "minigrid-empty-5x5": grid("Empty-5x5"),
    "minigrid-empty-8x8": grid("Empty-8x8"),
    "minigrid-doorkey-5x5": grid("DoorKey-5x5"),
    "minigrid-fourrooms": grid("FourRooms"),
    "cartpole-pixels": environment(
        "CartPole-v1", "terminated", IMAGES, ABSORB, "collection.observation=render", "collection.stack=2"
    ),
    "pendulum": environment("Pendulum-v1", "reward:bins:5", "collection.observation=vector"),
    "pong": environment(
        "ale_py:ALE/Pong-v5",
        "reward",
        IMAGES,
        "collection.grayscale=true",
        "collection.stack=4",
        repeat_action_probability="0",
    ),
    **{name: ["--data", str(DATASETS / name), "--auxiliary", "terminated", *settings(ABSORB)] for name in RECORDED},
}
"""Options of `pjepa-train` by the name of the world. All take the laptop preset as it is."""

ABLATED = "minigrid-empty-8x8"
"""The world in which each part of the recipe is left out."""

ABLATIONS: Mapping[str, list[str]] = {
    name: [*VARIANTS[ABLATED], *settings(assignment)]
    for name, assignment in {
        "embeddings-not-standardised": "network.latent_normalization=none",
        "weight-of-transitions-0.5": "objective.transition_weight=0.5",
        "encoder-rate-0.15": "optimization.encoder_learning_rate_factor=0.15",
        "uniform-sampling": "optimization.sampling=uniform",
    }.items()
}
"""Options by what is as it was in the counting world."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "recipes", seeds="0-2")
    add_lanes(parser)
    add_only(parser, [*VARIANTS, *ABLATIONS])
    parser.add_argument("--recorded", action="store_true", help="train nothing, and print what is recorded")
    parser.add_argument("--list", action="store_true", help="print each world with its options, and exit")
    return parser


def main() -> None:
    """Train what is missing and print the table."""
    options = make_parser().parse_args()
    every = {**VARIANTS, **ABLATIONS}
    variants = {name: every[name] for name in options.only}
    if options.list:
        print(list_variants(variants))
        return
    records = Records(options.records, "recipes", WORLD_CURVES)
    known = records.runs()
    if not options.recorded:
        for name in options.only:
            if name in RECORDED and any((name, seed) not in known for seed in options.seeds):
                record(name)
        Study(options.runs, variants, options.seeds, records, measure).complete(options.lanes)
        known = records.runs()
    print(table(known, [name for name in VARIANTS if name in variants], options.seeds))
    print()
    print(table(known, [name for name in (ABLATED, *ABLATIONS) if name in variants], options.seeds))


def record(name: str) -> Path:
    """Record a dataset with the library that its format belongs to, unless it is there; return its path."""
    link = DATASETS / name
    if not link.exists():
        world, episodes = RECORDED[name]
        folder = DATASETS / f"{name}-files"
        folder.mkdir(parents=True)
        path = WORLDS[world].writer().write(folder.absolute(), episodes)
        link.symlink_to(path.relative_to(DATASETS.absolute()))
    return link


def measure(path: Path) -> Measures:
    """Check Theorem 3 on all held-out transitions of a finished run, with its best state and with the untrained one."""
    run, config = RunDirectory.open(path)
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, transitions=ALL))
    spec = run.read_spec()
    held_out = make_held_out(config, spec, Auxiliary(config, bins=spec.auxiliary_bins))
    assert isinstance(held_out, HeldOutEpisodes)
    best = load(path, at="best")
    found = check(held_out, best)
    untrained = check(held_out, type(best).untrained(config, spec))
    unseen = unseen_share(read_transitions(run.transitions), held_out.data)
    return {
        **found,
        "unseen": unseen,
        "untrained_least": untrained["least"],
        "untrained_collapsed": untrained["collapsed"],
    }


def check(held_out: HeldOutEpisodes, model: Any) -> Measures:
    """Return what a model explains of every level, and the pairs that collapse, with those of equal content apart."""
    representation = represent(held_out.data, model)
    found = check_theorem(held_out.relation, representation, Tolerance(), None)
    levels = [(level.pairs, level.explained.share, level.explained.reaches(0.9)) for level in found.levels]
    return {
        "identity": held_out.identity,
        "observations": len(held_out.relation.observations),
        "transitions": len(held_out.data),
        "levels": [[int(pairs), round(share, 4)] for pairs, share, _ in levels],
        "explained_levels": sum(reached for *_, reached in levels),
        "least": least(found.levels),
        "collapsed": found.collapsed_pairs,
        "equal_content": equal_content(held_out),
    }


def unseen_share(training: TransitionDataset, held_out: TransitionDataset) -> float:
    """Return which share of the distinct held-out pairs of observation and action no transition of the training has."""
    known, asked = _pairs(training), _pairs(held_out)
    return len(asked - known) / len(asked)


def _pairs(data: TransitionDataset) -> set[tuple[bytes, int]]:
    frames: Any = data.observation
    digests = [
        hashlib.blake2b(np.ascontiguousarray(frame).tobytes(), digest_size=16).digest()
        for piece in chunks(frames)
        for frame in piece
    ]
    return {
        (digests[source], action) for source, action in zip(data.source.tolist(), data.action.tolist(), strict=True)
    }


def least(levels: list[LevelCheck]) -> float | None:
    """Return the smallest explained share of the levels with at least `FEW_PAIRS` pairs; None without any."""
    return min((level.explained.share for level in levels if level.pairs >= FEW_PAIRS), default=None)


def equal_content(held_out: HeldOutEpisodes) -> int:
    """Count the distinguished pairs of observations of equal content, which no encoder can tell apart."""
    relation = held_out.relation
    if held_out.identity == "content":
        return 0
    ids = held_out.data.content_ids()[relation.observations]
    order = np.argsort(ids, kind="stable")
    found = 0
    for group in np.split(relation.observations[order], np.flatnonzero(np.diff(ids[order])) + 1):
        one, other = np.triu_indices(len(group), 1)
        found += int(np.count_nonzero(relation.level(group[one], group[other])))
    return found


def table(known: Mapping[Key, Mapping[str, Any]], names: Sequence[str], seeds: Sequence[int]) -> str:
    """Format a table: a row a variant that is recorded, mean (lowest to highest) over the seeds that are."""
    header = [
        "world", "p", "seeds", "told apart by", "held-out observations", "steps not in training", "levels",
        "explained by 0.9", "least share", "untrained", "collapsed pairs", "of equal content", "RankMe", "seconds",
    ]  # fmt: skip
    every = {**VARIANTS, **ABLATIONS}
    rows = []
    for name in names:
        runs = [known[name, seed] for seed in seeds if (name, seed) in known]
        if not runs:
            continue
        found, reports = [each["measures"] for each in runs], [each["report"] for each in runs]
        rows.append([
            name,
            every[name][every[name].index("--auxiliary") + 1],
            str(len(runs)),
            ", ".join(dict.fromkeys(each["identity"] for each in found)),
            spread((each["observations"] for each in found), ",.0f"),
            spread((each["unseen"] for each in found), ".0%"),
            spread((len(each["levels"]) for each in found), ".0f"),
            spread((each["explained_levels"] for each in found), ".0f"),
            spread((each["least"] for each in found), ".3f"),
            spread((each["untrained_least"] for each in found), ".3f"),
            spread((each["collapsed"] for each in found), ".0f"),
            spread((each["equal_content"] for each in found), ",.0f"),
            spread((each["held_out"]["trained"]["rankme"] for each in reports), ".1f"),
            spread((each["seconds"] for each in reports), ".0f"),
        ])  # fmt: skip
    return markdown(header, rows)


if __name__ == "__main__":
    main()
