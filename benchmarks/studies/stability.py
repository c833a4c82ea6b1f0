"""What keeps clusters compact: every lever by itself, at laptop scale, over seeds.

Run it with ``uv run python -m benchmarks.studies.stability``. It trains what has no record in ``benchmarks/records``
yet, can be stopped and goes on where it was; ``--only NAME`` takes one lever, ``--list`` names all.
"""

from pjepa_agent.evaluation.compactness import table
from pjepa_agent.figures.curves import draw_group_curves

from benchmarks.studies.study import Study, arguments, settings

EVERY = 50
"""Updates between two evaluations: more often than usual, which changes nothing of the training."""

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
    "latent-noise-0.5": settings("ablation.latent_noise=0.5"),
    "without-fast-paths": settings("compute.fast_paths=false", "compute.check_every=1"),
    "sigreg": settings("objective.regularizer=sigreg", "objective.regularizer_weight=0.1"),
    "vicreg": settings("objective.regularizer=vicreg", "objective.regularizer_weight=1"),
}
"""Options of `pjepa-train` that take one thing away from the default, or put one in. All encode as many observations as
it does, whatever their batch."""

VARIANTS = {name: [*lever, *settings(f"evaluation.every={EVERY}")] for name, lever in LEVERS.items()}
"""The same with evaluations in between."""


def main() -> None:
    """Train what is missing, print the table and draw the curves."""
    options = arguments(__doc__, "stability", LEVERS)
    study = Study(options.runs, {name: VARIANTS[name] for name in options.only}, options.seeds, options.records)
    study.complete(options.lanes)
    print(table(study.groups()))
    if options.out:
        draw_group_curves(study.groups(), options.out)


if __name__ == "__main__":
    main()
