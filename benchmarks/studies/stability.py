"""Train the laptop preset with one change at a time and tabulate how compact its clusters stay, over seeds.

Command: ``uv run python -m benchmarks.studies.stability``. A run without a record in ``benchmarks/records`` is trained
first, seven minutes of a core; an interrupted one is resumed.
"""

import argparse

from pjepa_agent.evaluation.compactness import table
from pjepa_agent.figures.curves import draw_group_curves

from benchmarks.studies.records import Records
from benchmarks.studies.study import T_GIVEN_VALUES, Study, add_curve_options, list_variants, settings, study_parser

EVERY = 50
"""Updates between two evaluations; training does not depend on it."""

CONSTANT = settings("optimization.schedule=constant")
NO_AVERAGING = settings("optimization.averaging_age=0")

LEVERS = {
    "default": [],
    "constant-rate": CONSTANT,
    "no-averaging": NO_AVERAGING,
    "constant-rate-no-averaging": [*CONSTANT, *NO_AVERAGING],
    "constant-rate-no-averaging-running-statistics": [
        *CONSTANT,
        *NO_AVERAGING,
        *settings("evaluation.batch_norm_samples=0"),
    ],
    "weights-of-the-paper": settings("objective.transition_weight=2"),
    "clip-200": settings("optimization.clip=200"),
    "weight-decay-0.1": settings("ablation.weight_decay=0.1"),
    "initialization-0.02": settings("network.initialization=truncated-normal"),
    "initialization-he": settings("ablation.convolution_gain=1.414"),
    "group-normalization": settings("network.normalization=group"),
    "no-normalization": settings("network.normalization=none"),
    "horizon-2": settings("objective.horizon=2", "optimization.batch_size=170"),
    "latent-noise-0.5": settings("objective.latent_noise=0.5"),
    "without-fast-paths": settings("compute.fast_paths=false", "compute.check_every=1"),
    "sigreg": settings("objective.regularizer=sigreg", "objective.regularizer_weight=0.1"),
    "vicreg": settings("objective.regularizer=vicreg", "objective.regularizer_weight=1"),
}
"""Options of `pjepa-train` that change one thing of the default as it was, with T given values.

All encode as many observations as it does."""

VARIANTS = {name: [*T_GIVEN_VALUES, *lever, *settings(f"evaluation.every={EVERY}")] for name, lever in LEVERS.items()}
"""The options of each lever, with an evaluation every `EVERY` updates."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "stability")
    add_curve_options(parser, LEVERS)
    return parser


def main() -> None:
    """Train what is missing, print the table and draw the curves."""
    options = make_parser().parse_args()
    if options.list:
        print(list_variants(LEVERS))
        return
    variants = {name: VARIANTS[name] for name in options.only}
    study = Study(options.runs, variants, options.seeds, Records(options.records, "stability"))
    study.complete(options.lanes)
    print(table(study.groups()))
    if options.out:
        draw_group_curves(study.groups(), options.out)


if __name__ == "__main__":
    main()
