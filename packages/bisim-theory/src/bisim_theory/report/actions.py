"""Say what the action codes in a report mean."""

from collections.abc import Iterable

from bisim_theory.data.action_codes import ActionCodes
from bisim_theory.outcome import Checked, Impossible, Report

MOST_CODES = 1_000
"""Largest number of codes whose meaning is listed in JSON."""

MOST_NAMED = 24
"""Largest number of codes whose meaning text and page list."""


def describe_codes(report: Report) -> str | None:
    """Return how codes were made of actions; None where nothing is known, or they are the actions themselves."""
    codes = ActionCodes.of(report.data.metadata)
    return None if codes is None else str(codes)


def code_meanings(report: Report, named: Iterable[int] | None = None) -> dict[int, str]:
    """Return what codes mean, in order.

    Args:
        report: the outcome of an analysis.
        named: the codes; None takes those of the data, at most `MOST_CODES`.
    """
    codes = ActionCodes.of(report.data.metadata)
    if codes is None:
        return {}
    wanted = report.action_codes[:MOST_CODES].tolist() if named is None else sorted(set(named))
    found = {code: codes.meaning(code) for code in wanted}
    return {code: meaning for code, meaning in found.items() if meaning is not None}


def named_codes(report: Report) -> list[int]:
    """Return the codes that the text of a report names: of conflicts, merges, witnesses and suggestions."""
    conflicts = report.conflicts
    found = [int(conflicts.action[conflicts.successors.argmax()])] if len(conflicts) else []
    if isinstance(report, Impossible):
        return found + [merge.action for merge in report.contradiction.chain]
    found += [each.action for each in report.suggestions]
    for note in report.pairs:
        found += note.witness or []
    if isinstance(report, Checked) and report.check.closest is not None:
        found += report.check.closest.witness
    return found
