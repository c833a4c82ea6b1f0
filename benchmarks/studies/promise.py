"""Train with many auxiliary functions p, and tabulate what is predicted before training beside what is kept after it.

Command: ``uv run python -m benchmarks.studies.promise --out docs/figures/promise.png``. A run without a record in
``benchmarks/records`` is trained first; an interrupted one is resumed. ``--only NAME`` takes some of the variants, and
``--list`` prints the options of each. FrozenLake, each episode in one of four tints, takes the dependency group
``worlds``, and is trained on as the counting world is: the recipe for other worlds standardises embeddings and hardly
weighs L_dyn, so that its encoders keep the tints too, and there is nothing merged to compare with.

Before training, R_D* of the run's transitions says which kinds of pairs of observations are protected, and at which
level. After it, the separation of a kind on held-out observations is how often a pair of it is further apart than a
pair that nothing distinguishes: one of equal labels at the same states, of a kind of which R_D* has no pair.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bisim_theory import Relation, TransitionDataset, embeddings_needed, empirical_bisimulation, read_transitions
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.theorem.check import Tolerance, check_theorem
from numpy.typing import NDArray
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.config.presets import LAPTOP, make_config
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes, make_held_out
from pjepa_agent.evaluation.theorem import PAIRS, represent
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.checkpoint import load
from pjepa_agent.runs.directory import RunDirectory

from benchmarks.studies.kinds import Kinds, joined_by_label, kinds_of, predict, separations
from benchmarks.studies.promise_tables import kept_table, unprotected_table
from benchmarks.studies.recipes import ABSORB, ALL, IMAGES, environment
from benchmarks.studies.records import Records
from benchmarks.studies.study import (
    A_THOUSAND_UPDATES,
    ONE_FROZEN_STEP,
    Measures,
    Study,
    add_curve_options,
    list_variants,
    settings,
    study_parser,
)

FUNCTIONS = "benchmarks.studies.auxiliaries:"

OF_A_LABEL = {
    "count=4": "reward",
    "count=0": f"{FUNCTIONS}is_empty",
    "count>=5": f"{FUNCTIONS}at_least_five",
    "parity": f"{FUNCTIONS}parity",
    "count mod 3": f"{FUNCTIONS}count_mod_3",
    "shape": f"{FUNCTIONS}shape",
    "reward+shape": f"{FUNCTIONS}reward_and_shape",
    "colour": f"{FUNCTIONS}colour",
    "Q": "q",
    "random": "random",
    "constant": f"{FUNCTIONS}constant",
}
"""Names for ``--auxiliary`` in the counting world, by what the tables call them."""

IN_FROZENLAKE = {
    "lake: terminated": "terminated",
    "lake: reward": "reward",
    "lake: column": f"{FUNCTIONS}column",
    "lake: random": "random",
    "lake: constant": "constant",
}
"""Names for ``--auxiliary`` in FrozenLake 4x4."""

TERMINATED = "terminated"
"""The variant of which p is no function of an image, in the counting world as if it were anybody's."""


def as_in_the_counting_world(auxiliary: str, *, collected: bool) -> list[str]:
    """Return the settings with which another world is trained on as the counting one is, and collected from too.

    ``--updates`` is the caller's.
    """
    wanted = make_config(auxiliary=auxiliary if auxiliary == "random" else "reward")
    other = make_config(environment="another", auxiliary=auxiliary)
    sections = {
        "collection": ("transitions", "max_episode_steps", "action_repeat") if collected else (),
        **{name: _fields(name) for name in ("network", "objective", "optimization", "ablation")},
    }
    return settings(
        *(
            f"{section}.{name}={_of(wanted, section, name)}"
            for section, names in sections.items()
            for name in names
            if name not in ("auxiliary", "updates") and _of(wanted, section, name) != _of(other, section, name)
        )
    )


def _fields(section: str) -> list[str]:
    return [field.name for field in dataclasses.fields(getattr(LAPTOP, section))]


def _of(config: Config, section: str, name: str) -> Any:
    return getattr(getattr(config, section), name)


_VARIANTS: Mapping[str, list[str]] = {
    **{name: ["--auxiliary", auxiliary] for name, auxiliary in OF_A_LABEL.items()},
    TERMINATED: [
        *environment(f"{FUNCTIONS}counting_world", "terminated"),
        *as_in_the_counting_world("terminated", collected=True),
        *settings("evaluation.transitions=2000", "evaluation.label=count"),
    ],
    **{
        name: [
            *environment(f"{FUNCTIONS}frozen_lake", auxiliary, IMAGES, ABSORB),
            *as_in_the_counting_world(auxiliary, collected=False),
        ]
        for name, auxiliary in IN_FROZENLAKE.items()
    },
}

VARIANTS = {name: [*options, *A_THOUSAND_UPDATES, *ONE_FROZEN_STEP] for name, options in _VARIANTS.items()}
"""Options of `pjepa-train`."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "promise", seeds="30-32")
    add_curve_options(parser, VARIANTS)
    parser.add_argument("--recorded", action="store_true", help="train nothing, and print what is recorded")
    return parser


def main() -> None:
    """Train what is missing, print the tables and draw the figure."""
    options = make_parser().parse_args()
    variants = {name: VARIANTS[name] for name in options.only}
    if options.list:
        print(list_variants(variants))
        return
    records = Records(options.records, "promise", COLUMNS)
    if not options.recorded:
        Study(options.runs, folders(variants), options.seeds, records, measure).complete(options.lanes)
    found = measures_of(records, variants, options.seeds)
    print(kept_table(found), unprotected_table(found), sep="\n\n")
    if options.out:
        from benchmarks.studies.promise_figure import alternative, draw

        draw(found, options.out)
        print(f"\n{alternative(found)}")


def measures_of(records: Records, variants: Iterable[str], seeds: Sequence[int]) -> dict[str, list[Measures]]:
    """Return what was measured of each recorded seed, by the variants that have one."""
    known = records.runs()
    found = {
        name: [known[folder(name), seed]["measures"] for seed in seeds if (folder(name), seed) in known]
        for name in variants
    }
    return {name: runs for name, runs in found.items() if runs}


COLUMNS = ("losses/transition", "losses/auxiliary", "eval/spread")
"""The columns of the curves that are kept, which runs of both kinds of worlds have."""


def folder(variant: str) -> str:
    """Return the name of a variant's run directories and records."""
    for sign, word in ((">=", "-at-least-"), ("=", "-is-"), ("+", "-and-"), (": ", "-"), (" ", "-")):
        variant = variant.replace(sign, word)
    return variant


def folders(variants: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the variants by the names of their run directories."""
    return {folder(name): options for name, options in variants.items()}


class Observed(NamedTuple):
    """Hold what a run is measured with.

    Attributes:
        training: the transitions that it was trained on.
        relation: R_D* of these.
        images: held-out observations (F, H, W, C).
        kinds: of pairs of these.
        ids: of those of known p.
        value: of p there.
        transitions: held-out transitions.
        held_out_relation: R_D* of them.
    """

    training: TransitionDataset
    relation: Relation
    images: NDArray[Any]
    kinds: Kinds
    ids: NDArray[np.int64]
    value: NDArray[Any]
    transitions: TransitionDataset
    held_out_relation: Relation


def measure(path: Path) -> Measures:
    """Measure what the transitions of a finished run protect, and what its encoder and an untrained one keep."""
    run, config = RunDirectory.open(path)
    training, model, spec = read_transitions(run.transitions), load(path), run.read_spec()
    untrained = PJEPA.untrained(config, spec)
    untrained.copy_standardization(model)
    seen = observe(run, config, training)
    kinds = kinds_of(seen.training.labels)
    by_label = joined_by_label(seen.training, kinds)
    predicted = predict(seen.relation, kinds)
    if_equal = {} if by_label is None else predict(by_label, kinds)
    alike = {kind for kind, each in predicted.items() if kind.group == kinds.same_name and not each.level}
    embedding = model.encode(seen.images).numpy()
    kept = separations(embedding, seen.kinds, alike)
    floor = separations(untrained.encode(seen.images).numpy(), seen.kinds, alike)
    needed, needed_by_label = (
        embeddings_needed(seen.relation),
        None if by_label is None else embeddings_needed(by_label),
    )
    return {
        "learnt": learnt(model.auxiliary(embedding[seen.ids]).numpy(), seen.value),
        "explained": explained(seen, model),
        "embeddings": [needed.at_least, needed.exact],
        "embeddings_by_label": None if needed_by_label is None else [needed_by_label.at_least, needed_by_label.exact],
        "alike": sorted(kind.name for kind in alike & kept.keys()),
        "kinds": {
            kind.name: [
                each.level,
                round(each.share, 5),
                if_equal[kind].level if kind in if_equal else None,
                kept[kind][0],
                *(None if found is None else round(found, 5) for found in (kept[kind][1], floor[kind][1])),
            ]
            for kind, each in sorted(predicted.items())
            if kind in kept
        },
    }


def observe(run: RunDirectory, config: Config, training: TransitionDataset) -> Observed:
    """Collect what a run is measured with; p is as it was trained."""
    auxiliary = Auxiliary(config, bins=run.read_spec().auxiliary_bins)
    auxiliary.restore(training)
    if not config.counting:
        return _observe_world(run, config, training, auxiliary)
    held_out = HeldOut(config, auxiliary)
    return Observed(
        training=training,
        relation=empirical_bisimulation(training),
        images=held_out.images,
        kinds=kinds_of(held_out.labels),
        ids=np.arange(len(held_out.images)),
        value=auxiliary(held_out.images, held_out.labels),
        transitions=held_out.transitions.data,
        held_out_relation=held_out.transitions.relation,
    )


def _observe_world(run: RunDirectory, config: Config, training: TransitionDataset, auxiliary: Auxiliary) -> Observed:
    spec = run.read_spec()
    held_out = make_held_out(config, spec, auxiliary)
    assert isinstance(held_out, HeldOutEpisodes)
    everything = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, transitions=ALL))
    trained_on = HeldOutEpisodes(everything, spec, training)  # numbers the frames anew
    ids, data, values = held_out.relation.observations, held_out.data, stored_values(held_out.data)
    assert data.observation is not None
    known = values.known[ids]
    return Observed(
        training=trained_on.data,
        relation=trained_on.relation,
        images=np.asarray(data.observation[ids]),
        kinds=kinds_of({name: label[ids] for name, label in data.labels.items()}),
        ids=np.flatnonzero(known),
        value=values.value[ids][known],
        transitions=data,
        held_out_relation=held_out.relation,
    )


def learnt(predicted: NDArray[Any], value: NDArray[Any]) -> float | None:
    """Return the share of the variance of p that P explains on held-out observations; None where p does not vary."""
    value = value.reshape(len(value), -1).astype(np.float64)
    variance = np.square(value - value.mean(0)).sum()
    error = np.square(predicted.reshape(value.shape) - value).sum()
    return float(1 - error / variance) if variance > 0 else None


def explained(seen: Observed, model: PJEPA) -> list[tuple[int, float]]:
    """Return number of pairs and explained share of each level of the held-out transitions."""
    found = check_theorem(
        seen.held_out_relation, represent(seen.transitions, model), Tolerance(sample=PAIRS), None, witnesses=False
    )
    return [(int(level.pairs), round(level.explained.share, 4)) for level in found.levels]


if __name__ == "__main__":
    main()
