"""Everything that `bisim-check` finds about a dataset and a model."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import Values, auxiliary_values, offered, with_auxiliary
from bisim_theory.data.folding import Conflicts, NoWellTrainedModelError, find_conflicts, fold, identify_by_content
from bisim_theory.data.representation import Representation
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.relation.closure import cannot_collapse
from bisim_theory.relation.collect_next import Suggestion, collect_next
from bisim_theory.relation.comparison import Comparison, compare
from bisim_theory.relation.compute import empirical_bisimulation
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded, embeddings_needed
from bisim_theory.theorem.check import TheoremCheck, Tolerance, check_theorem

Bar = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Makes a progress bar of a title."""


@dataclass(frozen=True, eq=False)
class ContentNote:
    """What telling observations apart by content instead of by occurrence would change.

    Attributes:
        ids: (F,) observations of equal content have the same.
        coinciding: how many of the F observations look exactly like an earlier one.
        conflicts: (observation, action) pairs with several successors once those are one.
        other_label: how many sources look like an earlier one with another label.
    """

    ids: Ids
    coinciding: int
    conflicts: int
    other_label: int


@dataclass(frozen=True)
class PairNote:
    """What the data says about one pair of observations.

    Attributes:
        pair: their ids.
        level: round in which the pair enters R_D*, 0 in B_D*, None where one of the two is never a source.
        witness: shortest actions after which p differs, None in B_D* or where there is no level.
        cannot_collapse: whether the pair is in the closure relation N.
    """

    pair: tuple[int, int]
    level: int | None
    witness: list[int] | None
    cannot_collapse: bool


@dataclass(frozen=True, eq=False)
class Report:
    """The findings; `relation`, `codes` are None only where no well-trained model exists (`impossible` says why).

    `left_out` says what was found beside the data and not used, and why.
    """

    data: TransitionDataset
    identity: str
    folded: bool
    conflicts: Conflicts
    content: ContentNote | None
    label: str | None
    relation: Relation | None = None
    codes: EmbeddingsNeeded | None = None
    check: TheoremCheck | None = None
    representation: Representation | None = None
    suggestions: Sequence[Suggestion] = ()
    pairs: Sequence[PairNote] = ()
    comparison: Comparison | None = None
    impossible: NoWellTrainedModelError | None = None
    left_out: str | None = None

    @property
    def auxiliary(self) -> str:
        """What p is, as far as the data says."""
        return str(self.data.metadata.get("auxiliary", "as stored"))

    @functools.cached_property
    def look_alike_pairs(self) -> int | None:
        """Distinguished pairs of equal images, which no encoder can keep apart; None where there are no images."""
        if self.relation is None or self.content is None or self.identity == "content":
            return None
        return self.relation.equal_label_pairs(self.relation.label_codes(self.content.ids))

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
    auxiliary: str | None = None,
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
        auxiliary: name of what p is; None takes the values stored, else the first candidate.
        tolerance: what counts as well-trained and as collapsed; None takes the defaults.
        candidates: names of auxiliary functions to compare; see `bisim_theory.compare`.
        pairs: ids of pairs of observations to look at singly.
        bar: makes the progress bars.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off, or something does not fit.
    """
    if identity not in ("occurrence", "content"):
        raise DatasetError(f"identity={identity!r}: must be occurrence or content")
    # Before images are joined: an auxiliary may tell apart what looks the same. And before rows are left out.
    values = {name: auxiliary_values(data, name) for name in candidates}
    with bar("reading images") as progress:
        data, content = _identify(data, identity, progress)
    everything, labels = data, None if _ground_truth(data) is None else data.labels[str(_ground_truth(data))]
    data, representation = _choose(data, representation, auxiliary, candidates, values)
    if representation is not None:
        representation.check_against(data)
    conflicts = find_conflicts(data)
    report = Report(data, identity, folding, conflicts, content, _ground_truth(data), representation=representation)
    if len(conflicts) and not folding:
        raise DatasetError(
            f"successor: Definition 4 asks for deterministic transitions and there are conflicts ({conflicts}); "
            "merge what they force with --fold"
            + (", or tell every frame apart with --identity occurrence" if identity == "content" else "")
        )
    if values:
        with bar("comparing") as progress:
            report = replace(report, comparison=compare(everything, values, labels, folding, progress))
    try:
        with bar("folding") as progress:
            representative = fold(data, progress=progress) if folding else None
        with bar("pairs") as progress:
            relation = empirical_bisimulation(data, representative, progress)
    except NoWellTrainedModelError as error:
        return replace(report, impossible=error)
    report = replace(
        report,
        relation=relation,
        codes=embeddings_needed(relation, report.labels),
        # Beyond the table every pair is a walk of its own: too many are needed for advice.
        suggestions=collect_next(relation, labels) if labels is not None and relation.exact else (),
        pairs=_look_at(pairs, relation, content, identity),
    )
    if representation is None:
        return report
    with bar("distances") as progress:
        check = check_theorem(relation, representation, tolerance, report.labels, progress)
    return replace(report, check=check)


def _identify(
    data: TransitionDataset, identity: str, progress: ProgressCallback
) -> tuple[TransitionDataset, ContentNote | None]:
    if data.observation is None:
        if identity == "content":
            raise DatasetError("observation: is needed for --identity content, and this dataset has none")
        return data, None
    ids = data.content_ids(progress)
    by_content = identify_by_content(data, ids)
    label = _ground_truth(data)
    sources = np.unique(data.source)
    other = 0 if label is None else int((data.labels[label][sources] != data.labels[label][ids[sources]]).sum())
    note = ContentNote(ids, int((ids != np.arange(len(ids))).sum()), len(find_conflicts(by_content)), other)
    return (by_content if identity == "content" else data), note


def _choose(
    data: TransitionDataset,
    representation: Representation | None,
    name: str | None,
    candidates: Sequence[str],
    values: Mapping[str, Values],
) -> tuple[TransitionDataset, Representation | None]:
    """The transitions with the p that was asked for, and of a representation those that remain."""
    if name is None and data.auxiliary is not None:
        return data, representation
    if name is None and not candidates:
        raise DatasetError(f"auxiliary: is not in this dataset; choose --auxiliary {'|'.join(offered(data))}")
    name = name or candidates[0]
    chosen = values[name] if name in values else auxiliary_values(data, name)
    return with_auxiliary(data, chosen, name), None if representation is None else representation.of_rows(chosen.known)


def _look_at(
    pairs: Sequence[tuple[int, int]],
    relation: Relation,
    content: ContentNote | None,
    identity: str,
) -> list[PairNote]:
    if not pairs:
        return []
    given, data = np.array(pairs), relation.data
    if given.min() < 0 or given.max() >= data.frames:
        raise DatasetError(
            f"--pair: must be ids of observations, 0..{data.frames - 1}; {given.min()}..{given.max()} are asked for"
        )
    ids = content.ids[given] if content is not None and identity == "content" else given
    forbidden = cannot_collapse(data, ids[:, 0], ids[:, 1], relation.representative)
    notes = []
    for pair, (x, y), never in zip(pairs, ids.tolist(), forbidden.tolist(), strict=True):
        known = bool(np.isin([x, y], relation.sources).all())
        level = int(relation.level(x, y)) if known else None
        notes.append(PairNote(pair, level, relation.witness(x, y) if known else None, never))
    return notes


def _ground_truth(data: TransitionDataset) -> str | None:
    """``count`` where there is such a label, else the only one that is one whole number per observation."""
    if "count" in data.labels and data.labels["count"].ndim == 1:
        return "count"
    plain = [name for name, value in data.labels.items() if value.ndim == 1 and value.dtype.kind in "iub"]
    return plain[0] if len(plain) == 1 else None
