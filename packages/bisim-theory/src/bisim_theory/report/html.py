"""The findings as one page with pictures, for ``--html``: whole in itself, nothing is loaded from elsewhere."""

import os
from collections.abc import Sequence

import numpy as np

from bisim_theory.analysis import Checked, Impossible, PairNote, RelationOnly, Report
from bisim_theory.data.folding import NoWellTrainedModelError
from bisim_theory.files import atomic_write
from bisim_theory.relation.base import Relation
from bisim_theory.relation.comparison import Candidate, Comparison
from bisim_theory.report import charts
from bisim_theory.report.markup import STYLE, Markup, ends, figure, formula, join, section, table, tag
from bisim_theory.report.witness_images import after, picture_strips
from bisim_theory.theorem.check import TheoremCheck, verdict_sentence

charts.require()  # before anything is computed

ROWS = 16
"""Levels in a table: where there are more, the first ones and the last ones."""

CHAIN = 200
"""Forced merges that are listed."""

MARKS = {
    "holds": "\N{CHECK MARK}",
    "collapsed": "\N{MULTIPLICATION X}",
    "no-well-trained-model": "\N{MULTIPLICATION X}",
    "hypothesis-not-met": "?",
    "relation-only": "\N{BLACK CIRCLE}",
}


def write_page(path: str | os.PathLike[str], report: Report, title: str) -> None:
    """Write the findings as an HTML page, whole or not at all; equal findings give equal bytes.

    Args:
        path: the file.
        report: the findings.
        title: what was looked at.

    Raises:
        OSError: the file cannot be written.
        DatasetError: the frames cannot be read.
    """
    page = to_html(report, title).encode("utf-8", "replace")  # a file's name can hold what is no letter
    with atomic_write(path) as file:
        file.write(page)


def to_html(report: Report, title: str) -> str:
    """The page as text; see `write_page`."""
    check = report.check if isinstance(report, Checked) else None
    parts = [
        tag("h1", title),
        tag("p", "What the data distinguishes" + ("" if check is None else ", and whether the encoder keeps it"),
            class_="soft"),
        _verdict(report),
        _key_numbers(report),
        _data(report),
        *([_impossible(report.contradiction)] if isinstance(report, Impossible) else [_relation(report)]),
        *([] if report.comparison is None else [_comparison(report.comparison, report.label)]),
        *([] if check is None else [_hypothesis(check), _conclusion(report, check)]),
        *([picture_strips(report)] if report.data.images else []),
        tag("footer", "Levels, witnesses and bisimilarity are those of the paper's Definition 4; hypothesis and "
            "conclusion those of Theorem 3.", class_="soft"),
    ]  # fmt: skip
    head = join([
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{title} \N{EN DASH} bisim-check"),
        tag("style", Markup(STYLE)),
    ])  # fmt: skip
    body = tag("body", "\n", tag("main", "\n", join(parts)), "\n")
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n{body}\n</html>\n'


def _verdict(report: Report) -> Markup:
    verdict = report.verdict
    if isinstance(report, Impossible):
        sentence = f"no well-trained model exists: {report.contradiction}"
    elif isinstance(report, RelationOnly):
        sentence = "relation only: what a well-trained model must keep apart; no model was looked at"
    else:
        sentence = verdict_sentence(report.check.verdict)
    word, rest = sentence.split(":", 1)
    mark = tag("span", MARKS[verdict], **{"aria-hidden": "true"})
    word, rest = _capital(word), _capital(rest.strip())
    return tag("p", tag("strong", mark, " ", word, "."), f" {rest}.", class_=f"verdict {verdict}")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _key_numbers(report: Report) -> Markup:
    data = report.data
    actions = len(np.unique(data.action))
    items = [
        ("Transitions", f"{len(data):,}", f"{actions:,} action{'s' if actions > 1 else ''}"),
        ("Sources", f"{len(np.unique(data.source)):,}", f"of {data.frames:,} observations"),
        *([] if isinstance(report, Impossible) else _relation_numbers(report)),
        *(_check_numbers(report.check) if isinstance(report, Checked) else []),
    ]
    return tag("dl", *(tag("div", tag("dt", a), tag("dd", b, tag("small", c))) for a, b, c in items))


def _relation_numbers(report: RelationOnly | Checked) -> list[tuple[str, str, str]]:
    relation, needed = report.relation, report.embeddings
    share = relation.distinguished_pairs / max(relation.distinguished_pairs + relation.bisimilar_pairs, 1)
    count = f"{relation.distinguished_pairs:,} pairs" + ("" if relation.exact else ", estimated")
    items = [("Pairs told apart", f"{share:.1%}", count)]
    if report.certified_share is not None:
        items.append(
            ("Certified share", f"{report.certified_share:.3f}", f"of the pairs that differ in {report.label}")
        )
    enough = "" if needed.constructed is None else f"{needed.constructed:,} are enough"
    number = ("" if needed.exact else "\N{GREATER-THAN OR EQUAL TO} ") + f"{needed.at_least:,}"
    return [*items, ("Embeddings needed", number, "exactly" if needed.exact else enough)]


def _check_numbers(check: TheoremCheck) -> list[tuple[str, str, str]]:
    if check.closest is None:
        return []
    share = check.closest.min_distance / check.median_distance if check.median_distance > 0 else 0.0
    return [
        ("Smallest distance", f"{check.closest.min_distance:.4g}", f"{share:.2%} of the median"),
        ("Collapsed pairs", f"{check.collapsed_pairs:,}", f"at most {check.collapse_distance:.3g} apart"),
    ]


def _data(report: Report) -> Markup:
    data, content = report.data, report.content
    rows = [
        ("Transitions", f"{len(data):,}"),
        ("Actions", f"{len(np.unique(data.action)):,}"),
        ("Observations", f"{data.frames:,}"),
        ("Observations that are sources", f"{len(np.unique(data.source)):,}"),
        ("Told apart by", report.identity),
        ("Conflicts (one observation and action, several successors)", f"{len(report.conflicts):,}"),
    ]
    if content is not None:
        rows.append(("Observations that look exactly like an earlier one", f"{content.coinciding:,}"))
        rows.append(("Conflicts, were observations told apart by content", f"{content.conflicts:,}"))
    notes = [f"Conflicts: {report.conflicts}."] if len(report.conflicts) else []
    if report.folded:
        notes.append("What the conflicts force to share one embedding was merged (folding).")
    return section("Data", table("The transitions", [], rows), *(tag("p", note) for note in notes))


def _relation(report: RelationOnly | Checked) -> Markup:
    relation = report.relation
    per_level = relation.distinguished_pairs_per_level
    total = max(relation.distinguished_pairs + relation.bisimilar_pairs, 1)
    kept = ends(len(per_level), ROWS)
    levels = [(f"{level + 1}", f"{per_level[level]:,}", f"{per_level[level] / total:.2%}") for level in kept]
    rest = relation.bisimilar_pairs
    rows = [*_with_gap(levels, kept), ("not told apart", f"{rest:,}", f"{rest / total:.2%}")]
    chart = figure(
        Markup(charts.level_histogram(per_level, rest)),
        "Pairs of sources by the level at which the data tells them apart: at level 1 p differs, at level t after "
        "t \N{MINUS SIGN} 1 actions.",
    )
    behaviours = f"{relation.behaviour.classes:,} different observed behaviours. "
    sentences = [
        tag("p", behaviours, _class_sentence(relation), "" if relation.exact else " There are too many for all pairs: "
            "numbers of pairs are estimates from a uniform sample."),
        tag("div", chart, table("Pairs per level", ["level", "pairs", "share of all"], rows), class_="pair"),
        *_coverage(report),
        *([_asked(report.pairs)] if report.pairs else []),
    ]  # fmt: skip
    return section("Largest bisimulation", *sentences)


def _with_gap(rows: Sequence[tuple[str, ...]], kept: Sequence[int]) -> list[tuple[str, ...]]:
    """The rows, with one that says how many are left out between levels that do not follow each other."""
    found: list[tuple[str, ...]] = []
    for place, row in enumerate(rows):
        left_out = kept[place] - kept[place - 1] - 1 if place else 0
        if left_out:
            found.append((f"\N{HORIZONTAL ELLIPSIS} {left_out:,} more", *[""] * (len(row) - 1)))
        found.append(row)
    return found


def _class_sentence(relation: Relation) -> str:
    if relation.intransitive_triple is not None:
        x, y, z = relation.intransitive_triple
        return (
            "Bisimilarity is not transitive here, so there are no classes: "
            f"{x} and {y} are bisimilar, {y} and {z} are, {x} and {z} are told apart."
        )
    if relation.bisimulation_classes is None:
        return "Whether bisimilarity is an equivalence is not decided."
    return f"Bisimilarity is an equivalence with {relation.bisimulation_classes:,} classes."


def _coverage(report: RelationOnly | Checked) -> list[Markup]:
    if report.labels is None or report.certified_share is None:
        return []
    text = (
        f"Certified share: {report.certified_share:.3f} of the pairs of sources that differ in {report.label} are told "
        "apart by the data."
    )
    within = report.relation.distinguished_within_label(report.labels)
    if within:
        text += f" {within:,} pairs of one {report.label} are told apart all the same."
    found = [tag("p", text)]
    if report.suggestions:
        rows = [
            (
                str(each),
                f"{each.newly_certified:,.0f}",
                f"{each.alike:,}",
            )
            for each in report.suggestions
        ]
        head = ["collect next", "more pairs, about", "sources like it"]
        found.append(table("To certify more, do so and go on for some steps", head, rows))
    return found


def _asked(notes: Sequence[PairNote]) -> Markup:
    rows = []
    for note in notes:
        witness = "" if note.witness is None else after(note.witness)
        collapse = "no" if note.cannot_collapse else "yes"
        rows.append((f"{note.pair[0]}, {note.pair[1]}", note.level or "bisimilar", witness, collapse))
    head = ["pair", "level", "p differs", "a well-trained model may merge it"]
    return table("Pairs that were asked for", head, rows)


def _impossible(contradiction: NoWellTrainedModelError) -> Markup:
    title, chain = "Why no well-trained model exists", contradiction.chain
    end = tag("p", f"{_capital(str(contradiction))}.")
    if not chain:
        return section(title, end)
    intro = "Each line forces two observations to share one embedding, given those above it."
    merges = tag("ol", "\n", join([tag("li", str(each)) for each in chain[:CHAIN]]))
    more = [] if len(chain) <= CHAIN else [tag("p", f"These are the first of {len(chain):,}.")]
    return section(title, tag("p", intro), merges, *more, end)


def _comparison(comparison: Comparison, label: str | None) -> Markup:
    used = f"{comparison.transitions:,} transitions from {comparison.sources:,} sources"
    if comparison.left_out:
        used += f"; {comparison.left_out:,} transitions are left out, of which some candidate is not known"
    head = ["auxiliary", "behaviours", "classes", "embeddings", "levels", "pairs told apart", "certified share"]
    within = [] if label is None else [f"pairs within one {label}"]
    rows = [_candidate(each, label is not None) for each in comparison.candidates]
    caption = f"What each auxiliary function would protect, before any training. {used}."
    return section(
        "Auxiliary functions compared",
        figure(Markup(charts.comparison(comparison)), caption, wide=True),
        table("The same in numbers", [*head, *within], rows),
        *(
            tag("p", tag("strong", each.name), f": {each.impossible}.")
            for each in comparison.candidates
            if each.impossible
        ),
    )


def _candidate(candidate: Candidate, labelled: bool) -> list[object]:
    needed, none = candidate.embeddings, "\N{EN DASH}"
    if needed is None:
        return [candidate.name, *[none] * (6 + labelled)]
    row = [
        candidate.name,
        f"{candidate.behaviours:,}",
        none if candidate.classes is None else f"{candidate.classes:,}",
        ("" if needed.exact else "\N{GREATER-THAN OR EQUAL TO} ") + f"{needed.at_least:,}",
        f"{len(candidate.pairs_per_level):,}",
        f"{sum(candidate.pairs_per_level):,}" + ("" if candidate.exact else " (estimated)"),
        none if candidate.certified_share is None else f"{candidate.certified_share:.3f}",
    ]
    return [*row, none if candidate.within_label is None else f"{candidate.within_label:,}"] if labelled else [*row]


def _hypothesis(check: TheoremCheck) -> Markup:
    given = [
        ("transition residual e_d" + ("" if check.raw_transition_residual is None else ", at canonical actions"),
         check.transition_residual),
        ("transition residual at the actions that were done", check.raw_transition_residual),
        ("actions of one code apart", check.abstraction_residual),
        ("auxiliary residual e_p", check.auxiliary_residual),
    ]  # fmt: skip
    rows = [(formula(name), *(f"{value:.4g}" for value in values)) for name, values in given if values is not None]
    parts: list[object] = [
        tag("p", tag("strong", "Met. " if check.hypothesis_met else "Not met. "), formula(_asked_for(check))),
        table("Quantiles of the residuals", ["residual", "50%", "90%", "99%", "largest"], rows),
    ]
    if check.levels:
        parts += [tag("div", *_hypothesis_charts(check), class_="pair"), _level_table(check)]
    return section("Theorem 3, hypothesis: is the model well-trained?", *parts)


def _asked_for(check: TheoremCheck) -> str:
    if check.auxiliary_share is None:
        return "No pair is told apart, so there is no margin to hold the residuals against: they are asked to be zero."
    worst = max(check.levels, key=lambda level: level.residual_ratio)
    return (
        f"2 median e_d over the median distance of a level is asked to be below {check.tolerance.transition:g} and is "
        f"{_number(worst.residual_ratio, 3)} at most, at level {worst.level}. "
        f"e_p(x) + e_p(y) < |p(x) \N{MINUS SIGN} p(y)| is asked of {check.tolerance.auxiliary:.0%} of the level-1 "
        f"pairs and true of {check.auxiliary_share:.2%}{' of a sample' if check.levels[0].sampled else ''}."
    )


def _hypothesis_charts(check: TheoremCheck) -> list[Markup]:
    found = []
    if any(len(level.distances) for level in check.levels):
        caption = "How far apart the pairs of each level are, and twice the error of one step of the dynamics."
        found.append(figure(Markup(charts.distances_against_residual(check)), caption))
    ratio = check.margin_ratio
    if check.auxiliary_share is not None and (np.isfinite(ratio) & (ratio > 0)).any():
        caption = "The error of p over what it has to tell apart, for pairs of level 1; the first bin holds zeros, too."
        found.append(figure(Markup(charts.margins(ratio, check.auxiliary_share)), caption))
    return found


def _level_table(check: TheoremCheck) -> Markup:
    bound = check.levels[0].bound is not None
    head = ["level", "pairs", "median distance", "2 median e_d over it", "e_d at the witness", "separation"]
    head = [formula(each) for each in head]
    kept = ends(len(check.levels), ROWS)
    rows = []
    for level in (check.levels[i] for i in kept):
        witness = "\N{EN DASH}" if level.witness_residual is None else f"{level.witness_residual:.4g}"
        separation = "\N{EN DASH}" if level.separation is None else f"{level.separation:.5f}"
        positive = [] if level.bound is None else [f"{level.bound[2]:.1%}"]
        rows.append((f"{level.level}", f"{level.pairs:,}", _number(level.median_distance),
                     _number(level.residual_ratio, 3), witness, separation, *positive))  # fmt: skip
    sampled = f"; sampled where a level has more than {check.tolerance.sample:,} pairs"
    caption = "Residuals against distances, level by level" + (sampled if any(e.sampled for e in check.levels) else "")
    return table(caption, [*head, *(["positive bound"] if bound else [])], _with_gap(rows, kept))


def _number(value: float, digits: int = 4) -> str:
    if np.isnan(value):  # no pair of the level is in the sample
        return "\N{EN DASH}"
    return "\N{INFINITY}" if np.isinf(value) else f"{value:.{digits}g}"


def _conclusion(report: Report, check: TheoremCheck) -> Markup:
    title = "Theorem 3, conclusion: are distinguished pairs apart?"
    if check.closest is None:
        return section(title, tag("p", "The data distinguishes no pair, so there is nothing to collapse."))
    closest = check.closest
    share = closest.min_distance / check.median_distance if check.median_distance > 0 else 0.0
    how = "Of all distinguished pairs, exactly" if check.exact else "Of the sampled pairs only"
    parts: list[object] = [tag(
        "p", f"{how}: the smallest distance is {closest.min_distance:.4g}, {share:.2%} of the median distance "
        f"{check.median_distance:.4g} of all pairs, between observations {closest.pair[0]} and {closest.pair[1]} "
        f"(level {closest.level}), whose p differs {after(closest.witness)}. Pairs at most "
        f"{check.collapse_distance:.3g} apart count as collapsed; they are {check.collapsed_pairs:,}.",
    )]  # fmt: skip
    pictures = charts.distance_histograms(check, report.label)
    if pictures:
        caption = "Distances as shares of the pairs: of each level (blue)"
        if check.same_label_distances is not None:
            caption += (
                f" and of sources with equal {report.label} (grey); the first bin holds what is nearer, too. "
                "Separation: how often a pair of the level is further apart than one with equal labels; 0.5 is chance."
            )
        grid = tag("div", *(Markup(each) for each in pictures), class_="many")
        parts.append(figure(grid, caption))
    return section(title, *parts)
