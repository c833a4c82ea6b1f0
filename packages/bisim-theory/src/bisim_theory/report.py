"""Everything that `bisim-check` finds about a dataset and a model, for people and for programs."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.bisimulation import Relation, empirical_bisimulation
from bisim_theory.codes import CodesForced, codes_forced
from bisim_theory.collapse import QUANTILES, TheoremCheck, check_theorem, verdict_sentence
from bisim_theory.determinism import Conflicts, NoWellTrainedModelError, find_conflicts, fold, identify_by_content
from bisim_theory.representation import Representation
from bisim_theory.transitions import DatasetError, Ids, TransitionDataset

CHAIN_SHOWN = 12


@dataclass(frozen=True, eq=False)
class ContentNote:
    """What telling observations apart by content instead of by occurrence would change.

    `coinciding` of the F observations look exactly like an earlier one; identifying them makes `conflicts`.
    """

    coinciding: int
    conflicts: int


@dataclass(frozen=True, eq=False)
class Report:
    """The findings; `relation`, `codes` are None only where no well-trained model exists (`impossible` says why)."""

    data: TransitionDataset
    identity: str
    folded: bool
    conflicts: Conflicts
    content: ContentNote | None
    label: str | None
    relation: Relation | None = None
    codes: CodesForced | None = None
    check: TheoremCheck | None = None
    impossible: NoWellTrainedModelError | None = None

    @property
    def verdict(self) -> str:
        """holds, collapsed, hypothesis-not-met, no-well-trained-model or relation-only."""
        if self.impossible is not None:
            return "no-well-trained-model"
        return "relation-only" if self.check is None else self.check.verdict

    @property
    def labels(self) -> NDArray[Any] | None:
        """(F,) the labels that stand for the ground truth."""
        return None if self.label is None else self.data.labels[self.label]

    @functools.cached_property
    def certified_share(self) -> float | None:
        """Distinguished pairs over the pairs with different labels; None without labels."""
        return None if self.relation is None or self.labels is None else self.relation.certified_share(self.labels)


def analyse(
    data: TransitionDataset,
    representation: Representation | None = None,
    identity: str = "occurrence",
    folding: bool = False,
) -> Report:
    """Compute everything `bisim-check` reports.

    Args:
        data: the transitions.
        representation: what a model makes of them, or None for the relation alone.
        identity: ``"occurrence"`` takes every id as an observation of its own, ``"content"`` joins equal images.
        folding: whether to merge the successors of one (observation, action), which a well-trained model must.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off, or something does not fit.
    """
    if identity not in ("occurrence", "content"):
        raise DatasetError(f"identity={identity!r}: must be occurrence or content")
    content = None
    if data.observation is not None:
        ids = data.content_ids()
        by_content = identify_by_content(data, ids)
        content = ContentNote(int((ids != np.arange(len(ids))).sum()), len(find_conflicts(by_content)))
        data = by_content if identity == "content" else data
    elif identity == "content":
        raise DatasetError("observation: is needed for --identity content, and this dataset has none")
    conflicts = find_conflicts(data)
    report = Report(data, identity, folding, conflicts, content, _ground_truth(data))
    try:
        relation, codes = _relate(data, conflicts, folding)
    except NoWellTrainedModelError as error:
        return replace(report, impossible=error)
    check = None if representation is None else check_theorem(data, relation, representation)
    return replace(report, relation=relation, codes=codes, check=check)


def _relate(data: TransitionDataset, conflicts: Conflicts, folding: bool) -> tuple[Relation, CodesForced]:
    if len(conflicts) and not folding:
        raise DatasetError(
            f"successor: Definition 4 asks for deterministic transitions and there are conflicts ({conflicts}); "
            "merge what they force with --fold, or tell every frame apart with --identity occurrence"
        )
    stands_for: Ids | None = fold(data) if folding else None
    relation = empirical_bisimulation(data, stands_for)
    return relation, codes_forced(data, relation, stands_for)


def _ground_truth(data: TransitionDataset) -> str | None:
    """``count`` where there is such a label, else the only one that is one whole number per observation."""
    if "count" in data.labels and data.labels["count"].ndim == 1:
        return "count"
    plain = [name for name, value in data.labels.items() if value.ndim == 1 and value.dtype.kind in "iub"]
    return plain[0] if len(plain) == 1 else None


def to_json(report: Report) -> dict[str, Any]:
    """The findings as plain values with stable names; see the package's README for what each means."""
    relation, check = report.relation, report.check
    return {
        "observations": report.data.frames,
        "sources": len(np.unique(report.data.source)),
        "transitions": len(report.data),
        "actions": len(np.unique(report.data.action)),
        "identity": report.identity,
        "folded": report.folded,
        "conflicts": len(report.conflicts),
        "coinciding_observations": None if report.content is None else report.content.coinciding,
        "conflicts_by_content": None if report.content is None else report.content.conflicts,
        "signature_classes": None if relation is None else len(relation.table),
        "bisimulation_classes": None if relation is None else relation.bisimulation_classes,
        "distinguished_pairs_per_level": None if relation is None else relation.distinguished_pairs_per_level,
        "bisimilar_pairs": None if relation is None else relation.bisimilar_pairs,
        "label": report.label,
        "certified_share": report.certified_share,
        "codes_forced": None
        if report.codes is None
        else {"at_least": report.codes.at_least, "exact": report.codes.exact},
        "hypothesis": None if check is None else _hypothesis(check),
        "conclusion": None if check is None else _conclusion(check),
        "no_well_trained_model": None if report.impossible is None else _impossible(report.impossible),
        "verdict": report.verdict,
    }


def _hypothesis(check: TheoremCheck) -> dict[str, Any]:
    names = [f"{quantile:g}" for quantile in QUANTILES]
    return {
        "met": check.hypothesis_met,
        "transition_residual_quantiles": dict(zip(names, check.transition_residual, strict=True)),
        "auxiliary_residual_quantiles": dict(zip(names, check.auxiliary_residual, strict=True)),
        "auxiliary_share": check.auxiliary_share,
        "levels": [vars(level) for level in check.levels],
        "tolerance": vars(check.tolerance),
    }


def _conclusion(check: TheoremCheck) -> dict[str, Any]:
    closest = check.closest  # None where the data distinguishes no pair
    return {
        "min_distance": None if closest is None else closest.min_distance,
        "pair": None if closest is None else list(closest.pair),
        "level": None if closest is None else closest.level,
        "witness": None if closest is None else closest.witness,
        "median_distance": check.median_distance,
        "collapsed": check.collapsed,
    }


def _impossible(error: NoWellTrainedModelError) -> dict[str, Any]:
    return {"pair": list(error.pair), "values": list(error.values), "chain": [vars(merge) for merge in error.chain]}


def to_text(report: Report) -> str:
    """The findings as a report to read aloud."""
    return "\n".join([*_data_lines(report), "", *_relation_lines(report), *_theorem_lines(report)])


def _data_lines(report: Report) -> list[str]:
    data = report.data
    lines = [
        f"Data: {len(data):,} transitions, {len(np.unique(data.action))} actions, {data.frames:,} frames; "
        f"told apart by {report.identity}, {len(np.unique(data.source)):,} observations are sources",
        f"Conflicts (one observation and action, several successors): {report.conflicts}"
        + (", merged by folding" if report.folded else ""),
    ]
    if report.content is not None:
        lines.append(
            f"Equal images: {report.content.coinciding:,} observations look exactly like an earlier one; "
            f"told apart by content, conflicts: {report.content.conflicts:,}"
        )
    return lines


def _relation_lines(report: Report) -> list[str]:
    relation, codes = report.relation, report.codes
    if relation is None or codes is None:
        assert report.impossible is not None
        chain = [f"  {merge}" for merge in report.impossible.chain]
        shown = chain if len(chain) <= CHAIN_SHOWN else [*chain[:CHAIN_SHOWN], f"  ... {len(chain)} merges in all"]
        return [f"No well-trained model exists: {report.impossible}", *shown]
    n = len(relation.sources)
    total = max(n * (n - 1) // 2, 1)
    lines = [
        f"Largest bisimulation (Definition 4): {len(relation.table):,} different observed behaviours",
        f"  distinguished pairs: {relation.distinguished_pairs:,} ({relation.distinguished_pairs / total:.1%} of all)",
    ]
    for level, pairs in enumerate(relation.distinguished_pairs_per_level, start=1):
        lines.append(f"    level {level}: {pairs:,}")
    lines.append(f"  bisimilar pairs: {relation.bisimilar_pairs:,}")
    lines.append("  " + _class_line(relation))
    bound = "exactly" if codes.exact else "at least"
    lines.append(f"  a well-trained model needs {bound} {codes.at_least} different embeddings")
    if report.labels is not None and report.certified_share is not None:
        lines.append(
            f"  certified share: {report.certified_share:.3f} of the pairs of sources that differ in {report.label}"
        )
        within = relation.distinguished_within_label(report.labels)
        if within:
            lines.append(
                f"  {within:,} distinguished pairs have one {report.label}: the data tells them apart all the same"
            )
    return lines


def _class_line(relation: Relation) -> str:
    if relation.intransitive_triple is not None:
        x, y, z = relation.intransitive_triple
        return (
            f"not transitive, so there are no classes: {x} and {y} are bisimilar, {y} and {z} are, "
            f"{x} and {z} are told apart"
        )
    return f"an equivalence with {relation.bisimulation_classes:,} classes"


def _theorem_lines(report: Report) -> list[str]:
    check = report.check
    if check is None:
        return []
    e_d, e_p, tolerance = check.transition_residual, check.auxiliary_residual, check.tolerance
    lines = [
        "",
        "Theorem 3, hypothesis (quantiles 50 %, 90 %, 99 %, largest):",
        f"  transition residual e_d: {_numbers(e_d)}",
        f"  auxiliary residual e_p:  {_numbers(e_p)}",
    ]
    if check.auxiliary_share is not None:
        lines.append(
            f"  level-1 pairs with e_p(x) + e_p(y) < |p(x) - p(y)|: {check.auxiliary_share:.4%} "
            f"(asked for: {tolerance.auxiliary:.0%}{', sampled' if check.levels[0].sampled else ''})"
        )
    for level in check.levels:
        sampled = ", sampled" if level.sampled else ""
        lines.append(
            f"  level {level.level}: 2 median e_d over median distance {level.residual_ratio:.3g} "
            f"(asked for: below {tolerance.transition:g}{sampled})"
        )
    lines.append("Theorem 3, conclusion (all distinguished pairs, exact):")
    if check.closest is None:
        lines.append("  the data distinguishes no pair, so there is nothing to collapse")
    else:
        closest = check.closest
        share = _share(closest.min_distance, check.median_distance)
        lines.append(
            f"  smallest distance {closest.min_distance:.4g}, {share} of the median distance "
            f"{check.median_distance:.4g} of all pairs"
        )
        after = f"after actions {closest.witness}" if closest.witness else "at once"
        lines.append(f"  between {closest.pair[0]} and {closest.pair[1]} (level {closest.level}): p differs {after}")
    lines += ["", f"Verdict: {verdict_sentence(check.verdict)}"]
    return lines


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.2%}" if whole > 0 else "0 %"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
