"""The outcome of an analysis: what was found, and the questions that follow from it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bisim_theory import _aliases
from bisim_theory.data.alternatives import find_alternatives
from bisim_theory.data.auxiliary import auxiliary_codes, stored_values
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import Conflicts
from bisim_theory.data.identity import ContentNote
from bisim_theory.data.labels import label_names, label_values
from bisim_theory.data.numbering import distinct
from bisim_theory.data.representation import Representation
from bisim_theory.data.terminals import Terminals
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.relation.base import Relation
from bisim_theory.relation.choice import Choice
from bisim_theory.relation.collect_next import Suggestion
from bisim_theory.relation.comparison import Comparison
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded
from bisim_theory.theorem.check import TheoremCheck, Verdict

LEFT_OUT_ABSORBED = "the model, which has no prediction of the rows that --terminal absorb adds; train on such rows"
"""Sentence of `Outcome.left_out`."""


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
class Facts:
    """Hold what an outcome of data on disk cannot count from arrays; see the properties of that name.

    Attributes:
        sources: number of observations that are sources.
        action_codes: (A,) the action codes that occur, sorted.
        p_values: numbers of different values of p, of observations where it is known, and of all in transitions; None
            where p is no function of the observation.
        unknown_sources: number of sources of unknown p.
        look_alike_pairs: number of distinguished pairs of equal content, or None.
        certified_share: distinguished share of the pairs with different labels, or None.
        within_label: number of distinguished pairs with equal labels, or None.
        floor: their share of the pairs with equal labels, or None.
        alternatives: names of auxiliary functions with one value where p has two.
    """

    sources: int
    action_codes: Ids
    p_values: tuple[int, int, int] | None = None
    unknown_sources: int = 0
    look_alike_pairs: int | None = None
    certified_share: float | None = None
    within_label: int | None = None
    floor: float | None = None
    alternatives: Sequence[str] = ()


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
        choice: candidates for p ranked by what they protect of wanted labels; None unless requested.
        terminals: what became of terminal observations; None where they stay leaves.
        left_out: input that was found and not used, and why; None if there is none.
        backend: what computed the classes of behaviour, ``"memory"`` or the name of an engine.
        facts: what was counted of data on disk, which `data` then only describes; None for data in memory.
    """

    data: TransitionDataset
    identity: str
    folded: bool
    conflicts: Conflicts
    content: ContentNote | None
    label: str | None
    auxiliary_meaning: str = ""
    comparison: Comparison | None = None
    choice: Choice | None = None
    terminals: Terminals | None = None
    left_out: str | None = None
    backend: str = "memory"
    facts: Facts | None = None

    @functools.cached_property
    def sources(self) -> int:
        """Return the number of observations that are sources."""
        if self.facts is not None:
            return self.facts.sources
        is_source = np.zeros(self.data.frames, bool)
        is_source[self.data.source] = True
        return int(np.count_nonzero(is_source))

    @functools.cached_property
    def action_codes(self) -> Ids:
        """Return (A,) the action codes that occur, sorted."""
        return distinct(self.data.action)[0] if self.facts is None else self.facts.action_codes

    @functools.cached_property
    def p_values(self) -> tuple[int, int, int] | None:
        """Count the different values of p, the observations where it is known, and all that occur in transitions.

        None where p is no function of the observation.
        """
        if self.facts is not None:
            return self.facts.p_values
        data = self.data
        if data.auxiliary is None and data.observation_auxiliary is None:
            return None
        codes = auxiliary_codes(data)
        occurs = np.zeros(data.frames, bool)
        occurs[data.source] = occurs[data.successor] = True
        return int(codes.max()) + 1, int((codes >= 0).sum()), int(occurs.sum())

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
        if self.facts is not None:
            return list(self.facts.alternatives)
        ids = self.content.ids if self.content is not None and self.identity == "content" else None
        return find_alternatives(self.recorded, self.auxiliary, self.contradiction.values, ids)

    @property
    def verdict(self) -> Literal["no-well-trained-model"]:
        """Return ``"no-well-trained-model"``."""
        return "no-well-trained-model"


@dataclass(frozen=True, eq=False, kw_only=True)
class Related(Outcome):
    """Hold the relation, before any question is asked of it.

    Attributes:
        relation: R_D* and B_D* over `data`.
    """

    relation: Relation


@dataclass(frozen=True, eq=False, kw_only=True)
class WithRelation(Related):
    """Hold what the outcomes with a relation have.

    Attributes:
        embeddings: number of embeddings that a well-trained model needs.
        suggestions: what to collect next, best first; empty without a ground truth.
        pairs: the requested pairs.
    """

    embeddings: EmbeddingsNeeded
    suggestions: Sequence[Suggestion] = ()
    pairs: Sequence[PairNote] = ()

    @functools.cached_property
    def unknown_sources(self) -> int:
        """Number of sources of unknown p, which take part with their dynamics."""
        if self.facts is not None:
            return self.facts.unknown_sources
        return int((~stored_values(self.data).known[self.relation.sources]).sum())

    @functools.cached_property
    def look_alike_pairs(self) -> int | None:
        """Count the distinguished pairs of equal content, which no encoder can separate.

        None where contents are not known, and where equal ones are one observation.
        """
        if self.facts is not None:
            return self.facts.look_alike_pairs
        if self.content is None or self.identity == "content":
            return None
        return self.relation.equal_label_pairs(self.relation.label_codes(self.content.ids))

    @functools.cached_property
    def certified_share(self) -> float | None:
        """Return the share of the pairs with different labels that are distinguished, or None without such pairs."""
        if self.facts is not None:
            return self.facts.certified_share
        return None if self.labels is None else self.relation.certified_share(self.labels, self.within_label)

    @functools.cached_property
    def within_label(self) -> int | None:
        """Count the distinguished pairs with equal labels; None without labels."""
        if self.facts is not None:
            return self.facts.within_label
        return None if self.labels is None else self.relation.distinguished_within_label(self.labels)

    @functools.cached_property
    def floor(self) -> float | None:
        """Return the distinguished share of the pairs with equal labels; None without labels or such pairs."""
        if self.facts is not None:
            return self.facts.floor
        return None if self.labels is None else self.relation.floor(self.labels, self.within_label)


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
