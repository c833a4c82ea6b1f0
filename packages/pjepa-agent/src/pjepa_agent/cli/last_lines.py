"""The last lines of `pjepa-train`: what was measured, where all of it is, and the next command."""

from typing import Any

from bisim_theory.console import counted
from bisim_theory.theorem.check import EXPLAINED

from pjepa_agent.config.schema import COUNTING

NOT_EXPLAINED = (
    "not all is explained; what may help is more transitions, or more than {updates:,} updates: --updates N "
    "in a new run, since a resumed run keeps its own"
)
"""What is said of a model that does not explain what it is asked to."""


def _measures(report: dict[str, Any]) -> list[str]:
    """Say what was measured: clusters of counts, or of another world what Theorem 3 explains."""
    if report["world"] != COUNTING:
        trained, untrained = (report["held_out"][name] for name in ("trained", "untrained"))
        share, left = (
            [each[name] for each in (trained, untrained)]
            for name in ("theorem_least_explained_share", "theorem_unexplained_levels")
        )
        return [
            "explained share of distinguished pairs, held out, least of the levels with at least 20 pairs: "
            f"{_number(share[0])} (asked: {EXPLAINED}, untrained: {_number(share[1])})",
            f"levels that are not explained, held out, those of fewer pairs too: {_number(left[0])}"
            f" (asked: 0, untrained: {_number(left[1])})",
            f"collapsed pairs, held out: {_number(trained['theorem_collapsed_pairs'])}"
            f" (asked: 0, untrained: {_number(untrained['theorem_collapsed_pairs'])})",
            *([NOT_EXPLAINED.format(updates=report["updates"])] if left[0] else []),
        ]
    return [
        f"nearest-centroid accuracy, held out: {report['nearest_centroid_accuracy']:.4f} at the last update"
        f" (best {report['best_nearest_centroid_accuracy']:.4f} at update {report['best_update']},"
        f" untrained {report['untrained_nearest_centroid_accuracy']:.4f})",
        f"within/across distance: {report['within_across_ratio']:.3f}",
    ]


def _detached(report: dict[str, Any]) -> list[str]:
    """Say which of T and P are no part of what trained the encoder, since measures of them are given."""
    names = [{"dynamics": "T", "head": "P"}[name] for name in report["detached"]]
    if not names:
        return []
    return [f"{' and '.join(names)}: learnt on detached embeddings, beside objective {report['objective']}"]


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def describe_trained(path: object, report: dict[str, Any]) -> str:
    """Summarise a finished run in a few lines, and name the next command."""
    return "\n".join(
        [
            *_measures(report),
            *_detached(report),
            f"{counted(report['updates'], 'update')} in {report['seconds']:.0f} s",
            f"written to {path}: config.json, metrics.csv, checkpoints/, transitions.npz, representation.npz, "
            "figures/, report.json, provenance.json",
            f"next: bisim-check {path}",
        ]
    )
