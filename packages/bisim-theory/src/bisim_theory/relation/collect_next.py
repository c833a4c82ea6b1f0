"""The (observation, action) pairs to collect next: those whose outcome is expected to certify most pairs."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.numbering import blocks, count, id_type, increases, number, order_of, pair_key
from bisim_theory.data.terminals import ended
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.relation.base import Relation

CLASSES = 1_500
"""Most kinds of sources, by behaviour and label, that are considered; more are sampled in proportion to their size."""

ROWS = 256
"""Rows of a matrix of kinds that are computed together."""

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
        content: (F,) ids that are equal for observations of equal content; None where only equal ids are.
    """

    def __init__(self, relation: Relation, labels: NDArray[Any], content: Ids | None) -> None:
        self.content, self.data, behaviour = content, relation.data, relation.behaviour
        label, of_class = relation.label_codes(labels), behaviour.class_of
        kind_of, first = _kinds(of_class, behaviour.classes, label)
        self.of_class, self.label = of_class[first].astype(np.int64), label[first].astype(np.int64)
        self.size = count(kind_of, len(first))
        self.members = order_of(kind_of, len(first))
        for block in blocks(len(kind_of)):
            self.members[block] = relation.observations[self.members[block]]
        self.first_member = np.concatenate([[0], np.cumsum(self.size)])
        self._done = _Done(self.data, behaviour.actions)
        # Nothing follows an observation that ended its episode.
        self.ended = np.zeros(self.data.frames, bool)
        self.ended[ended(self.data)] = True
        self.actable = np.zeros(len(first), bool)
        for block in blocks(len(kind_of)):
            self.actable[kind_of[block][~self.ended[relation.observations[block]]]] = True

    def example(self, kind: int, action: int, asked: set[tuple[int, int | None]]) -> tuple[int, int | None] | None:
        """Find a source of a kind from which the action is untried, else one with its observed successor."""
        begin, end = self.first_member[kind : kind + 2]
        members = self.members[begin:end]
        members = members[~self.ended[members]]
        row = self._done.rows(members, action)
        tried = row >= 0
        if not tried.all():
            places, after = members[~tried], action
            found: list[tuple[int, int | None]] = [(x, None) for x in places.tolist()]
        else:
            places, after = self.data.successor[row], None
            found = list(zip(members.tolist(), places.tolist(), strict=True))
        contents = places if self.content is None else self.content[places]
        for content, example in zip(contents.tolist(), found, strict=True):
            if (content, after) not in asked:
                asked.add((content, after))
                return example
        return None


def _kinds(of_class: Ids, classes: int, label: Ids) -> tuple[Ids, Ids]:
    """Number the combinations of class and label that occur, sorted by class, then by label.

    Args:
        of_class: (n,) class 0..`classes` - 1.
        classes: number of classes.
        label: (n,) codes from 0 on.

    Returns:
        (n,) the number of each, and (K,) the first position of each number.
    """
    labels = int(label.max()) + 1
    key: Ids = np.empty(len(label), id_type(classes * labels))
    for block in blocks(len(key)):
        key[block] = pair_key(of_class[block], label[block], labels)
    found, first = number(key, classes * labels)
    order = np.argsort(key[first])
    del key
    rank = np.empty(len(first), found.dtype)
    rank[order] = np.arange(len(first))
    for block in blocks(len(found)):
        found[block] = rank[found[block]]
    return found, first[order]


class _Done:
    """Index the (observation, action) pairs of transitions, with a row of each.

    Where every source is in one row, and those are sorted, the rows are the index.

    Args:
        data: the transitions.
        actions: (A,) the action codes that occur, sorted.
    """

    def __init__(self, data: TransitionDataset, actions: Ids) -> None:
        self.data, self.actions, self.codes = data, actions, len(actions)
        self.single = increases(data.source)
        if self.single:
            return
        below = data.frames * len(actions)
        self.key: Ids = np.empty(len(data), id_type(below + 1))
        for block in blocks(len(data)):
            self.key[block] = pair_key(data.source[block], np.searchsorted(actions, data.action[block]), self.codes)
        self.order: Ids | None = None
        if not increases(self.key):
            self.order = order_of(self.key, below)
            self.key = self.key[self.order]

    def rows(self, observations: Ids, action: int) -> Ids:
        """Return the first row of each observation under an action, by its index; -1 where it was not done."""
        if self.single:
            row = np.minimum(np.searchsorted(self.data.source, observations), len(self.data) - 1)
            done = (self.data.source[row] == observations) & (self.data.action[row] == self.actions[action])
            return np.where(done, row, -1)
        key = pair_key(observations, np.asarray(action), self.codes)
        place = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        row = place if self.order is None else self.order[place]
        return np.where(self.key[place] == key, row, -1)


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
        parts = [classes[start : start + ROWS] for start in range(0, len(classes), ROWS)]
        certified = np.concatenate([self.relation.apart(part, classes) for part in parts])[of_kind][:, of_kind]
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
            weight = distinguished * self.size[seen]
            for rows in np.split(np.flatnonzero(mine), range(ROWS, int(mine.sum()), ROWS)):
                gain[rows] = open_[np.ix_(rows, seen)] @ weight
        return gain

    def _outcomes(self, kinds: Ids, reached: Ids) -> Ids:
        if not len(kinds):
            return kinds
        weight = self.size[kinds]
        return reached[self.rng.choice(kinds, OUTCOMES, p=weight / weight.sum())]
