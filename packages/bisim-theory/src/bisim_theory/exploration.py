"""What to collect next: the (observation, action) pairs whose outcome would certify most."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.relation import Relation
from bisim_theory.transitions import Ids

CLASSES = 1_500
"""Behaviours that are looked at, drawn in proportion to their sources where there are more."""

OUTCOMES = 32
"""Outcomes that stand for what an action leads to."""


@dataclass(frozen=True)
class Suggestion:
    """Act so from there, and go on for some steps.

    Attributes:
        observation: id of a source from which the action was not observed.
        action: its code.
        newly_certified: expected number of sources with another label that this tells from the observation.
        alike: how many sources behave like it, and would gain as much each.
    """

    observation: int
    action: int
    newly_certified: float
    alike: int


def collect_next(relation: Relation, labels: NDArray[Any], most: int = 5) -> list[Suggestion]:
    """The (observation, action) pairs that are expected to raise the certified share most, best first.

    The outcome is not known before it is collected; it is taken to behave as the outcomes of that action from other
    sources with the same label do. Counted are the pairs of the observation itself, not those further up that would
    follow. Only one suggestion is made for each behaviour and label.

    Args:
        relation: R_D*.
        labels: (F,) the ground truth.
        most: how many suggestions.
    """
    return _Search(relation, labels).best(most)


class _Search:
    def __init__(self, relation: Relation, labels: NDArray[Any]) -> None:
        self.relation, self.behaviour = relation, relation.behaviour
        self.rng = np.random.default_rng(0)
        behaviour = relation.behaviour
        label = np.unique(labels[relation.sources], return_inverse=True)[1]
        # Sources by behaviour and label: within such a kind all gain the same.
        kinds, self.example, size = np.unique(
            np.stack([behaviour.class_of, label], 1), axis=0, return_index=True, return_counts=True
        )
        if len(kinds) > CLASSES:
            chosen = np.sort(self.rng.choice(len(kinds), CLASSES, replace=False, p=size / size.sum()))
            scale = size.sum() / size[chosen].sum()
            kinds, self.example, size = kinds[chosen], self.example[chosen], size[chosen] * scale
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
            alike = int(self.behaviour.sizes[self.kind_class[kind]])
            observation = int(self.relation.sources[self.example[kind]])
            code = int(self.behaviour.actions[action])
            suggestions.append(Suggestion(observation, code, float(gains[action, kind]), alike))
        return suggestions

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
