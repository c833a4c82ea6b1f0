"""Format the tables of the HTML page as rows of text."""

from collections.abc import Sequence

import numpy as np

from bisim_theory.data.identity import ContentNote
from bisim_theory.outcome import Checked, Impossible, RelationOnly, Report
from bisim_theory.relation.base import Relation
from bisim_theory.relation.comparison import Candidate
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded
from bisim_theory.report.auxiliary import count_values, describe_p
from bisim_theory.report.reading import describe_reading
from bisim_theory.theorem.check import LevelCheck, TheoremCheck

MAX_LEVEL_ROWS = 16
"""Largest number of levels in a table; beyond it the first and the last ones are kept."""

MAX_ACTIONS_NAMED = 24
"""Largest number of actions of a witness that a sentence names."""

NONE = "\N{EN DASH}"
"""Cell of a value that does not exist."""

Row = tuple[str, ...]


def ends(number: int, most: int) -> list[int]:
    """Return 0, 1, ..., number - 1, of which only the first and the last are kept if there are more than `most`."""
    if number <= most:
        return list(range(number))
    return [*range(most - most // 2), *range(number - most // 2, number)]


def format_value(value: float, digits: int = 4) -> str:
    """Format a number that may be infinite, or NaN where no pair of a level was sampled."""
    if np.isnan(value):
        return NONE
    return "\N{INFINITY}" if np.isinf(value) else f"{value:.{digits}g}"


def share(value: float | None) -> str:
    """Format a share of pairs; None where there are no such pairs."""
    return NONE if value is None else f"{value:.3f}"


def after(witness: Sequence[int]) -> str:
    """Say when p differs along a witness."""
    if not witness:
        return "at once"
    shown = ends(len(witness), MAX_ACTIONS_NAMED)
    actions = [str(witness[i]) for i in shown]
    if len(shown) < len(witness):
        actions.insert(MAX_ACTIONS_NAMED - MAX_ACTIONS_NAMED // 2, "\N{HORIZONTAL ELLIPSIS}")
    return f"after action{'s' if len(witness) > 1 else ''} {', '.join(actions)}"


def key_numbers(report: Report) -> list[Row]:
    """Return name, value and remark of the numbers at the top of the page."""
    data = report.data
    actions = len(report.action_codes)
    return [
        ("Transitions", f"{len(data):,}", f"{actions:,} action{'s' if actions > 1 else ''}"),
        ("Sources", f"{report.sources:,}", f"of {data.frames:,} observations"),
        *([] if isinstance(report, Impossible) else _relation_numbers(report)),
        *(_check_numbers(report.check) if isinstance(report, Checked) else []),
    ]


def _relation_numbers(report: RelationOnly | Checked) -> list[Row]:
    relation, needed = report.relation, report.embeddings
    share = relation.distinguished_pairs / _all_pairs(relation)
    count = f"{relation.distinguished_pairs:,} pairs" + ("" if relation.exact else ", estimated")
    rows = [("Pairs told apart", f"{share:.1%}", count)]
    if report.certified_share is not None:
        remark = f"of the pairs that differ in {report.label}"
        rows.append(("Certified share", f"{report.certified_share:.3f}", remark))
    enough = "" if needed.constructed is None else f"{needed.constructed:,} are enough"
    return [*rows, ("Embeddings needed", _at_least(needed), "exactly" if needed.exact else enough)]


def _all_pairs(relation: Relation) -> int:
    return max(relation.distinguished_pairs + relation.bisimilar_pairs, 1)


def _at_least(needed: EmbeddingsNeeded) -> str:
    return ("" if needed.exact else "\N{GREATER-THAN OR EQUAL TO} ") + f"{needed.at_least:,}"


def _check_numbers(check: TheoremCheck) -> list[Row]:
    if check.closest is None:
        return []
    share = check.closest.min_distance / check.median_distance if check.median_distance > 0 else 0.0
    rows: list[Row] = [
        ("Smallest distance", f"{check.closest.min_distance:.4g}", f"{share:.2%} of the median"),
        ("Collapsed pairs", f"{check.collapsed_pairs:,}", f"at most {check.collapse_distance:.3g} apart"),
    ]
    if (free := check.unprotected) is not None and free.protected_distance > 0:
        of_protected = f"{free.median_distance / free.protected_distance:.3g}"
        rows.append(("Pairs not distinguished", of_protected, "their median distance, of that of distinguished ones"))
    return rows


def data_rows(report: Report) -> list[Row]:
    """Return the counts that describe the transitions."""
    data, content = report.data, report.content
    rows: list[Row] = [
        ("Transitions", f"{len(data):,}"),
        ("Actions", f"{len(report.action_codes):,}"),
        ("Observations", f"{data.frames:,}"),
        ("Observations that are sources", f"{report.sources:,}"),
        *_leaf_rows(report),
        ("Told apart by", report.identity),
        *_auxiliary_rows(report),
        ("Conflicts (one observation and action, several successors)", f"{len(report.conflicts):,}"),
    ]
    reading = describe_reading(report)
    rows += (
        [] if report.backend == "memory" else [("Classes of behaviour", f"computed by {report.backend}, out of memory")]
    )
    rows += [] if reading.convention is None else [("Read as", reading.convention)]
    rows += [("Left out", sentence) for sentence in reading.left_out]
    if content is None:
        return rows
    return [
        *rows,
        ("Observations with exactly the content of an earlier one", f"{content.coinciding:,}"),
        ("(Observation, action) pairs that repeat, told apart by content", _tested(content)),
        *(
            [("Conflicts, were observations told apart by content", f"{content.conflicts:,}")]
            if report.identity == "occurrence"
            else []
        ),
    ]


def _leaf_rows(report: Report) -> list[Row]:
    """Count observations that are only reached, sources of unknown p, and terminals that absorb, where there are."""
    rows: list[Row] = []
    if not isinstance(report, Impossible):
        counts = {
            "Observations that are only reached, of known p": report.relation.leaves,
            "Sources of unknown p": report.unknown_sources,
        }
        rows += [(name, f"{count:,}") for name, count in counts.items() if count]
    if report.terminals is not None:
        rows.append(("Terminal observations that absorb", f"{report.terminals.absorbing:,}"))
    return rows


def _auxiliary_rows(report: Report) -> list[Row]:
    """Return what p is, and how many values it has."""
    count = count_values(report)
    values = [] if count is None else [
        ("Different values of p, compared exactly", f"{count.different:,}"),
        ("Observations of known p", f"{count.known:,} of {count.observations:,}"),
    ]  # fmt: skip
    return [("p", describe_p(report)), *values]


def _tested(content: ContentNote) -> str:
    return f"{content.repeated:,}" if content.repeated else "none, so determinism was not tested"


def level_rows(relation: Relation) -> list[Row]:
    """Return number and share of the pairs of every level, and of the bisimilar ones."""
    per_level, rest, total = relation.distinguished_pairs_per_level, relation.bisimilar_pairs, _all_pairs(relation)
    kept = ends(len(per_level), MAX_LEVEL_ROWS)
    rows = [(f"{level + 1}", f"{per_level[level]:,}", f"{per_level[level] / total:.2%}") for level in kept]
    return [*_with_gap(rows, kept), ("not told apart", f"{rest:,}", f"{rest / total:.2%}")]


def _with_gap(rows: Sequence[Row], kept: Sequence[int]) -> list[Row]:
    """Insert a row that counts the levels left out, where two kept ones do not follow each other."""
    found: list[Row] = []
    for place, row in enumerate(rows):
        left_out = kept[place] - kept[place - 1] - 1 if place else 0
        if left_out:
            found.append((f"\N{HORIZONTAL ELLIPSIS} {left_out:,} more", *[""] * (len(row) - 1)))
        found.append(row)
    return found


def suggestion_rows(report: RelationOnly | Checked) -> list[Row]:
    """Return what to collect next, the pairs gained, and the number of sources like it."""
    return [(str(each), f"{each.newly_certified:,.0f}", f"{each.alike:,}") for each in report.suggestions]


def requested_pairs(report: RelationOnly | Checked) -> list[Row]:
    """Return level, witness and closure of the requested pairs."""
    return [
        (
            f"{note.pair[0]}, {note.pair[1]}",
            str(note.level or "bisimilar"),
            "" if note.witness is None else after(note.witness),
            "no" if note.cannot_collapse else "yes",
        )
        for note in report.pairs
    ]


def candidate_row(candidate: Candidate, labelled: bool) -> Row:
    """Return what a candidate for p protects; `labelled` adds share and number of the pairs within one label."""
    needed = candidate.embeddings
    if needed is None:
        return (candidate.name, *[NONE] * (6 + 2 * labelled))
    row = (
        candidate.name,
        f"{candidate.behaviours:,}",
        NONE if candidate.classes is None else f"{candidate.classes:,}",
        _at_least(needed),
        f"{len(candidate.pairs_per_level):,}",
        f"{sum(candidate.pairs_per_level):,}" + ("" if candidate.exact else " (estimated)"),
        share(candidate.certified_share),
    )
    if not labelled:
        return row
    return (*row, share(candidate.floor), NONE if candidate.within_label is None else f"{candidate.within_label:,}")


def residual_rows(check: TheoremCheck) -> list[Row]:
    """Return the quantiles of every residual."""
    given = [
        ("transition residual e_d" + ("" if check.raw_transition_residual is None else ", at canonical actions"),
         check.transition_residual),
        ("transition residual at the actions that were done", check.raw_transition_residual),
        ("actions of one code apart", check.abstraction_residual),
        ("auxiliary residual e_p, at the source of each transition (leaves not counted)", check.auxiliary_residual),
    ]  # fmt: skip
    return [(name, *(f"{value:.4g}" for value in values)) for name, values in given if values is not None]


def checked_level_rows(check: TheoremCheck) -> list[Row]:
    """Return residuals and distances of every level."""
    kept = ends(len(check.levels), MAX_LEVEL_ROWS)
    return _with_gap([_checked_level(check.levels[i]) for i in kept], kept)


def _checked_level(level: LevelCheck) -> Row:
    return (
        f"{level.level}",
        f"{level.pairs:,}",
        f"{level.explained.share:.2%}",
        format_value(level.median_distance),
        format_value(level.residual_ratio, 3),
        NONE if level.witness_residual is None else f"{level.witness_residual:.4g}",
        NONE if level.separation is None else f"{level.separation:.5f}",
        *([] if level.bound is None else [f"{level.bound[2]:.1%}"]),
    )
