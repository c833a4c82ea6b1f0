"""Say how a dataset was read, and what of it was not."""

from dataclasses import dataclass

from bisim_theory.data.left_out import describe_left_out
from bisim_theory.formats.limits import printable
from bisim_theory.outcome import Report


@dataclass(frozen=True)
class Reading:
    """Describe how a dataset was read.

    Attributes:
        convention: how rows became transitions; None where the file names sources and successors itself.
        left_out: sentences about what was not read, or not used.
        steps_without_successor: number of steps whose successor is not stored.
    """

    convention: str | None
    left_out: list[str]
    steps_without_successor: int


def describe_reading(report: Report) -> Reading:
    """Return what the metadata of a report's data say; what is no text or number there is passed over."""
    metadata = report.data.metadata
    convention, steps = metadata.get("convention"), metadata.get("steps_without_successor")
    count = steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else 0
    said = [f"{count:,} step{'' if count == 1 else 's'} whose successor is not stored"] if count else []
    said += [printable(each) for each in describe_left_out(metadata)]
    if report.left_out is not None:
        said.append(report.left_out)
    return Reading(printable(convention) if isinstance(convention, str) else None, said, count)
