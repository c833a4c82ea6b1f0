"""Everything that `bisim-check` finds about a dataset and a model."""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.auxiliary import auxiliary_values
from bisim_theory.bisimulation import empirical_bisimulation
from bisim_theory.closure import cannot_collapse
from bisim_theory.codes import CodesForced, codes_forced
from bisim_theory.collapse import TheoremCheck, Tolerance, check_theorem
from bisim_theory.comparison import Comparison, compare
from bisim_theory.determinism import Conflicts, NoWellTrainedModelError, find_conflicts, fold, identify_by_content
from bisim_theory.exploration import Suggestion, collect_next
from bisim_theory.progress import Progress, silent
from bisim_theory.relation import Relation
from bisim_theory.representation import Representation
from bisim_theory.transitions import DatasetError, Ids, TransitionDataset

Bar = Callable[[str], AbstractContextManager[Progress]]
"""Makes a progress bar of a title."""


@dataclass(frozen=True, eq=False)
class ContentNote:
    """What telling observations apart by content instead of by occurrence would change.

    `coinciding` of the F observations look exactly like an earlier one; identifying them makes `conflicts`.
    """

    coinciding: int
    conflicts: int


@dataclass(frozen=True)
class PairNote:
    """What the data says about one pair of observations.

    Attributes:
        pair: their ids.
        level: round in which the pair enters R_D*, 0 in B_D*.
        witness: shortest actions after which p differs, None in B_D*.
        cannot_collapse: whether the pair is in the closure relation N.
    """

    pair: tuple[int, int]
    level: int
    witness: list[int] | None
    cannot_collapse: bool


@dataclass(frozen=True, eq=False)
class Report:
    """The findings; `relation`, `codes` are None only where no well-trained model exists (`impossible` says why)."""

    data: TransitionDataset
    identity: str
    folded: bool
    conflicts: Conflicts
    content: ContentNote | None
    label: str | None
    relation: Relation | None = None
    codes: CodesForced | None = None
    check: TheoremCheck | None = None
    representation: Representation | None = None
    suggestions: Sequence[Suggestion] = ()
    pairs: Sequence[PairNote] = ()
    comparison: Comparison | None = None
    impossible: NoWellTrainedModelError | None = None

    @property
    def verdict(self) -> str:
        """holds, collapsed, hypothesis-not-met, no-well-trained-model or relation-only."""
        if self.impossible is not None:
            return "no-well-trained-model"
        return "relation-only" if self.check is None else self.check.verdict

    @property
    def labels(self) -> NDArray[Any] | None:
        """(F,) the labels that stand for the ground truth."""
        return None if self.label is None else self.data.labels[self.label]

    @functools.cached_property
    def certified_share(self) -> float | None:
        """Distinguished pairs over the pairs with different labels; None without labels."""
        return None if self.relation is None or self.labels is None else self.relation.certified_share(self.labels)


def analyse(
    data: TransitionDataset,
    representation: Representation | None = None,
    identity: str = "occurrence",
    folding: bool = False,
    *,
    tolerance: Tolerance | None = None,
    candidates: Sequence[str] = (),
    pairs: Sequence[tuple[int, int]] = (),
    bar: Bar = lambda title: nullcontext(silent),
) -> Report:
    """Compute everything `bisim-check` reports.

    Args:
        data: the transitions.
        representation: what a model makes of them, or None for the relation alone.
        identity: ``"occurrence"`` takes every id as an observation of its own, ``"content"`` joins equal images.
        folding: whether to merge the successors of one (observation, action), which a well-trained model must.
        tolerance: what counts as well-trained and as collapsed; None takes the defaults.
        candidates: names of auxiliary functions to compare; see `bisim_theory.compare`.
        pairs: ids of pairs of sources to look at singly.
        bar: makes the progress bars.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off, or something does not fit.
    """
    if identity not in ("occurrence", "content"):
        raise DatasetError(f"identity={identity!r}: must be occurrence or content")
    # Before images are joined: an auxiliary may tell apart what looks the same.
    values = {name: auxiliary_values(data, name) for name in candidates}
    with bar("reading images") as progress:
        data, content = _identify(data, identity, progress)
    conflicts = find_conflicts(data)
    report = Report(data, identity, folding, conflicts, content, _ground_truth(data), representation=representation)
    if len(conflicts) and not folding:
        raise DatasetError(
            f"successor: Definition 4 asks for deterministic transitions and there are conflicts ({conflicts}); "
            "merge what they force with --fold, or tell every frame apart with --identity occurrence"
        )
    if values:
        with bar("comparing") as progress:
            report = replace(report, comparison=compare(data, values, report.labels, folding, progress))
    try:
        with bar("folding") as progress:
            stands_for = fold(data, progress=progress) if folding else None
        with bar("pairs") as progress:
            relation = empirical_bisimulation(data, stands_for, progress)
    except NoWellTrainedModelError as error:
        return replace(report, impossible=error)
    report = replace(
        report,
        relation=relation,
        codes=codes_forced(data, relation, stands_for, report.labels),
        # Beyond the table every pair is a walk of its own: too many are needed for advice.
        suggestions=collect_next(relation, report.labels) if report.labels is not None and relation.exact else (),
        pairs=[_note(data, relation, pair, stands_for) for pair in pairs],
    )
    if representation is None:
        return report
    with bar("distances") as progress:
        check = check_theorem(data, relation, representation, tolerance, report.labels, stands_for, progress)
    return replace(report, check=check)


def _identify(
    data: TransitionDataset, identity: str, progress: Progress
) -> tuple[TransitionDataset, ContentNote | None]:
    if data.observation is None:
        if identity == "content":
            raise DatasetError("observation: is needed for --identity content, and this dataset has none")
        return data, None
    ids = data.content_ids(progress)
    by_content = identify_by_content(data, ids)
    note = ContentNote(int((ids != np.arange(len(ids))).sum()), len(find_conflicts(by_content)))
    return (by_content if identity == "content" else data), note


def _note(data: TransitionDataset, relation: Relation, pair: tuple[int, int], stands_for: Ids | None) -> PairNote:
    x, y = pair
    return PairNote(
        pair=pair,
        level=int(relation.level(x, y)),
        witness=relation.witness(x, y),
        cannot_collapse=bool(cannot_collapse(data, x, y, stands_for)),
    )


def _ground_truth(data: TransitionDataset) -> str | None:
    """``count`` where there is such a label, else the only one that is one whole number per observation."""
    if "count" in data.labels and data.labels["count"].ndim == 1:
        return "count"
    plain = [name for name, value in data.labels.items() if value.ndim == 1 and value.dtype.kind in "iub"]
    return plain[0] if len(plain) == 1 else None
