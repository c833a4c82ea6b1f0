"""The paper's four experiments at laptop scale, over seeds: every number of the tables in docs/results.md.

Run it with ``uv run python -m benchmarks.studies.experiments``. It trains what has no record in ``benchmarks/records``
yet, can be stopped and goes on where it was, and prints the tables. ``--records`` elsewhere trains everything anew.
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

from benchmarks.studies.study import RECORDS, Measures, Study
from benchmarks.tables import markdown, seed_range, spread

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
"""Of the three groups that the paper's Figure 2 shows where the reward's loss is alone."""

VARIANTS = {name: ["--experiment", name] for name in EXPERIMENTS}
"""Options of `pjepa-train` by the name of the experiment."""


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/experiments"), help="folder of the run directories")
    parser.add_argument("--seeds", type=seed_range, default=seed_range("0-4"), help="such as 0-4 (default)")
    parser.add_argument("--lanes", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--records", type=Path, default=RECORDS / "experiments", help="folder of their records")
    options = parser.parse_args()
    study = Study(options.runs, VARIANTS, options.seeds, options.records, measure)
    study.complete(options.lanes)
    print_tables(study)


def print_tables(study: Study) -> None:
    """Accuracy, geometry, probes and Theorem 3, a row an experiment, mean (lowest to highest) over the seeds."""
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
    """What is kept of a run beside its report: how coarse its groups are, and the share of held-out pixels' variance
    that a decoder explains which is fitted on the frozen encoder.
    """
    return {"coarse_silhouette": coarse_silhouette(path), "reconstructed": reconstruction(path).explained}


def coarse_silhouette(path: Path) -> float | None:
    """The silhouette coefficient of a run's held-out embeddings in three groups of three counts; None of a point."""
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
