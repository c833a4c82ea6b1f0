"""Format tables in Markdown and their cells."""

from collections.abc import Iterable, Sequence


def seed_range(text: str) -> list[int]:
    """Parse ``0-4`` or ``3`` as seeds."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def spread(values: Iterable[float | None], form: str = ".3f") -> str:
    """Format numbers as mean (lowest to highest); None is left out."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, mean, high = (format(value, form) for value in (min(known), sum(known) / len(known), max(known)))
    return mean if low == high else f"{mean} ({low} to {high})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])
