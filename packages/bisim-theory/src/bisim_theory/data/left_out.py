"""What of a file was not read, and which columns became no labels: as entries of the metadata, and as sentences."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

NAMES, REASONS = "labels_left_out", "labels_left_out_because"
MOST_NAMES = 12
"""Most names in a sentence, and most sentences."""

LONGEST = 400
"""Most characters of what a message adds."""


def labels_left_out(reasons: Mapping[str, str]) -> dict[str, Any]:
    """Return the entries of the metadata that say which columns became no labels.

    Args:
        reasons: why, by name of the column; what it is, and what to do instead.
    """
    names: dict[str, list[str]] = {}
    for name in sorted(reasons):
        names.setdefault(reasons[name], []).append(name)
    return {NAMES: sorted(reasons), REASONS: names}


def describe_labels_left_out(metadata: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each reason, and one for the names without a reason.

    Args:
        metadata: of a dataset. What has another form there is passed over.
    """
    columns, reasons = metadata.get(NAMES), metadata.get(REASONS)
    rest = list(map(str, columns)) if isinstance(columns, list) else []
    said = []
    for reason, names in reasons.items() if isinstance(reasons, dict) else ():
        if isinstance(names, list) and names:
            found = list(map(str, names))
            said.append(f"{_listed(found)}: {reason}")
            rest = [name for name in rest if name not in found]
    return [*said, f"columns that cannot be labels: {_listed(rest)}"] if rest else said


def describe_left_out(metadata: Mapping[str, Any]) -> list[str]:
    """Return sentences about what was not read or used, and about columns that became no labels.

    Args:
        metadata: of a dataset. What has another form there is passed over.
    """
    said = metadata.get("left_out")
    sentences = said[:MOST_NAMES] if isinstance(said, list) else []
    return [each for each in sentences if isinstance(each, str)] + describe_labels_left_out(metadata)


def because_left_out(metadata: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return what a message adds where one of the names was left out of the data: why; else nothing."""
    named = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names))
    found = "; ".join(each for each in describe_left_out(metadata) if named.search(each))
    said = found if found.isprintable() else ascii(found)[1:-1]  # it may be from a file
    return f" (left out: {said[:LONGEST]})" if found else ""


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")
