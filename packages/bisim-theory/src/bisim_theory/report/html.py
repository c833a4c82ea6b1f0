"""Format a report as one HTML page with pictures, for ``--html``. The page loads nothing from elsewhere."""

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from bisim_theory.console import install_extra
from bisim_theory.data.transitions import DatasetError
from bisim_theory.files import atomic_write
from bisim_theory.outcome import Checked, Impossible, RelationOnly, Report
from bisim_theory.relation.choice import Choice
from bisim_theory.report import charts, tables
from bisim_theory.report import choice as ranking
from bisim_theory.report.actions import MOST_NAMED, code_meanings, describe_codes, named_codes
from bisim_theory.report.auxiliary import count_values, offer_alternatives, warn_of_own_values
from bisim_theory.report.witness_images import witness_images
from bisim_theory.theorem.check import TheoremCheck
from bisim_theory.theorem.verdict import unexplained_notes, unprotected_notes, verdict_sentence

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_MERGES_LISTED = 200
"""Largest number of forced merges that are listed."""

MARKS = {
    "holds": "\N{CHECK MARK}",
    "collapsed": "\N{MULTIPLICATION X}",
    "no-well-trained-model": "\N{MULTIPLICATION X}",
    "hypothesis-not-met": "?",
    "relation-only": "\N{BLACK CIRCLE}",
}


def require_libraries() -> None:
    """Raise `DatasetError` unless the libraries of the extra ``html`` are installed."""
    for name in ("jinja2", "matplotlib", "PIL"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise DatasetError(f"--html needs the extra html: {install_extra('html')}") from None


def write_page(path: str | os.PathLike[str], report: Report, title: str) -> None:
    """Write a report as an HTML page, whole or not at all. Equal reports give equal bytes.

    Args:
        path: the file.
        report: the outcome of an analysis.
        title: name of what was analysed.

    Raises:
        OSError: the file cannot be written.
        DatasetError: the frames cannot be read, or a library is missing.
    """
    page = to_html(report, title).encode("utf-8", "replace")  # a file name may hold bytes that are no text
    with atomic_write(path) as file:
        file.write(page)


def to_html(report: Report, title: str) -> str:
    """Return the page as text; see `write_page`."""
    require_libraries()
    values: dict[str, Any] = {
        "title": title,
        "report": report,
        "verdict": _verdict(report),
        "key_numbers": tables.key_numbers(report),
        "data_rows": tables.data_rows(report),
        "contradiction": report.contradiction if isinstance(report, Impossible) else None,
        "own_values": warn_of_own_values(report, count_values(report)),
        "alternatives": offer_alternatives(report) if isinstance(report, Impossible) else None,
        "check": report.check if isinstance(report, Checked) else None,
        "merges_shown": MAX_MERGES_LISTED,
        **_witnesses(report),
    }
    if not isinstance(report, Impossible):
        values |= _relation(report)
    if report.comparison is not None:
        values["comparison_chart"] = charts.comparison(report.comparison)
        labelled = report.label is not None
        values["candidate_rows"] = [tables.candidate_row(each, labelled) for each in report.comparison.candidates]
    if report.choice is not None:
        values |= _choice(report, report.choice)
    if isinstance(report, Checked):
        values |= _theorem(report.check, report.label)
    return _environment().get_template("report.html.j2").render(values)


def _choice(report: Report, choice: Choice) -> dict[str, Any]:
    return {
        "choice_headline": ranking.headline(choice),
        "choice_head": [*ranking.HEAD, "wanted label in it"],
        "choice_rows": ranking.table_rows(choice.candidates),
        "choice_sentences": ranking.sentences(report, choice),
    }


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bisim_theory.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "after": tables.after,
        "number": format,
        "sentence": _capital,
        "value": tables.format_value,
    }
    return environment


def _capital(text: object) -> str:
    return str(text)[:1].upper() + str(text)[1:]


def _witnesses(report: Report) -> dict[str, Any]:
    """Return the images of witnesses, and what the codes of actions mean that the page names."""
    images = witness_images(report)
    along = [action for strip in images["strips"] for action in strip.witness]
    meanings = code_meanings(report, [*named_codes(report), *along])
    rows = [(str(code), meaning) for code, meaning in list(meanings.items())[:MOST_NAMED]]
    return {**images, "codes_made": describe_codes(report), "code_rows": rows}


def _verdict(report: Report) -> dict[str, str]:
    if isinstance(report, Impossible):
        sentence = f"no well-trained model exists: {report.contradiction}"
    elif isinstance(report, RelationOnly):
        sentence = "relation only: what a well-trained model must keep apart; no model was looked at"
    else:
        sentence = verdict_sentence(report.check, report.look_alike_pairs)
    word, meaning = sentence.split(":", 1)
    return {"mark": MARKS[report.verdict], "word": _capital(word), "meaning": _capital(meaning.strip())}


def _relation(report: RelationOnly | Checked) -> dict[str, Any]:
    relation = report.relation
    return {
        "relation": relation,
        "level_chart": charts.level_histogram(relation.distinguished_pairs_per_level, relation.bisimilar_pairs),
        "level_rows": tables.level_rows(relation),
        "pairs_within_label": report.within_label or 0,
        "suggestion_rows": tables.suggestion_rows(report),
        "requested_pairs": tables.requested_pairs(report),
    }


def _theorem(check: TheoremCheck, label: str | None) -> dict[str, Any]:
    share, ratio = check.auxiliary_share, check.margin_ratio
    measured = any(len(level.distances) for level in check.levels)
    drawable = bool((np.isfinite(ratio) & (ratio > 0)).any())
    return {
        "worst_level": min(check.levels, key=lambda level: level.explained.share, default=None),
        "largest_ratio": max((level.residual_ratio for level in check.levels), default=None),
        "notes": unexplained_notes(check),
        "unprotected": [] if check.unprotected is None else unprotected_notes(check.unprotected),
        "residual_rows": tables.residual_rows(check),
        "checked_level_rows": tables.checked_level_rows(check),
        "residual_chart": charts.distances_against_residual(check) if measured else None,
        "margin_chart": charts.margins(ratio, share) if share is not None and drawable else None,
        "distance_charts": charts.distance_histograms(check, label) if check.closest is not None else [],
    }
