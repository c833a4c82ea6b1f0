"""Train the paper's encoder, which has no normalisation, with several initialisations and scales of the pixels.

Command: ``uv run python -m benchmarks.studies.unnormalized``. A run without a record in ``benchmarks/records`` is
trained first, seven minutes of a core, or half an hour with all 69 layers; an interrupted one is resumed.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pjepa_agent.evaluation import clusters as geometry
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.figures.curves import draw_group_curves
from pjepa_agent.runs.checkpoint import load
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import ACCURACY

from benchmarks.studies.records import Records
from benchmarks.studies.study import (
    T_GIVEN_VALUES,
    Measures,
    Study,
    add_curve_options,
    list_variants,
    settings,
    study_parser,
)
from benchmarks.tables import markdown, spread

COMMON = [
    *T_GIVEN_VALUES,
    *settings(
        "network.normalization=none",
        "network.stem=pooled",
        "network.initialization=truncated-normal",
        "objective.transition_weight=2",
        "objective.transition_warmup=0.25",
        "optimization.encoder_learning_rate_factor=0.08",
        "evaluation.every=100",
    ),
]
"""The paper's encoder and weight of L_dyn in the laptop preset's recipe, at half its learning rate for the encoder."""

HE = settings("ablation.convolution_gain=1.414")
SMALLER = settings("ablation.convolution_gain=0.8")
IMAGE_SCALE = settings("ablation.pixel_scale=image")
EARLY = settings("objective.transition_warmup=0.1")
EARLY_LONGER = ["--updates", "2000", *settings("objective.transition_warmup=0.05")]
"""The weight of L_dyn grows over the first 100 updates."""

RELIABLE = [*COMMON, *HE, *settings("ablation.pixel_offset=-0.25"), *IMAGE_SCALE]

ALL_LAYERS = [
    *COMMON,
    *("--updates", "600"),
    *settings(
        "network.width=32",
        "network.blocks=8",
        "objective.transition_warmup=0.6",
        "optimization.batch_size=64",
        "optimization.learning_rate=2e-3",
        "optimization.encoder_learning_rate_factor=0.045",
        # Fewer held-out observations than usual: each takes this encoder 5 ms of a core.
        "evaluation.every=50",
        "evaluation.batch_norm_samples=0",
        "evaluation.reference_per_count=32",
        "evaluation.scored_per_count=32",
        "evaluation.transitions=1000",
    ),
]
"""All 69 layers, in small batches, the encoder at the paper's learning rate of 9e-5."""

VARIANTS = {
    "paper": COMMON,
    "he-black-0": [*COMMON, *HE, *settings("ablation.pixel_offset=0")],
    "black-0.1": [*COMMON, *settings("ablation.pixel_offset=-0.1")],
    "he-black-0.1": [*COMMON, *HE, *settings("ablation.pixel_offset=-0.1")],
    "he-black-0.25-image-scale-early": [*RELIABLE, *EARLY],
    "he-black-0.25-image-scale-early-longer": [*RELIABLE, *EARLY_LONGER],
    "69-layers-image-scale": [*ALL_LAYERS, *IMAGE_SCALE],
    "69-layers-gain-0.8-black-0.1": [*ALL_LAYERS, *SMALLER, *settings("ablation.pixel_offset=-0.1")],
    "69-layers-gain-0.8-black-0.1-image-scale": [
        *ALL_LAYERS,
        *SMALLER,
        *settings("ablation.pixel_offset=-0.1"),
        *IMAGE_SCALE,
    ],
}
"""Options of `pjepa-train`: initialisation, offset of the pixels, and their scale; with one block a stage, or the
paper's eight. With eight, embeddings start at a spread of thousands with He's gain and of 0.2 with a gain of 0.8."""

SCORES = (ACCURACY, "losses/auxiliary", "eval/spread")


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "unnormalized")
    add_curve_options(parser, VARIANTS)
    return parser


def main() -> None:
    """Train what is missing, print the table and draw the curves."""
    options = make_parser().parse_args()
    if options.list:
        print(list_variants(VARIANTS))
        return
    variants = {name: VARIANTS[name] for name in options.only}
    study = Study(options.runs, variants, options.seeds, Records(options.records, "unnormalized"), measure)
    study.complete(options.lanes)
    print(table(study))
    if options.out:
        draw_group_curves(study.groups(), options.out)


def table(study: Study) -> str:
    """Format a row a variant: mean, lowest and highest over the seeds, at the last update."""
    rows = []
    for name in study.variants:
        last = [rows[-1] for rows in study.metrics(name)]
        lowest = [min(row[f"theorem/separation_{level}"] for level in range(1, LEVELS_MEASURED + 1)) for row in last]
        rows.append([
            name,
            *(spread((row[score] for row in last), ".3f") for score in SCORES),
            spread(lowest, ".3f"),
            *(spread((each[key] for each in study.measures(name)), ".3f") for key in ("direction", "darkest")),
        ])  # fmt: skip
    return markdown(
        ["variant", "accuracy", "L_p in training", "spread", "separation, lowest level", "accuracy of directions alone",
         "accuracy of the darkest fifth"],
        rows,
    )  # fmt: skip


def measure(path: Path) -> Measures:
    """Measure the accuracy of the embeddings' directions, and that of the darkest observations.

    Directions are those from the embedding of the empty image. With black at 0 and no biases an encoder is positively
    homogeneous: directions are then classified better than embeddings, and dark observations worst.
    """
    held_out, model = HeldOut(RunDirectory.open(path)[1]), load(path)
    embedding = model.encode(held_out.images).numpy().astype(np.float64)
    directions = embedding - model.encode(np.zeros_like(held_out.images[:1])).numpy()
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return {"direction": held_out.accuracy(directions), "darkest": darkest(held_out, embedding)}


def darkest(held_out: HeldOut, embedding: NDArray[np.float64]) -> float:
    """Measure the nearest-centroid accuracy of the darkest fifth of the scored observations that have an object."""
    scored, counts = held_out.scored, held_out.counts
    brightness = held_out.images.reshape(len(counts), -1, 3).max(1).mean(-1)
    objects = scored & (counts > 0)
    dark = objects & (brightness <= np.quantile(brightness[objects], 0.2))
    return geometry.nearest_centroid_accuracy(embedding[~scored], counts[~scored], embedding[dark], counts[dark])


if __name__ == "__main__":
    main()
