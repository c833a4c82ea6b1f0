"""The (observation, action) pairs to collect next: those whose outcome is expected to certify most pairs."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.numbering import pair_key
from bisim_theory.data.terminals import ended
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Relation

CLASSES = 1_500
"""Most kinds of sources, by behaviour and label, that are considered; more are sampled in proportion to their size."""

OUTCOMES = 32
"""Sampled outcomes of an action, over which its gain is averaged."""


@dataclass(frozen=True)
class Suggestion:
    """An action to take from an observation, before going on for some steps.

    Attributes:
        observation: id of a source, or of a leaf that did not end its episode.
        action: code of an action from it that was not observed, or whose successor is never a source.
        successor: id of that successor, from which to go on; None where the action was not observed.
        newly_certified: expected number of sources with another label that become distinguished from the observation.
        alike: number of sources with the same behaviour and label, each with the same gain.
    """

    observation: int
    action: int
    successor: int | None
    newly_certified: float
    alike: int

    def __str__(self) -> str:
        if self.successor is None:
            return f"action {self.action} from observation {self.observation}"
        return f"go on from observation {self.successor}, to which action {self.action} led from {self.observation}"


@former_parameters("data", "relation", "labels", "most")
def collect_next(
    relation: Relation, labels: NDArray[Any], most: int = 5, content: Ids | None = None
) -> list[Suggestion]:
    """Find the (observation, action) pairs that are expected to raise the certified share most, best first.

    An unknown outcome is assumed to behave like the outcomes of the same action from other sources with the same
    label. Only pairs of the observation itself are counted, not those of its predecessors. Each behaviour and label
    gets at most one suggestion for an action, and no two suggestions ask for the same action from equal observations,
    or to go on from equal ones.

    Args:
        relation: R_D*.
        labels: (F,) the ground truth.
        most: largest number of suggestions.
        content: (F,) ids that are equal for observations of equal content, as of `TransitionDataset.content_ids`; None
            where only equal ids are equal observations.
    """
    if content is None:
        content = np.arange(relation.data.frames)
    return suggest(relation, KindsInMemory(relation, labels, content), most)


def suggest(relation: Relation, kinds: "Kinds", most: int = 5) -> list[Suggestion]:
    """Find what to collect next among observations that are grouped by behaviour and label; see `collect_next`."""
    return _GainSearch(relation, kinds).best(most)


class Kinds(Protocol):
    """Observations grouped by behaviour and label: those of one kind gain the same.

    Attributes:
        of_class, label: (K,) class of behaviour and code 0, 1, ... of the label; kinds are sorted by both.
        size: (K,) number of observations.
        actable: (K,) whether any of them did not end its episode.
    """

    of_class: Ids
    label: Ids
    size: Ids
    actable: NDArray[np.bool_]

    def example(self, kind: int, action: int, asked: set[tuple[int, int | None]]) -> tuple[int, int | None] | None:
        """Find a source of a kind from which the action is untried, else one with its observed successor.

        Args:
            kind: number of the kind.
            action: index of the action.
            asked: contents from which an action (None: any) was suggested already. What is found is added.

        Returns:
            The source, and the successor to go on from; None where all that could be suggested was.
        """


class KindsInMemory:
    """Observations of a dataset in memory, grouped by behaviour and label; see `Kinds`.

    Args:
        relation: R_D*.
        labels: (F,) the ground truth.
        content: (F,) ids that are equal for observations of equal content.
    """

    def __init__(self, relation: Relation, labels: NDArray[Any], content: Ids) -> None:
        self.content, self.data, behaviour = content, relation.data, relation.behaviour
        label = relation.label_codes(labels)
        kinds, kind_of, self.size = np.unique(
            np.stack([behaviour.class_of, label], 1), axis=0, return_inverse=True, return_counts=True
        )
        self.of_class, self.label = kinds[:, 0], kinds[:, 1]
        self.members = relation.observations[np.argsort(kind_of.reshape(-1), kind="stable")]
        self.first_member = np.concatenate([[0], np.cumsum(self.size)])
        # What was done, as one number of observation and action, and a row of the data for each.
        self.codes = len(behaviour.actions)
        action = np.searchsorted(behaviour.actions, self.data.action)
        self.done, self.row_of_done = np.unique(pair_key(self.data.source, action, self.codes), return_index=True)
        # Nothing follows an observation that ended its episode.
        self.ended = np.zeros(self.data.frames, bool)
        self.ended[ended(self.data)] = True
        self.actable = np.bincount(kind_of.reshape(-1), ~self.ended[relation.observations], len(kinds)) > 0

    def example(self, kind: int, action: int, asked: set[tuple[int, int | None]]) -> tuple[int, int | None] | None:
        """Find a source of a kind from which the action is untried, else one with its observed successor."""
        begin, end = self.first_member[kind : kind + 2]
        members = self.members[begin:end]
        members = members[~self.ended[members]]
        key = pair_key(members, np.asarray(action), self.codes)
        row = np.minimum(np.searchsorted(self.done, key), len(self.done) - 1)
        tried = self.done[row] == key
        if not tried.all():
            places, after = members[~tried], action
            found: list[tuple[int, int | None]] = [(x, None) for x in places.tolist()]
        else:
            places, after = self.data.successor[self.row_of_done[row]], None
            found = list(zip(members.tolist(), places.tolist(), strict=True))
        for content, example in zip(self.content[places].tolist(), found, strict=True):
            if (content, after) not in asked:
                asked.add((content, after))
                return example
        return None


class _GainSearch:
    def __init__(self, relation: Relation, kinds: Kinds) -> None:
        self.kinds, self.relation, self.behaviour = kinds, relation, relation.behaviour
        behaviour, size = relation.behaviour, kinds.size
        self.rng = np.random.default_rng(0)
        self.chosen, self.alike = np.arange(len(size)), size
        if len(size) > CLASSES:
            chosen = np.sort(self.rng.choice(len(size), CLASSES, replace=False, p=size / size.sum()))
            scale = size.sum() / size[chosen].sum()
            self.chosen, self.alike, size = chosen, size[chosen], size[chosen] * scale
        self.kind_class, self.kind_label = kinds.of_class[self.chosen], kinds.label[self.chosen]
        self.size, self.actable = size.astype(np.float64), kinds.actable[self.chosen]
        self.successor = np.full((len(behaviour.actions), behaviour.classes), -1)
        self.successor[behaviour.edges.action, behaviour.edges.source] = behaviour.edges.successor

    def best(self, most: int) -> list[Suggestion]:
        classes, of_kind = np.unique(self.kind_class, return_inverse=True)
        certified = self.relation.apart(classes, classes)[of_kind][:, of_kind]
        open_ = (self.kind_label[:, None] != self.kind_label) & ~certified
        gains = np.stack([self._gain(action, open_) for action in range(len(self.successor))])
        suggestions: list[Suggestion] = []
        asked: set[tuple[int, int | None]] = set()
        for flat in np.argsort(-gains, axis=None, kind="stable").tolist():
            action, kind = divmod(flat, gains.shape[1])
            if gains[action, kind] <= 0 or len(suggestions) == most:
                break
            code = int(self.behaviour.actions[action])
            example = self.kinds.example(int(self.chosen[kind]), action, asked)
            if example is not None:
                gain, alike = float(gains[action, kind]), int(self.alike[kind])
                suggestions.append(Suggestion(example[0], code, example[1], gain, alike))
        return suggestions

    def _gain(self, action: int, open_: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Compute (K,) the expected number of sources that the action distinguishes from one source of each kind."""
        reached = self.successor[action, self.kind_class]
        gain = np.zeros(len(reached))
        seen = np.flatnonzero(reached >= 0)
        for label in np.unique(self.kind_label):
            mine = (self.kind_label == label) & (reached < 0) & self.actable
            outcomes = self._outcomes(seen[self.kind_label[seen] == label], reached)
            if not len(outcomes) or not mine.any():
                continue
            others, of_seen = np.unique(reached[seen], return_inverse=True)
            distinguished = self.relation.apart(np.sort(outcomes), others).mean(0)[of_seen]
            gain[mine] = open_[np.ix_(mine, seen)] @ (distinguished * self.size[seen])
        return gain

    def _outcomes(self, kinds: Ids, reached: Ids) -> Ids:
        if not len(kinds):
            return kinds
        weight = self.size[kinds]
        return reached[self.rng.choice(kinds, OUTCOMES, p=weight / weight.sum())]
