"""Columns of a dataset that became no labels, and why: as entries of its metadata, and as sentences."""

from collections.abc import Mapping
from typing import Any

NAMES, REASONS = "labels_left_out", "labels_left_out_because"
MOST_NAMES = 12
"""Most names in a sentence."""


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


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")
