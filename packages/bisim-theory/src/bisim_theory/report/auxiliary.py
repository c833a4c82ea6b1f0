"""Say what the auxiliary function p of a report is, and how many values it has."""

from dataclasses import dataclass

from bisim_theory.data.wanted import FEWEST, NEARLY_ALL
from bisim_theory.formats.limits import printable
from bisim_theory.outcome import Impossible, Report

_OWN_BY_DESIGN = {"random", "random-network"}


@dataclass(frozen=True)
class ValueCount:
    """Count the values of p.

    Attributes:
        different: number of different values, compared exactly.
        known: number of observations with a known value.
        observations: number of observations that occur in a transition.
    """

    different: int
    known: int
    observations: int

    def __str__(self) -> str:
        values = "value" if self.different == 1 else "different values"
        known = f"known at {self.known:,} of {self.observations:,} observations"
        return f"{self.different:,} {values}, compared exactly, {known}"


def count_values(report: Report) -> ValueCount | None:
    """Count the values of p; None where p is no function of the observation."""
    return None if report.p_values is None else ValueCount(*report.p_values)


def describe_p(report: Report) -> str:
    """Return the name of p and what it is."""
    return printable(", ".join(filter(None, (report.auxiliary, report.auxiliary_meaning))))


def warn_of_own_values(report: Report, count: ValueCount | None) -> str | None:
    """Return a warning where nearly every observation has a value of its own, and what makes p coarser; else None."""
    names = report.auxiliary.split("+")
    if count is None or count.known < FEWEST or _OWN_BY_DESIGN & set(names):
        return None
    if count.different < NEARLY_ALL * count.known:
        return None
    name = "auxiliary" if report.auxiliary == "as stored" else names[0].split(":bins:")[0].split(":round:")[0]
    return printable(
        f"nearly every value is its own ({count.different:,} at {count.known:,} observations), so p alone tells nearly "
        f"all apart; coarser: --auxiliary {name}:bins:K or {name}:round:STEP"
    )


def offer_alternatives(report: Impossible) -> str | None:
    """Say which auxiliary functions have one value where the chosen one has two, or None."""
    if not report.alternatives:
        return None
    return f"functions of the observation, by this data: --auxiliary {', '.join(report.alternatives)}"
