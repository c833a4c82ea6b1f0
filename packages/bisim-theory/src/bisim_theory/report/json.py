"""Format a report as plain values with stable names, for ``--json``."""

import dataclasses
from typing import Any

from bisim_theory.data.terminals import Terminals
from bisim_theory.outcome import Checked, Impossible, RelationOnly, Report
from bisim_theory.relation.comparison import Candidate, Comparison
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded
from bisim_theory.report.actions import code_meanings, describe_codes
from bisim_theory.report.auxiliary import count_values
from bisim_theory.report.choice import choice_values
from bisim_theory.report.reading import describe_reading
from bisim_theory.theorem.check import QUANTILES, LevelCheck, TheoremCheck

SCHEMA = 1
"""Version of what `to_json` returns; raised when a name changes its meaning or goes."""

NAMES = (
    "schema",
    "backend",
    "observations",
    "sources",
    "leaves",
    "unknown_sources",
    "transitions",
    "actions",
    "action_codes",
    "convention",
    "left_out",
    "steps_without_successor",
    "identity",
    "folded",
    "conflicts",
    "coinciding_observations",
    "conflicts_by_content",
    "repeated_by_content",
    "terminal",
    "exact",
    "signature_classes",
    "bisimulation_classes",
    "distinguished_pairs_per_level",
    "bisimilar_pairs",
    "auxiliary",
    "auxiliary_meaning",
    "auxiliary_values",
    "auxiliary_known",
    "label",
    "look_alike_pairs",
    "certified_share",
    "floor",
    "codes_forced",
    "codes_constructed",
    "collect_next",
    "pairs",
    "comparison",
    "choice",
    "hypothesis",
    "conclusion",
    "no_well_trained_model",
    "verdict",
)
"""Names of all values, in order. What does not apply is null, or empty where it is a list."""


def to_json(report: Report) -> dict[str, Any]:
    """Return a report as plain values with stable names; the package's README documents each name."""
    values = {**dict.fromkeys(NAMES), "collect_next": [], "pairs": [], **_outcome(report)}
    if isinstance(report, Impossible):
        return values | {"no_well_trained_model": _contradiction(report)}
    values |= _relation(report)
    if isinstance(report, Checked):
        values |= {"hypothesis": _hypothesis(report.check), "conclusion": _conclusion(report.check)}
    return values


def _outcome(report: Report) -> dict[str, Any]:
    data, content, values = report.data, report.content, count_values(report)
    return {
        "schema": SCHEMA,
        "backend": report.backend,
        "observations": data.frames,
        "sources": report.sources,
        "transitions": len(data),
        "actions": len(report.action_codes),
        "action_codes": _action_codes(report),
        **dataclasses.asdict(describe_reading(report)),
        "identity": report.identity,
        "folded": report.folded,
        "conflicts": len(report.conflicts),
        "coinciding_observations": None if content is None else content.coinciding,
        "conflicts_by_content": None if content is None else content.conflicts,
        "repeated_by_content": None if content is None else content.repeated,
        "terminal": {"mode": "leaf"} if report.terminals is None else _terminal(report.terminals),
        "auxiliary": report.auxiliary,
        "auxiliary_meaning": report.auxiliary_meaning,
        "auxiliary_values": None if values is None else values.different,
        "auxiliary_known": None if values is None else values.known,
        "label": report.label,
        "comparison": None if report.comparison is None else _comparison(report.comparison),
        "choice": None if report.choice is None else choice_values(report, report.choice),
        "verdict": report.verdict,
    }


def _action_codes(report: Report) -> dict[str, Any] | None:
    described = describe_codes(report)
    if described is None:
        return None
    return {"made": described, "meaning": {str(code): meaning for code, meaning in code_meanings(report).items()}}


def _terminal(terminals: Terminals) -> dict[str, Any]:
    return {"mode": "absorb", **dataclasses.asdict(terminals)}


def _relation(report: RelationOnly | Checked) -> dict[str, Any]:
    relation = report.relation
    return {
        "leaves": relation.leaves,
        "unknown_sources": report.unknown_sources,
        "exact": relation.exact,
        "signature_classes": relation.behaviour.classes,
        "bisimulation_classes": relation.bisimulation_classes,
        "distinguished_pairs_per_level": relation.distinguished_pairs_per_level,
        "bisimilar_pairs": relation.bisimilar_pairs,
        "look_alike_pairs": report.look_alike_pairs,
        "certified_share": report.certified_share,
        "floor": report.floor,
        **_embeddings(report.embeddings),
        "collect_next": [dataclasses.asdict(each) for each in report.suggestions],
        "pairs": [dataclasses.asdict(each) for each in report.pairs],
    }


def _embeddings(needed: EmbeddingsNeeded | None) -> dict[str, Any]:
    return {
        "codes_forced": None if needed is None else {"at_least": needed.at_least, "exact": needed.exact},
        "codes_constructed": None if needed is None else needed.constructed,
    }


def _hypothesis(check: TheoremCheck) -> dict[str, Any]:
    return {
        "met": check.hypothesis_met,
        "unexplained_levels": [level.level for level in check.unexplained_levels],
        "unknown_codes": check.unknown_codes,
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
    values = {name: value for name, value in vars(level).items() if name not in ("x", "y", "distances", "explained")}
    explained = level.explained
    values |= {
        "explained_share": explained.share,
        "explained_share_of": explained.smaller,
        "explained_share_of_occurrences": explained.of_occurrences,
        "explained_share_of_classes": explained.of_classes,
        "explained_sampled": explained.sampled,
        "unpredicted_pairs": explained.unpredicted_pairs,
    }
    if level.bound is not None:
        values["bound"] = dict(zip(("smallest", "median", "positive_share"), level.bound, strict=True))
    return values


def _conclusion(check: TheoremCheck) -> dict[str, Any]:
    closest = check.closest  # None if the data distinguishes no pair
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
        "compared_observations": check.compared,
        "unprotected": None if check.unprotected is None else dataclasses.asdict(check.unprotected),
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
        "leaves": candidate.leaves,
        "signature_classes": candidate.behaviours,
        "bisimulation_classes": candidate.classes,
        **_embeddings(candidate.embeddings),
        "distinguished_pairs_per_level": list(candidate.pairs_per_level),
        "certified_share": candidate.certified_share,
        "distinguished_within_label": candidate.within_label,
        "floor": candidate.floor,
        "exact": candidate.exact,
        "no_well_trained_model": candidate.contradiction,
    }


def _contradiction(report: Impossible) -> dict[str, Any]:
    error = report.contradiction
    return {
        "pair": list(error.pair),
        "values": list(error.values),
        "transitions": None if error.rows is None else list(error.rows),
        "chain": [vars(merge) for merge in error.chain],
        "alternatives": report.alternatives,
    }
