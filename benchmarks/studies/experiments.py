"""Train the paper's four experiments at laptop scale, over seeds, and print the tables of docs/results.md.

Command: ``uv run python -m benchmarks.studies.experiments``. A run without a record in ``benchmarks/records`` is
trained first, eight minutes of a core; an interrupted one is resumed. ``--records`` in an empty folder trains all anew.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from pjepa_agent.config.schema import EXPERIMENTS
from pjepa_agent.evaluation import clusters as geometry
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.reconstruction import reconstruction
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED
from pjepa_agent.runs.checkpoint import load
from pjepa_agent.runs.directory import RunDirectory

from benchmarks.studies.records import Records
from benchmarks.studies.study import T_GIVEN_VALUES, Measures, Study, add_lanes, study_parser
from benchmarks.tables import markdown, spread

GEOMETRY = {
    "nearest_centroid_accuracy": "accuracy",
    "within_across_ratio": "within / across",
    "between_within_variance": "between / within variance",
    "gap_over_radius": "gap / radius",
    "silhouette": "silhouette",
    "rankme": "RankMe",
    "lidar": "LiDAR",
    "spread": "spread",
    "transition_error": "transition error",
    "auxiliary_loss": "L_p",
}
PROBED = ("count", "shape", "color", "position", "occupancy")
UNTRAINED = "untrained"
COARSE = "silhouette of 0-2, 3-5, 6-8"
"""Column of the silhouette of the three groups that the paper's Figure 2 shows for the auxiliary loss alone."""

VARIANTS = {name: ["--experiment", name, *T_GIVEN_VALUES] for name in EXPERIMENTS}
"""Options of `pjepa-train` by the name of the experiment."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "experiments", seeds="0-4")
    add_lanes(parser)
    return parser


def main() -> None:
    """Train what is missing and print the tables."""
    options = make_parser().parse_args()
    study = Study(options.runs, VARIANTS, options.seeds, Records(options.records, "experiments"), measure)
    study.complete(options.lanes)
    print_tables(study)


def print_tables(study: Study) -> None:
    """Print accuracy, geometry, probes and Theorem 3: a row an experiment, mean (lowest to highest) over the seeds."""
    reports = {name: study.reports(name) for name in study.variants}
    measures = {name: [each["held_out"]["trained"] for each in found] for name, found in reports.items()}
    measures[UNTRAINED] = [each["held_out"]["untrained"] for each in reports["reward"]]

    print(markdown(["experiment", "accuracy, last", "best", "seconds"], [
        [name, spread((each["nearest_centroid_accuracy"] for each in found), ".4f"),
         spread((each["best_nearest_centroid_accuracy"] for each in found), ".4f"),
         spread((each["seconds"] for each in found), ".0f")]
        for name, found in reports.items()
    ]))  # fmt: skip
    print()
    found = {name: study.measures(name) for name in study.variants}
    coarse = {name: [each["coarse_silhouette"] for each in rows] for name, rows in found.items()}
    explained = {name: [each["reconstructed"] for each in rows] for name, rows in found.items()}
    print(markdown(["experiment", *GEOMETRY.values(), COARSE], [
        [name, *(spread((each[key] for each in found), ".3g") for key in GEOMETRY),
         spread(coarse.get(name, ()), ".3g")]
        for name, found in measures.items()
    ]))  # fmt: skip
    print()
    for kind in ("linear", "mlp"):
        print(markdown(["experiment", *(f"{name}, {kind}" for name in PROBED), "reconstructed"], [
            [name, *(spread((each[f"{kind}_probe"][key] for each in found), ".3f") for key in PROBED),
             spread(explained.get(name, ()), ".1%")]
            for name, found in measures.items()
        ]))  # fmt: skip
        print()
    chance = measures["reward"][0]["chance"]
    print("chance:", ", ".join(f"{key} {value:.3f}" for key, value in chance.items()))
    print()
    print(markdown(["experiment", "certified", "collapsed pairs", *(f"separation {k}" for k in _levels()),
                    *(f"residual ratio {k}" for k in _levels())], [
        [name, *_theorem(found)] for name, found in measures.items()
    ]))  # fmt: skip


def measure(path: Path) -> Measures:
    """Measure the coarse silhouette of a run, and the share of the variance of held-out pixels that is reconstructed.

    The decoder is fitted to the frozen encoder.
    """
    return {"coarse_silhouette": coarse_silhouette(path), "reconstructed": reconstruction(path).explained}


def coarse_silhouette(path: Path) -> float | None:
    """Measure the silhouette of held-out embeddings in three groups of three counts; None if they are one point."""
    embedding, counts = HeldOut(RunDirectory.open(path)[1]).embed(load(path))
    found = geometry.silhouette(embedding, counts // 3)
    return found if math.isfinite(found) else None


def _levels() -> range:
    return range(1, LEVELS_MEASURED + 1)


def _theorem(found: list[dict[str, Any]]) -> list[str]:
    keys = ["certified_share", "collapsed_pairs"]
    keys += [f"{name}_{level}" for name in ("separation", "residual_ratio") for level in _levels()]
    return [spread((each[f"theorem_{key}"] for each in found), ".4g") for key in keys]


if __name__ == "__main__":
    main()
