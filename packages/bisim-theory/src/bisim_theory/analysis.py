"""Analyse a dataset as `bisim-check` does: what it distinguishes, and whether a model kept it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bisim_theory import _aliases
from bisim_theory.data.auxiliary import Values, auxiliary_values, offered, with_auxiliary
from bisim_theory.data.folding import Conflicts, NoWellTrainedModelError, find_conflicts, fold, identify_by_content
from bisim_theory.data.labels import default_label, label_names, label_values
from bisim_theory.data.representation import Representation
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.relation.closure import cannot_collapse
from bisim_theory.relation.collect_next import Suggestion, collect_next
from bisim_theory.relation.comparison import Comparison, compare
from bisim_theory.relation.compute import empirical_bisimulation
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded, embeddings_needed
from bisim_theory.theorem.check import TheoremCheck, Tolerance, Verdict, check_theorem

ProgressBar = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens a progress bar with the given title."""


@dataclass(frozen=True, eq=False)
class ContentNote:
    """Describe how joining observations of equal content changes the data.

    Attributes:
        ids: (F,) ids in which observations of equal content have the same id.
        coinciding: number of observations whose content equals that of an earlier one.
        conflicts: number of (observation, action) pairs with several successors after joining.
        other_label: number of sources whose content equals that of an earlier observation with another label.
    """

    ids: Ids
    coinciding: int
    conflicts: int
    other_label: int


@dataclass(frozen=True)
class PairNote:
    """Describe one pair of observations.

    Attributes:
        pair: ids of the observations.
        level: level at which the pair enters R_D*, 0 in B_D*; None if one of the two is never a source.
        witness: shortest actions after which p differs; None in B_D* and without a level.
        cannot_collapse: whether the pair is in the closure relation N.
    """

    pair: tuple[int, int]
    level: int | None
    witness: list[int] | None
    cannot_collapse: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """Hold what every outcome of an analysis has.

    Attributes:
        data: transitions for which p is known, with p.
        identity: ``"occurrence"`` or ``"content"``.
        folded: whether the successors of one (observation, action) were merged.
        conflicts: (observation, action) pairs of `data` with several successors.
        content: effect of joining equal observations; None without observations.
        label: names of the labels that serve as ground truth, separated by commas, or None.
        comparison: candidates for p side by side; None unless requested.
        left_out: input that was found and not used, and why; None if there is none.
    """

    data: TransitionDataset
    identity: str
    folded: bool
    conflicts: Conflicts
    content: ContentNote | None
    label: str | None
    comparison: Comparison | None = None
    left_out: str | None = None

    @property
    def auxiliary(self) -> str:
        """Return the name of p, or ``"as stored"`` if the data gives none."""
        return str(self.data.metadata.get("auxiliary", "as stored"))

    @property
    def labels(self) -> NDArray[Any] | None:
        """Return the ground truth of every observation, (F,), or None."""
        return None if self.label is None else label_values(self.data, self.label)

    def label_of(self, observation: int) -> str:
        """Return names and values of an observation's label for a caption, empty without a label."""
        names = [] if self.label is None else label_names(self.data, self.label)
        return ", ".join(f"{name} {self.data.labels[name][observation]}" for name in names)

    if not TYPE_CHECKING:  # a type checker reports fields that an outcome lacks

        def __getattr__(self, name: str) -> Any:
            return _aliases.outcome_field(self, name)


@dataclass(frozen=True, eq=False, kw_only=True)
class Impossible(Outcome):
    """Report that no well-trained model exists.

    Attributes:
        contradiction: two observations that must share an embedding and differ in p.
        representation: the model's arrays, if given.
    """

    contradiction: NoWellTrainedModelError
    representation: Representation | None = None

    @property
    def verdict(self) -> Literal["no-well-trained-model"]:
        """Return ``"no-well-trained-model"``."""
        return "no-well-trained-model"


@dataclass(frozen=True, eq=False, kw_only=True)
class WithRelation(Outcome):
    """Hold what the outcomes with a relation have.

    Attributes:
        relation: R_D* and B_D* over `data`.
        embeddings: number of embeddings that a well-trained model needs.
        suggestions: what to collect next, best first; empty without a ground truth.
        pairs: the requested pairs.
    """

    relation: Relation
    embeddings: EmbeddingsNeeded
    suggestions: Sequence[Suggestion] = ()
    pairs: Sequence[PairNote] = ()

    @functools.cached_property
    def look_alike_pairs(self) -> int | None:
        """Count the distinguished pairs of equal content, which no encoder can separate.

        None where contents are not known, and where equal ones are one observation.
        """
        if self.content is None or self.identity == "content":
            return None
        return self.relation.equal_label_pairs(self.relation.label_codes(self.content.ids))

    @functools.cached_property
    def certified_share(self) -> float | None:
        """Return the share of the pairs with different labels that are distinguished, or None without such pairs."""
        return None if self.labels is None else self.relation.certified_share(self.labels)


@dataclass(frozen=True, eq=False, kw_only=True)
class RelationOnly(WithRelation):
    """Report the relation alone, since no model was given."""

    @property
    def verdict(self) -> Literal["relation-only"]:
        """Return ``"relation-only"``."""
        return "relation-only"


@dataclass(frozen=True, eq=False, kw_only=True)
class Checked(WithRelation):
    """Report the relation and a model checked against it.

    Attributes:
        representation: the model's arrays.
        check: Theorem 3 on `data` and the model.
    """

    representation: Representation
    check: TheoremCheck

    @property
    def verdict(self) -> Verdict:
        """Return ``"holds"``, ``"collapsed"`` or ``"hypothesis-not-met"``."""
        return self.check.verdict


Report = Impossible | RelationOnly | Checked
"""Outcome of an analysis."""


@_aliases.former_parameters(
    "data",
    "representation",
    "identity",
    "folding",
    "auxiliary",
    "tolerance",
    "candidates",
    "pairs",
    "bar",
    renamed={"bar": "progress_bar"},
)
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
    label: str | None = None,
    progress_bar: ProgressBar = lambda title: nullcontext(silent),
) -> Report:
    """Compute everything that `bisim-check` reports.

    Args:
        data: the transitions.
        representation: a model's arrays on `data`; None computes the relation alone.
        identity: ``"occurrence"`` gives every id an observation of its own, ``"content"`` joins equal images.
        folding: whether to merge the successors of one (observation, action), as a well-trained model must.
        auxiliary: name of p; None uses the stored values, else the first candidate.
        tolerance: thresholds for well-trained and collapsed; None uses the defaults.
        candidates: names of auxiliary functions to compare; see `bisim_theory.compare`.
        pairs: ids of pairs of observations to inspect.
        label: name of the ground truth, or several names separated by commas; None takes ``count``, else the only
            label of one integer per observation, else none.
        progress_bar: opens the progress bars.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off, or an argument does not fit the data.
    """
    if identity not in ("occurrence", "content"):
        raise DatasetError(f"identity={identity!r}: must be occurrence or content")
    # Candidates may tell equal images apart, so they are evaluated before those are joined.
    values = {name: auxiliary_values(data, name) for name in candidates}
    label = default_label(data) if label is None else ",".join(label_names(data, label))
    with progress_bar("reading observations") as progress:
        all_data, content = _identify(data, identity, label, progress)
    data, representation = _choose_auxiliary(all_data, representation, auxiliary, values)
    if representation is not None:
        representation.check_against(data)
    conflicts = find_conflicts(data)
    if len(conflicts) and not folding:
        raise DatasetError(_conflicts_message(conflicts, identity))

    labels = None if label is None else label_values(data, label)
    comparison = None
    if values:
        with progress_bar("comparing") as progress:
            comparison = compare(all_data, values, labels, folding, progress)
    outcome = Outcome(
        data=data,
        identity=identity,
        folded=folding,
        conflicts=conflicts,
        content=content,
        label=label,
        comparison=comparison,
    )
    try:
        with progress_bar("folding") as progress:
            representative = fold(data, progress=progress) if folding else None
        with progress_bar("pairs") as progress:
            relation = empirical_bisimulation(data, representative, progress)
    except NoWellTrainedModelError as error:
        return Impossible(**vars(outcome), contradiction=error, representation=representation)
    found = RelationOnly(
        **vars(outcome),
        relation=relation,
        embeddings=embeddings_needed(relation, labels),
        suggestions=_suggest(relation, labels, content),
        pairs=_inspect_pairs(pairs, relation, content if identity == "content" else None),
    )
    if representation is None:
        return found
    with progress_bar("distances") as progress:
        check = check_theorem(relation, representation, tolerance, labels, progress)
    return Checked(**vars(found), representation=representation, check=check)


def _identify(
    data: TransitionDataset, identity: str, label: str | None, progress: ProgressCallback
) -> tuple[TransitionDataset, ContentNote | None]:
    """Join equal images if `identity` asks for it; note what joining changes in either case."""
    if data.observation is None:
        if identity == "content":
            raise DatasetError("observation: is needed for --identity content, and this dataset has none")
        return data, None
    ids = data.content_ids(progress)
    joined = identify_by_content(data, ids)
    sources = np.unique(data.source)
    other = 0
    if label is not None:
        labels = label_values(data, label)
        other = int((labels[sources] != labels[ids[sources]]).sum())
    note = ContentNote(ids, int((ids != np.arange(len(ids))).sum()), len(find_conflicts(joined)), other)
    return (joined if identity == "content" else data), note


def _choose_auxiliary(
    data: TransitionDataset, representation: Representation | None, name: str | None, values: Mapping[str, Values]
) -> tuple[TransitionDataset, Representation | None]:
    """Attach p to the transitions; keep those rows of both arguments for which it is known.

    Args:
        data: the transitions.
        representation: a model's arrays on `data`, or None.
        name: the p to attach; None keeps the stored one, else takes the first of `values`.
        values: candidates for p that are known already.
    """
    if name is None and data.auxiliary is not None:
        return data, representation
    if name is None and not values:
        raise DatasetError(f"auxiliary: is not in this dataset; choose --auxiliary {'|'.join(offered(data))}")
    name = name or next(iter(values))
    chosen = values[name] if name in values else auxiliary_values(data, name)
    return with_auxiliary(data, chosen, name), None if representation is None else representation.of_rows(chosen.known)


def _conflicts_message(conflicts: Conflicts, identity: str) -> str:
    return (
        f"successor: Definition 4 asks for deterministic transitions and there are conflicts ({conflicts}); "
        "merge what they force with --fold"
        + (", or tell every frame apart with --identity occurrence" if identity == "content" else "")
    )


def _suggest(relation: Relation, labels: NDArray[Any] | None, content: ContentNote | None) -> Sequence[Suggestion]:
    """Return what to collect next. Without a table of levels every pair costs a search, and this needs too many."""
    if labels is None or not relation.exact:
        return ()
    return collect_next(relation, labels, content=None if content is None else content.ids)


def _inspect_pairs(pairs: Sequence[tuple[int, int]], relation: Relation, joined: ContentNote | None) -> list[PairNote]:
    """Look up level, witness and closure of each pair; `joined` translates ids where equal images were joined."""
    if not pairs:
        return []
    given, data = np.array(pairs), relation.data
    if given.min() < 0 or given.max() >= data.frames:
        raise DatasetError(
            f"--pair: must be ids of observations, 0..{data.frames - 1}; {given.min()}..{given.max()} are asked for"
        )
    ids = given if joined is None else joined.ids[given]
    forbidden = cannot_collapse(data, ids[:, 0], ids[:, 1], relation.representative)
    notes = []
    for pair, (x, y), never in zip(pairs, ids.tolist(), forbidden.tolist(), strict=True):
        known = bool(np.isin([x, y], relation.sources).all())
        level = int(relation.level(x, y)) if known else None
        notes.append(PairNote(pair, level, relation.witness(x, y) if known else None, never))
    return notes
