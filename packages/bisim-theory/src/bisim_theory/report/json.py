"""The findings as plain values with stable names, for ``--json``."""

import dataclasses
from typing import Any

import numpy as np

from bisim_theory.analysis import Report
from bisim_theory.data.folding import NoWellTrainedModelError
from bisim_theory.relation.comparison import Candidate, Comparison
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded
from bisim_theory.theorem.check import QUANTILES, LevelCheck, TheoremCheck

SCHEMA = 1
"""Version of what `to_json` returns; raised when a name changes its meaning or goes."""


def to_json(report: Report) -> dict[str, Any]:
    """The findings as plain values with stable names; see the package's README for what each means."""
    relation, check, codes = report.relation, report.check, report.codes
    return {
        "schema": SCHEMA,
        "observations": report.data.frames,
        "sources": len(np.unique(report.data.source)),
        "transitions": len(report.data),
        "actions": len(np.unique(report.data.action)),
        "identity": report.identity,
        "folded": report.folded,
        "conflicts": len(report.conflicts),
        "coinciding_observations": None if report.content is None else report.content.coinciding,
        "conflicts_by_content": None if report.content is None else report.content.conflicts,
        "exact": None if relation is None else relation.exact,
        "signature_classes": None if relation is None else relation.behaviour.classes,
        "bisimulation_classes": None if relation is None else relation.bisimulation_classes,
        "distinguished_pairs_per_level": None if relation is None else relation.distinguished_pairs_per_level,
        "bisimilar_pairs": None if relation is None else relation.bisimilar_pairs,
        "auxiliary": report.auxiliary,
        "label": report.label,
        "look_alike_pairs": report.look_alike_pairs,
        "certified_share": report.certified_share,
        **_codes(codes),
        "collect_next": [dataclasses.asdict(each) for each in report.suggestions],
        "pairs": [dataclasses.asdict(each) for each in report.pairs],
        "comparison": None if report.comparison is None else _comparison(report.comparison),
        "hypothesis": None if check is None else _hypothesis(check),
        "conclusion": None if check is None else _conclusion(check),
        "no_well_trained_model": None if report.impossible is None else _impossible(report.impossible),
        "verdict": report.verdict,
    }


def _codes(codes: EmbeddingsNeeded | None) -> dict[str, Any]:
    return {
        "codes_forced": None if codes is None else {"at_least": codes.at_least, "exact": codes.exact},
        "codes_constructed": None if codes is None else codes.constructed,
    }


def _hypothesis(check: TheoremCheck) -> dict[str, Any]:
    return {
        "met": check.hypothesis_met,
        "transition_residual_quantiles": _quantiles(check.transition_residual),
        "raw_transition_residual_quantiles": _quantiles(check.raw_transition_residual),
        "abstraction_residual_quantiles": _quantiles(check.abstraction_residual),
        "auxiliary_residual_quantiles": _quantiles(check.auxiliary_residual),
        "auxiliary_share": check.auxiliary_share,
        "levels": [_level(level) for level in check.levels],
        "tolerance": dataclasses.asdict(check.tolerance),
    }


def _quantiles(values: tuple[float, ...] | None) -> dict[str, float] | None:
    return None if values is None else dict(zip((f"{each:g}" for each in QUANTILES), values, strict=True))


def _level(level: LevelCheck) -> dict[str, Any]:
    values = {name: value for name, value in vars(level).items() if name not in ("x", "y", "distances")}
    if level.bound is not None:
        values["bound"] = dict(zip(("smallest", "median", "positive_share"), level.bound, strict=True))
    return values


def _conclusion(check: TheoremCheck) -> dict[str, Any]:
    closest = check.closest  # None where the data distinguishes no pair
    return {
        "min_distance": None if closest is None else closest.min_distance,
        "pair": None if closest is None else list(closest.pair),
        "level": None if closest is None else closest.level,
        "witness": None if closest is None else closest.witness,
        "median_distance": check.median_distance,
        "collapsed": check.collapsed,
        "collapsed_pairs": check.collapsed_pairs,
        "collapse_distance": check.collapse_distance,
        "exact": check.exact,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "transitions": comparison.transitions,
        "left_out": comparison.left_out,
        "sources": comparison.sources,
        "candidates": [_candidate(each) for each in comparison.candidates],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "signature_classes": candidate.behaviours,
        "bisimulation_classes": candidate.classes,
        **_codes(candidate.embeddings),
        "distinguished_pairs_per_level": list(candidate.pairs_per_level),
        "certified_share": candidate.certified_share,
        "distinguished_within_label": candidate.within_label,
        "exact": candidate.exact,
        "no_well_trained_model": candidate.impossible,
    }


def _impossible(error: NoWellTrainedModelError) -> dict[str, Any]:
    return {
        "pair": list(error.pair),
        "values": list(error.values),
        "chain": [vars(merge) for merge in error.chain],
    }
