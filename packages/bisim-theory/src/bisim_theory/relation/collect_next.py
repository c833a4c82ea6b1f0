"""What to collect next: the (observation, action) pairs whose outcome would certify most."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Relation

CLASSES = 1_500
"""Behaviours that are looked at, drawn in proportion to their sources where there are more."""

OUTCOMES = 32
"""Outcomes that stand for what an action leads to."""


@dataclass(frozen=True)
class Suggestion:
    """Act so from there, and go on for some steps.

    Attributes:
        observation: id of a source.
        action: code of an action after which nothing was observed from there.
        successor: None where the action was not observed; else what it led to, from which to go on.
        newly_certified: expected number of sources with another label that this tells from the observation.
        alike: how many sources with this label behave like it, and would gain as much each.
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
def collect_next(relation: Relation, labels: NDArray[Any], most: int = 5) -> list[Suggestion]:
    """Find the (observation, action) pairs that are expected to raise the certified share most, best first.

    The outcome is not known before it is collected; it is taken to behave as the outcomes of that action from other
    sources with the same label do. Counted are the pairs of the observation itself, not those further up that would
    follow. Only one suggestion is made for each behaviour and label.

    Args:
        relation: R_D*.
        labels: (F,) the ground truth.
        most: how many suggestions.
    """
    return _GainSearch(relation, labels).best(most)


class _GainSearch:
    def __init__(self, relation: Relation, labels: NDArray[Any]) -> None:
        self.data, self.relation, self.behaviour = relation.data, relation, relation.behaviour
        self.rng = np.random.default_rng(0)
        behaviour = relation.behaviour
        label = relation.label_codes(labels)
        # Sources by behaviour and label: within such a kind all gain the same.
        kinds, self.kind_of, size = np.unique(
            np.stack([behaviour.class_of, label], 1), axis=0, return_inverse=True, return_counts=True
        )
        self.chosen, self.alike = np.arange(len(kinds)), size
        if len(kinds) > CLASSES:
            chosen = np.sort(self.rng.choice(len(kinds), CLASSES, replace=False, p=size / size.sum()))
            scale = size.sum() / size[chosen].sum()
            kinds, self.chosen, self.alike, size = kinds[chosen], chosen, size[chosen], size[chosen] * scale
        self.kind_class, self.kind_label, self.size = kinds[:, 0], kinds[:, 1], size.astype(np.float64)
        self.successor = np.full((len(behaviour.actions), behaviour.classes), -1)
        self.successor[behaviour.edges.action, behaviour.edges.source] = behaviour.edges.successor

    def best(self, most: int) -> list[Suggestion]:
        classes, of_kind = np.unique(self.kind_class, return_inverse=True)
        certified = self.relation.apart(classes, classes)[of_kind][:, of_kind]
        open_ = (self.kind_label[:, None] != self.kind_label) & ~certified
        gains = np.stack([self._gain(action, open_) for action in range(len(self.successor))])
        suggestions = []
        for flat in np.argsort(-gains, axis=None, kind="stable")[:most].tolist():
            action, kind = divmod(flat, gains.shape[1])
            if gains[action, kind] <= 0:
                break
            code = int(self.behaviour.actions[action])
            observation, successor = self._example(kind, code)
            alike = int(self.alike[kind])
            suggestions.append(Suggestion(observation, code, successor, float(gains[action, kind]), alike))
        return suggestions

    def _example(self, kind: int, action: int) -> tuple[int, int | None]:
        """A source of a kind from which the action was not observed; if there is none, one and what it led to."""
        members = self.relation.sources[self.kind_of.reshape(-1) == self.chosen[kind]]
        rows = self.data.action == action
        untried = members[~np.isin(members, self.data.source[rows])]
        if len(untried):
            return int(untried[0]), None
        row = np.flatnonzero(rows & (self.data.source == members[0]))[0]
        return int(members[0]), int(self.data.successor[row])

    def _gain(self, action: int, open_: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(K,) expected number of sources that the action would tell from one of each kind."""
        reached = self.successor[action, self.kind_class]
        gain = np.zeros(len(reached))
        seen = np.flatnonzero(reached >= 0)
        for label in np.unique(self.kind_label):
            mine = (self.kind_label == label) & (reached < 0)
            outcomes = self._outcomes(seen[self.kind_label[seen] == label], reached)
            if not len(outcomes) or not mine.any():
                continue
            others, of_seen = np.unique(reached[seen], return_inverse=True)
            told_apart = self.relation.apart(np.sort(outcomes), others).mean(0)[of_seen]
            gain[mine] = open_[np.ix_(mine, seen)] @ (told_apart * self.size[seen])
        return gain

    def _outcomes(self, kinds: Ids, reached: Ids) -> Ids:
        if not len(kinds):
            return kinds
        weight = self.size[kinds]
        return reached[self.rng.choice(kinds, OUTCOMES, p=weight / weight.sum())]
