"""Tables of what is predicted before training and kept after it, from the records of the study `promise`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bisim_theory.theorem.check import EXPLAINED
from bisim_theory.theorem.explained import FEW_PAIRS

from benchmarks.studies.kinds import UNSEEN, Kind
from benchmarks.tables import markdown, spread

KEPT, MERGED = 0.99, 0.6
"""Separations from which on a kind counts as kept, and up to which as merged; that of equal distances is a half."""

LEARNT = 0.95
"""Share of the variance of p on held-out observations from which on p counts as learnt."""

Found = Mapping[str, Sequence[Mapping[str, Any]]]
"""Measures of each seed by the name of the variant."""


@dataclass(frozen=True)
class Row:
    """One kind of pair in one run.

    Attributes:
        kind: of pair.
        level: the lowest at which R_D* of the training's transitions has a pair of the kind; 0 where it has none.
        share: share of its pairs in R_D*.
        level_by_label: the level where observations of equal labels are one; None where that is contradictory.
        pairs: held-out pairs.
        separation, untrained: of the trained encoder and of an untrained one; None without pairs to compare with.
        explained: whether the residuals of T and P explain what `bisim-check` asks for, at the level and at all before.
    """

    kind: Kind
    level: int
    share: float
    level_by_label: int | None
    pairs: int
    separation: float | None
    untrained: float | None
    explained: bool

    @property
    def protected(self) -> bool:
        """Return whether R_D* has a pair of the kind."""
        return self.level > 0

    @property
    def seen(self) -> bool:
        """Return whether the two images differ; no encoder tells equal ones apart."""
        return self.kind.group != UNSEEN


def rows_of(measures: Mapping[str, Any]) -> list[Row]:
    """Read the kinds of pairs of a run, but those that separations are measured against."""
    alike = set(measures["alike"])
    explained = explained_levels(measures)
    return [
        Row(Kind.of_name(name), *values, explained=0 < values[0] <= explained)
        for name, values in measures["kinds"].items()
        if name not in alike
    ]


def explained_levels(measures: Mapping[str, Any]) -> int:
    """Return the number of levels, from the first on, of which `EXPLAINED` of the held-out pairs are explained."""
    if not is_learnt(measures):
        return 0
    shares = [share for pairs, share in measures["explained"] if pairs >= FEW_PAIRS]
    return next((level for level, share in enumerate(shares) if share < EXPLAINED), len(shares))


def is_learnt(measures: Mapping[str, Any]) -> bool:
    """Return whether P predicts p on held-out observations; a constant is."""
    return measures["learnt"] is None or measures["learnt"] >= LEARNT


def least_explained(measures: Mapping[str, Any]) -> float | None:
    """Return the smallest explained share of the levels with at least `FEW_PAIRS` pairs; None without any."""
    return min((share for pairs, share in measures["explained"] if pairs >= FEW_PAIRS), default=None)


def kept_table(found: Found) -> str:
    """Format a table of what is protected: a row a variant, mean (lowest to highest) over kinds of pairs and seeds."""
    header = ["p", "seeds", "p learnt", "embeddings needed", "if equal labels are one", "kinds protected", "levels",
              "share of their pairs", "separation", f"at {KEPT} or more", "levels explained",
              f"of their kinds, at {KEPT} or more", "untrained", "explained, least level"]  # fmt: skip
    rows = []
    for name, runs in found.items():
        every = [row for run in runs for row in rows_of(run) if row.seen]
        protected = [row for row in every if row.protected]
        compared = [row.separation for row in protected if row.separation is not None]
        explained = [row.separation for row in protected if row.explained and row.separation is not None]
        rows.append([
            name,
            str(len(runs)),
            spread((run["learnt"] for run in runs), ".3f"),
            _embeddings(run["embeddings"] for run in runs),
            _embeddings(run["embeddings_by_label"] for run in runs),
            f"{len({row.kind for row in protected})} of {len({row.kind for row in every})}",
            _range(row.level for row in protected),
            spread((row.share for row in protected), ".0%"),
            spread(compared, ".3f"),
            count_kept(compared),
            _range(explained_levels(run) for run in runs),
            count_kept(explained),
            spread((row.untrained for row in protected), ".3f"),
            spread((least_explained(run) for run in runs), ".3f"),
        ])  # fmt: skip
    return markdown(header, rows)


def unprotected_table(found: Found) -> str:
    """Format a table of what nothing protects: a row a variant and group of kinds."""
    header = ["p", "pairs that differ in", "kinds", "separation", "merged", "between", "kept for free", "untrained"]
    rows = []
    for name, runs in found.items():
        every = [row for run in runs for row in rows_of(run) if row.seen and not row.protected]
        for group in dict.fromkeys(row.kind.group for row in every):
            of_group = [row for row in every if row.kind.group == group]
            compared = [row.separation for row in of_group if row.separation is not None]
            merged, kept = sum(each <= MERGED for each in compared), sum(each >= KEPT for each in compared)
            rows.append([
                name,
                group,
                str(len({row.kind for row in of_group})),
                spread(compared, ".3f"),
                *(_share(part, len(compared)) for part in (merged, len(compared) - merged - kept, kept)),
                spread((row.untrained for row in of_group), ".3f"),
            ])  # fmt: skip
    return markdown(header, rows)


def count_kept(separations: Sequence[float]) -> str:
    """Say how many separations reach `KEPT`, of how many."""
    return f"{sum(each >= KEPT for each in separations)} of {len(separations)}" if separations else ""


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _range(numbers: Iterable[int]) -> str:
    known = sorted(set(numbers))
    return "" if not known else f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _embeddings(runs: Iterable[tuple[int, bool] | None]) -> str:
    known = [run for run in runs if run is not None]
    if not known:
        return "contradictory"
    exact = all(exact for _, exact in known)
    return f"{'' if exact else 'at least '}{_range(number for number, _ in known)}"
