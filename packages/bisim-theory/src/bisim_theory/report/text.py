"""Format a report as plain text."""

import numpy as np

from bisim_theory.data.identity import ContentNote
from bisim_theory.data.terminals import Terminals
from bisim_theory.data.transitions import TransitionDataset
from bisim_theory.outcome import Checked, Impossible, PairNote, RelationOnly, Report
from bisim_theory.relation.base import Relation
from bisim_theory.relation.comparison import Candidate, Comparison
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded
from bisim_theory.report.actions import MOST_NAMED, code_meanings, describe_codes, named_codes
from bisim_theory.report.auxiliary import count_values, describe_p, offer_alternatives, warn_of_own_values
from bisim_theory.report.choice import choice_lines
from bisim_theory.report.reading import describe_reading
from bisim_theory.theorem.check import LevelCheck, TheoremCheck
from bisim_theory.theorem.verdict import unexplained_notes, unprotected_notes, verdict_sentence

MERGES_SHOWN = 12
"""Largest number of forced merges that are listed."""

LEVELS_SHOWN = 24
"""Largest number of levels that are listed."""

BAR = 50
"""Characters of a bar. Each stands for an equal share of all pairs."""


def to_text(report: Report) -> str:
    """Return a report as plain text."""
    sections = [_data_lines(report)]
    if report.comparison is not None:
        sections.append(_comparison_lines(report.comparison, report.label))
    if report.choice is not None:
        sections.append(choice_lines(report, report.choice))
    if isinstance(report, Impossible):
        sections.append(_contradiction_lines(report))
    else:
        sections += [_relation_lines(report), [_pair_line(pair) for pair in report.pairs]]
    if not isinstance(report, Checked):
        sections.append(_action_lines(report))
    if isinstance(report, RelationOnly):
        sections.append(["No model was looked at: this is the relation alone."])
    if isinstance(report, Checked):
        check = report.check
        sections.append([*_hypothesis_lines(check), *_conclusion_lines(check)])
        sections.append(_action_lines(report))
        sections.append([f"Verdict: {verdict_sentence(check, report.look_alike_pairs)}"])
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _data_lines(report: Report) -> list[str]:
    data = report.data
    lines = [
        f"Data: {len(data):,} transitions, {_actions(report)}, "
        f"{data.frames:,} {'frames' if data.images else 'observations'} "
        f"told apart by {report.identity}{_different(report)}, {_observations(report)}",
        *_auxiliary_lines(report),
        f"Conflicts (one observation and action, several successors), {_noun(data)} told apart by "
        f"{report.identity}: {report.conflicts}"
        + (", merged by folding" if report.folded and len(report.conflicts) else ""),
    ]
    if report.content is not None:
        lines.append(
            f"Equal {_noun(data)}: {report.content.coinciding:,} have exactly the content of an earlier one; "
            f"{_determinism(report.content, report.identity)}"
        )
        if report.identity == "occurrence":
            lines.append("  whether a well-trained model exists is decided by --identity content --fold")
        if report.identity == "content" and report.content.other_label:
            lines.append(
                f"  {report.content.other_label:,} sources have the content of one with another {report.label}, "
                "whose is taken"
            )
    if report.terminals is not None:
        lines.append(f"Terminal observations: {_terminals(report.terminals)}")
    return [
        *lines,
        *([] if report.backend == "memory" else [f"Classes of behaviour: computed by {report.backend}, out of memory"]),
        *_reading_lines(report),
    ]


def _actions(report: Report) -> str:
    data, number = report.data, len(report.action_codes)
    if number > 1:
        return f"{number:,} actions"
    if data.action_value is None or (data.action_value == data.action_value[0]).all():
        return "1 action"
    return "1 action (one code for different values: --actions bins:K tells them apart)"


def _auxiliary_lines(report: Report) -> list[str]:
    """Say what p is, how many values it has, and whether nearly all of them are different."""
    count = count_values(report)
    warning = warn_of_own_values(report, count)
    return [
        f"p: {describe_p(report)}" + ("" if count is None else f"; {count}"),
        *([] if warning is None else [f"  {warning}"]),
    ]


def _action_lines(report: Report) -> list[str]:
    """Say what the codes of actions that were named mean."""
    described = describe_codes(report)
    if described is None:
        return []
    meanings = code_meanings(report, named_codes(report))
    lines = [f"  {code}: {meaning}" for code, meaning in list(meanings.items())[:MOST_NAMED]]
    more = [f"  ... {len(meanings):,} codes in all"] if len(meanings) > MOST_NAMED else []
    return [f"Action codes: {described}", *lines, *more]


def _reading_lines(report: Report) -> list[str]:
    """Say how a dataset was read, and what of it was not."""
    reading = describe_reading(report)
    read_as = [] if reading.convention is None else [f"Read as: {reading.convention}"]
    return [*read_as, *(f"Left out: {sentence}" for sentence in reading.left_out)]


def _noun(data: TransitionDataset) -> str:
    """Return what the observations of a dataset are called."""
    return "images" if data.images else "observations"


def _different(report: Report) -> str:
    """Say how many of the frames are different, where equal ones are one observation."""
    if report.content is None or report.identity != "content":
        return ""
    return f" ({report.data.frames - report.content.coinciding:,} of them different)"


def _observations(report: Report) -> str:
    """Count sources, leaves and observations of unknown p."""
    sources = report.sources
    said = f"{sources:,} observation{' is a source' if sources == 1 else 's are sources'}"
    if isinstance(report, Impossible):
        return said
    leaves, unknown = report.relation.leaves, report.unknown_sources
    if leaves:
        said += f", {leaves:,} more with a known p {'is' if leaves == 1 else 'are'} only reached"
    return said + (f"; p of {unknown:,} source{'' if unknown == 1 else 's'} is unknown" if unknown else "")


def _determinism(content: ContentNote, identity: str) -> str:
    """Say how often an action was repeated, and where observations are told apart otherwise, with which outcome."""
    joined, one = identity == "content", content.repeated == 1
    how = "told apart by content" if joined else "were they told apart by content"
    if not content.repeated:
        repeats = "repeats" if joined else "would repeat"
        return f"{how}, no (observation, action) pair {repeats}, so determinism was not tested"
    repeats = ("pair repeats" if one else "pairs repeat") if joined else f"pair{'' if one else 's'} would repeat"
    conflicts = "" if joined else f", {content.conflicts:,} of them with several successors"
    return f"{how}, {content.repeated:,} (observation, action) {repeats}{conflicts}"


def _terminals(terminals: Terminals) -> str:
    said = f"{terminals.absorbing:,} absorb: every action is taken to lead back ({terminals.rows:,} rows added)"
    return said + (f"; {terminals.sources:,} are sources and keep their rows" if terminals.sources else "")


def _contradiction_lines(report: Impossible) -> list[str]:
    contradiction, instead = report.contradiction, offer_alternatives(report)
    merges = [f"  {merge}" for merge in contradiction.chain]
    if len(merges) > MERGES_SHOWN:
        merges = [*merges[:MERGES_SHOWN], f"  ... {len(merges)} merges in all"]
    offer = [] if instead is None else [f"  {instead}"]
    of = "" if report.comparison is None and report.choice is None else f" of p = {report.auxiliary}"
    return [f"No well-trained model exists{of}: {contradiction}", *merges, *offer]


def _relation_lines(report: RelationOnly | Checked) -> list[str]:
    relation = report.relation
    total = max(relation.distinguished_pairs + relation.bisimilar_pairs, 1)
    lines = [
        f"Largest bisimulation (Definition 4): {relation.behaviour.classes:,} different observed behaviours",
        *([] if relation.exact else ["  too many for all pairs: numbers of pairs are estimates from a uniform sample"]),
        f"  distinguished pairs: {relation.distinguished_pairs:,} ({relation.distinguished_pairs / total:.1%} of all)",
        *_level_lines(relation.distinguished_pairs_per_level),
        f"  bisimilar pairs: {relation.bisimilar_pairs:,}",
        "  " + _class_line(relation),
    ]
    if report.look_alike_pairs:
        lines.append(
            f"  distinguished pairs of equal {_noun(report.data)}, which no encoder keeps apart: "
            f"{report.look_alike_pairs:,}; --identity content --fold says what follows"
        )
    return [*lines, _embeddings_line(report.embeddings), *_coverage_lines(report)]


def _embeddings_line(needed: EmbeddingsNeeded) -> str:
    if needed.exact:
        return f"  a well-trained model needs exactly {_embeddings(needed.at_least)}"
    enough = "" if needed.constructed is None else f"; {needed.constructed:,} are enough"
    return f"  a well-trained model needs at least {_embeddings(needed.at_least)}{enough}"


def _embeddings(number: int) -> str:
    return "1 embedding" if number == 1 else f"{number:,} different embeddings"


def _level_lines(pairs_per_level: list[int]) -> list[str]:
    lines = [f"    level {level}: {pairs:,}" for level, pairs in enumerate(pairs_per_level, start=1)]
    left_out = len(lines) - LEVELS_SHOWN
    if left_out <= 0:
        return lines
    return [*lines[: LEVELS_SHOWN - 1], f"    ... {left_out:,} levels in between", lines[-1]]


def _class_line(relation: Relation) -> str:
    if relation.intransitive_triple is not None:
        x, y, z = relation.intransitive_triple
        return (
            f"not transitive, so there are no classes: {x} and {y} are bisimilar, {y} and {z} are, "
            f"{x} and {z} are told apart"
        )
    if relation.bisimulation_classes is None:
        return "whether the bisimilar pairs are an equivalence is not decided"
    classes = relation.bisimulation_classes
    return f"an equivalence with {classes:,} class{'' if classes == 1 else 'es'}"


def _coverage_lines(report: RelationOnly | Checked) -> list[str]:
    if report.certified_share is None:
        return []
    lines = [f"  certified share: {report.certified_share:.3f} of the pairs that differ in {report.label}"]
    if report.within_label:
        lines.append(
            f"  floor: {_share(report.floor)} of the pairs that agree in {report.label} are told apart as well"
        )
    if report.suggestions:
        lines.append("  to certify more, collect next (and some steps from there):")
        lines += [
            f"    {each}: some {each.newly_certified:,.0f} more pairs ({each.alike:,} sources are like it)"
            for each in report.suggestions
        ]
    return lines


def _pair_line(note: PairNote) -> str:
    x, y = note.pair
    if note.witness is not None:
        after = f"after actions {note.witness}" if note.witness else "at once"
        return f"Pair {x}, {y}: distinguished at level {note.level}, p differs {after}"
    if note.level is None:
        may = "no well-trained model merges it (closure relation N)" if note.cannot_collapse else "it may be merged"
        return f"Pair {x}, {y}: of one the data has neither action nor p, so R and B do not speak of it; {may}"
    if note.cannot_collapse:
        return f"Pair {x}, {y}: bisimilar, and still no well-trained model merges it (closure relation N)"
    return f"Pair {x}, {y}: bisimilar; a well-trained model may merge it"


def _hypothesis_lines(check: TheoremCheck) -> list[str]:
    lines = ["Theorem 3, hypothesis (quantiles 50 %, 90 %, 99 %, largest):"]
    residuals = [
        ("transition residual e_d" + ("" if check.raw_transition_residual is None else ", at canonical actions"),
         check.transition_residual),
        ("  at the actions that were done", check.raw_transition_residual),
        ("  actions of one code apart", check.abstraction_residual),
        ("auxiliary residual e_p, at the source of each transition (leaves not counted)", check.auxiliary_residual),
    ]  # fmt: skip
    lines += [f"  {name}: {', '.join(f'{v:.4g}' for v in values)}" for name, values in residuals if values is not None]
    if check.auxiliary_share is not None:
        lines.append(
            f"  level-1 pairs with e_p(x) + e_p(y) < |p(x) - p(y)|: {check.auxiliary_share:.4g} of them"
            f"{', sampled' if check.levels[0].sampled else ''}; {check.tolerance.auxiliary:.4g} would be a P that is "
            "good enough by itself, which decides nothing"
        )
    if check.levels:
        lines += _level_table(check)
    return lines + [f"  {said}" for said in unexplained_notes(check)]


def _level_table(check: TheoremCheck) -> list[str]:
    lines = [
        f"  explained: share of the pairs whose residuals are too small for one embedding, asked for at every level: "
        f"{check.tolerance.explained:.1%}",
        "  (of pairs of observations or of classes of behaviour, whichever is smaller)",
        f"  distance: median of the level; ratio: 2 median e_d over it, compared with {check.tolerance.transition:g}",
        "  separation: how often a pair is further apart than one of equal labels (0.5 by chance)",
        f"  sampled where a level has more than {check.tolerance.sample:,} pairs",
        "  level            pairs  explained   distance    ratio  witness e_d  separation"
        + ("  positive bound" if check.levels[0].bound is not None else ""),
    ]
    shown = check.levels if len(check.levels) <= LEVELS_SHOWN else [*check.levels[: LEVELS_SHOWN - 1], check.levels[-1]]
    return lines + [_level_row(level) for level in shown]


def _level_row(level: LevelCheck) -> str:
    witness = "-" if level.witness_residual is None else f"{level.witness_residual:.4g}"
    ratio = f"{level.residual_ratio:.3g}" if np.isfinite(level.residual_ratio) else "-"
    separation = "-" if level.separation is None else f"{level.separation:.5f}"
    row = (
        f"  {level.level:5d}  {level.pairs:15,}  {level.explained.share:9.2%}  {level.median_distance:9.4g}  "
        f"{ratio:>7}  {witness:>11}  {separation:>10}"
    )
    return row if level.bound is None else f"{row}  {level.bound[2]:14.1%}"


def _conclusion_lines(check: TheoremCheck) -> list[str]:
    how = "all distinguished pairs, exact" if check.exact else "sampled pairs only"
    if check.compared is not None:
        how = (
            f"pairs of {check.compared:,} observations that were drawn uniformly, and of one observation for each "
            "behaviour; the number of collapsed pairs is an estimate"
        )
    lines = [f"Theorem 3, conclusion ({how}):"]
    if check.closest is None:
        return [*lines, "  the data distinguishes no pair, so there is nothing to collapse"]
    closest = check.closest
    share = f"{closest.min_distance / check.median_distance:.2%}" if check.median_distance > 0 else "0 %"
    after = f"after actions {closest.witness}" if closest.witness else "at once"
    return [
        *lines,
        f"  smallest distance {closest.min_distance:.4g}, {share} of the median distance {check.median_distance:.4g} "
        "of all pairs",
        f"  between {closest.pair[0]} and {closest.pair[1]} (level {closest.level}): p differs {after}",
        f"  collapsed pairs, at most {check.collapse_distance:.3g} apart ({_collapse_rule(check)}): "
        f"{check.collapsed_pairs:,}",
        *([] if check.unprotected is None else [f"  {said}" for said in unprotected_notes(check.unprotected)]),
    ]


def _collapse_rule(check: TheoremCheck) -> str:
    """Name the threshold that decides from which distance on a pair is not collapsed."""
    tolerance = check.tolerance
    if check.collapse_distance > tolerance.collapse * check.median_distance:
        return f"point={tolerance.point:g} of the embeddings' root mean square"
    return f"collapse={tolerance.collapse:g} of the median"


def _comparison_lines(comparison: Comparison, label: str | None) -> list[str]:
    """Tabulate candidates for p, and draw for each a bar of the pairs that it distinguishes, by level."""
    width = max(len("auxiliary"), *(len(each.name) for each in comparison.candidates))
    header = f"  {'auxiliary':{width}}  behaviours  classes  embeddings  levels  certified"
    lines = [
        f"Auxiliary functions compared ({comparison.transitions:,} transitions):",
        header + ("" if label is None else "  floor"),
    ]
    lines += [_candidate_row(each, width, label) for each in comparison.candidates]
    if label is not None:
        lines += [
            f"  certified: share of the pairs that differ in {label}; floor: share of those that agree in it and are",
            "  told apart as well",
        ]
    lines += ["  which pairs each protects (digit: level, dot: not distinguished):"]
    lines += [f"  {each.name:{width}}  {_level_bar(each)}" for each in comparison.candidates]
    return lines


def _candidate_row(candidate: Candidate, width: int, label: str | None) -> str:
    embeddings = candidate.embeddings
    if embeddings is None:
        return f"  {candidate.name:{width}}  no well-trained model exists: {candidate.contradiction}"
    needed = f"{embeddings.at_least:,}" if embeddings.exact else f">= {embeddings.at_least:,}"
    classes = "-" if candidate.classes is None else f"{candidate.classes:,}"
    share = _share(candidate.certified_share)
    row = (
        f"  {candidate.name:{width}}  {candidate.behaviours:10,}  {classes:>7}  {needed:>10}  "
        f"{len(candidate.pairs_per_level):6,}  {share:>9}"
    )
    return row if label is None else f"{row}  {_share(candidate.floor):>5}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _level_bar(candidate: Candidate) -> str:
    if candidate.contradiction is not None or candidate.pairs == 0:
        return "-"
    ends = np.round(np.cumsum(candidate.pairs_per_level) / candidate.pairs * BAR).astype(int).tolist()
    bar = ""
    for level, end in enumerate(ends, start=1):
        bar += (str(level) if level < 10 else "+") * (end - len(bar))
    return bar + "\N{MIDDLE DOT}" * (BAR - len(bar))
