"""Analyse a dataset as `bisim-check` does: what it distinguishes, and whether a model kept it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bisim_theory import _aliases
from bisim_theory.data.alternatives import find_alternatives
from bisim_theory.data.auxiliary import Values, stored_values, with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values, describe_auxiliary, offered
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import Conflicts, find_conflicts, fold
from bisim_theory.data.identity import ContentNote, choose_identity, describe_content, join
from bisim_theory.data.labels import default_label, label_names, label_values
from bisim_theory.data.representation import Representation, RepresentationError
from bisim_theory.data.terminals import Terminals, absorb
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.relation.closure import cannot_collapse
from bisim_theory.relation.collect_next import Suggestion, collect_next
from bisim_theory.relation.comparison import Comparison, compare, values_of
from bisim_theory.relation.compute import empirical_bisimulation
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded, embeddings_needed
from bisim_theory.theorem.check import TheoremCheck, Tolerance, Verdict, check_theorem

_SAME_EMBEDDING = 1e-3
"""Distance in units of the embeddings' root mean square up to which two are one, as rounding depends on the batch."""

ProgressBar = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens a progress bar with the given title."""


@dataclass(frozen=True)
class PairNote:
    """Describe one pair of observations.

    Attributes:
        pair: ids of the observations.
        level: level at which the pair enters R_D*, 0 in B_D*; None if the data says nothing of one of the two.
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
        data: all transitions, with p of every observation of which it is known.
        identity: ``"occurrence"`` or ``"content"``, whichever was asked for or chosen.
        folded: whether the successors of one (observation, action) were merged.
        conflicts: (observation, action) pairs of `data` with several successors.
        content: effect of joining equal observations; None without observations.
        label: names of the labels that serve as ground truth, separated by commas, or None.
        auxiliary_meaning: what p is, in words.
        comparison: candidates for p side by side; None unless requested.
        terminals: what became of terminal observations; None where they stay leaves.
        left_out: input that was found and not used, and why; None if there is none.
    """

    data: TransitionDataset
    identity: str
    folded: bool
    conflicts: Conflicts
    content: ContentNote | None
    label: str | None
    auxiliary_meaning: str = ""
    comparison: Comparison | None = None
    terminals: Terminals | None = None
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
        recorded: the transitions as they were given, without rows of absorbing terminals, which have no reward.
        representation: the model's arrays, if given.
    """

    contradiction: NoWellTrainedModelError
    recorded: TransitionDataset
    representation: Representation | None = None

    @functools.cached_property
    def alternatives(self) -> list[str]:
        """Return names of auxiliary functions with one value where p has two at one observation, else nothing."""
        if not self.contradiction.equal:
            return []
        ids = self.content.ids if self.content is not None and self.identity == "content" else None
        return find_alternatives(self.recorded, self.auxiliary, self.contradiction.values, ids)

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
    def unknown_sources(self) -> int:
        """Number of sources of unknown p, which take part with their dynamics."""
        return int((~stored_values(self.data).known[self.relation.sources]).sum())

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
    identity: str = "auto",
    folding: bool = False,
    *,
    auxiliary: str | None = None,
    tolerance: Tolerance | None = None,
    candidates: Sequence[str] = (),
    pairs: Sequence[tuple[int, int]] = (),
    label: str | None = None,
    terminal: str = "leaf",
    progress_bar: ProgressBar = lambda title: nullcontext(silent),
) -> Report:
    """Compute everything that `bisim-check` reports.

    Args:
        data: the transitions.
        representation: a model's arrays on `data`; None computes the relation alone.
        identity: ``"occurrence"`` gives every id an observation of its own, ``"content"`` joins equal ones, ``"auto"``
            does so unless one (observation, action) then has several successors that are not folded.
        folding: whether to merge the successors of one (observation, action), as a well-trained model must.
        auxiliary: name of p; None uses the stored values, else the first candidate.
        tolerance: thresholds for well-trained and collapsed; None uses the defaults.
        candidates: names of auxiliary functions to compare; see `bisim_theory.compare`.
        pairs: ids of pairs of observations to inspect.
        label: name of the ground truth, or several names separated by commas; None takes ``count``, else the only
            label of one integer per observation, else none.
        terminal: ``"leaf"`` takes terminal observations as the data has them, ``"absorb"`` lets every action lead from
            them to themselves.
        progress_bar: opens the progress bars.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off, or an argument does not fit the data.
    """
    if terminal not in ("leaf", "absorb"):
        raise DatasetError(f"terminal={terminal!r}: must be leaf or absorb")
    label = default_label(data) if label is None else ",".join(label_names(data, label))
    with progress_bar("reading observations") as progress:
        content = describe_content(data, label, progress)
    identity = choose_identity(data, identity, folding, content)
    ids = content.ids if content is not None and identity == "content" else None
    name = _name_of_auxiliary(data, auxiliary, candidates)
    values = values_of(data, candidates, ids)
    p = _values_of_auxiliary(data, name, values, ids)
    if representation is not None:
        if isinstance(p, NoWellTrainedModelError):
            representation.check_rows(data)
        else:
            representation.check_against(with_auxiliary(data, p))
        _require_function(representation, ids)

    rows = join(data, np.arange(data.frames) if ids is None else ids)
    conflicts = find_conflicts(rows) if content is None or ids is None else content.found
    if len(conflicts) and not folding:
        raise DatasetError(_conflicts_message(conflicts, identity))
    rows, terminals = absorb(rows) if terminal == "absorb" else (rows, None)
    labels = None if label is None else label_values(data, label)
    comparison = None
    if values:
        with progress_bar("comparing") as progress:
            comparison = compare(rows, values, labels, folding, progress)
    left_out = None
    if representation is not None and terminals is not None and terminals.rows:
        representation = None
        left_out = "the model, which has no prediction of the rows that --terminal absorb adds; train on such rows"
    outcome = Outcome(
        data=replace(rows, metadata=rows.metadata if name is None else {**rows.metadata, "auxiliary": name}),
        identity=identity,
        folded=folding,
        conflicts=conflicts,
        content=content,
        label=label,
        auxiliary_meaning=describe_auxiliary(data, name),
        comparison=comparison,
        terminals=terminals,
        left_out=left_out,
    )
    try:
        if isinstance(p, NoWellTrainedModelError):
            raise p
        outcome = replace(outcome, data=with_auxiliary(rows, p, name))
        with progress_bar("folding") as progress:
            representative = fold(outcome.data, progress=progress) if folding else None
        with progress_bar("pairs") as progress:
            relation = empirical_bisimulation(outcome.data, representative, progress)
    except NoWellTrainedModelError as error:
        return Impossible(**vars(outcome), contradiction=error, recorded=data, representation=representation)
    found = RelationOnly(
        **vars(outcome),
        relation=relation,
        embeddings=embeddings_needed(relation, labels),
        suggestions=_suggest(relation, labels, content),
        pairs=_inspect_pairs(pairs, relation, ids),
    )
    if representation is None:
        return found
    with progress_bar("distances") as progress:
        check = check_theorem(relation, representation, tolerance, labels, progress)
    return Checked(**vars(found), representation=representation, check=check)


def _name_of_auxiliary(data: TransitionDataset, name: str | None, candidates: Sequence[str]) -> str | None:
    """Return the name of p: the one asked for, else None for the stored values, else the first candidate.

    Raises:
        DatasetError: there is none.
    """
    if name is not None:
        return name
    if data.auxiliary is not None or data.observation_auxiliary is not None:
        return None
    if not candidates:
        raise DatasetError(f"auxiliary: is not in this dataset; choose --auxiliary {'|'.join(offered(data))}")
    return candidates[0]


def _values_of_auxiliary(
    data: TransitionDataset,
    name: str | None,
    values: Mapping[str, Values | NoWellTrainedModelError],
    ids: Ids | None,
) -> Values | NoWellTrainedModelError:
    """Return p of every observation, or the reason why it is no function of the observation.

    Args:
        data: transitions, before equal observations are joined.
        name: the name of p; None takes the stored values.
        values: candidates that are known already.
        ids: (F,) ids in which observations that are one have one id, or None.
    """
    try:
        if name is None:
            return stored_values(data, ids)
        return values[name] if name in values else auxiliary_values(data, name, ids)
    except NoWellTrainedModelError as error:
        return error


def _require_function(representation: Representation, ids: Ids | None) -> None:
    """Raise `RepresentationError` where observations of equal content have different embeddings."""
    if ids is None:
        return
    embedding = representation.embedding
    squared = np.zeros(len(ids))
    others = np.flatnonzero(ids != np.arange(len(ids)))
    squared[others] = np.square(embedding[others].astype(np.float64) - embedding[ids[others]]).sum(1)
    worst = int(squared.argmax())
    scale = float(np.square(embedding, dtype=np.float64).sum(1).mean())
    if squared[worst] > _SAME_EMBEDDING**2 * scale:
        raise RepresentationError(
            f"embedding: observations {ids[worst]} and {worst} are equal and have embeddings "
            f"{np.sqrt(squared[worst]):.4g} apart; E is a function of the observation, evaluated with nothing random"
        )


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


def _inspect_pairs(pairs: Sequence[tuple[int, int]], relation: Relation, ids: Ids | None) -> list[PairNote]:
    """Look up level, witness and closure of each pair; `ids` translates where equal observations were joined."""
    if not pairs:
        return []
    given, data = np.array(pairs), relation.data
    if given.min() < 0 or given.max() >= data.frames:
        raise DatasetError(
            f"--pair: must be ids of observations, 0..{data.frames - 1}; {given.min()}..{given.max()} are asked for"
        )
    joined = given if ids is None else ids[given]
    forbidden = cannot_collapse(data, joined[:, 0], joined[:, 1], relation.representative)
    notes = []
    for pair, (x, y), never in zip(pairs, joined.tolist(), forbidden.tolist(), strict=True):
        known = bool(np.isin([x, y], relation.observations).all())
        level = int(relation.level(x, y)) if known else None
        notes.append(PairNote(pair, level, relation.witness(x, y) if known else None, never))
    return notes
