"""Bound the number of distinct embeddings that a well-trained model needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.numbering import blocks, id_type
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Relation
from bisim_theory.relation.closure import Closure
from bisim_theory.relation.components import components
from bisim_theory.relation.graph import UNKNOWN, Behaviour

MOST_STEPS = 300_000
"""Merges tried in the search for a colouring, which takes a few seconds; beyond it the search is given up."""


@dataclass(frozen=True)
class EmbeddingsNeeded:
    """A lower bound on the number of distinct embeddings, and whether it is attained.

    Attributes:
        at_least: number of behaviours that are pairwise in R_D*, which need as many embeddings (Theorem 3).
        exact: whether a colouring of the sources with that many colours, closed under every observed transition, was
            constructed. Its colours are then the embeddings of a well-trained model.
        constructed: colours of the best colouring that was constructed; None where the search was given up.
    """

    at_least: int
    exact: bool
    constructed: int | None


@former_parameters("data", "relation", "stands_for", "labels")
def embeddings_needed(relation: Relation, labels: NDArray[Any] | None = None) -> EmbeddingsNeeded:
    """Bound the number of distinct embeddings from below by a clique of R_D*, and try to attain it.

    The chromatic number of R_D* would not do for an exact answer: merged observations must share successors too.

    Args:
        relation: R_D*.
        labels: (F,) the ground truth; one colour for each of its values is tried as a colouring too.
    """
    label_of_class = None if labels is None else labels[relation.behaviour.first]
    return bound_embeddings(relation, lambda: class_transitions(relation), label_of_class)


@dataclass(frozen=True, eq=False)
class ClassTransitions:
    """Transitions between classes of behaviour, and to observations that are never sources and reached in several ways.

    Attributes:
        value: (V,) code of p of each vertex, the C classes first; `UNKNOWN` where it is not known.
        source, action, successor: (E,) vertex, code of the action, and vertex.
    """

    value: Ids
    source: Ids
    action: Ids
    successor: Ids

    @classmethod
    def of(cls, behaviour: Behaviour, kept: Ids, reached: Ids) -> "ClassTransitions":
        """Leave out the observations that are reached in one way only, which force nothing.

        Args:
            behaviour: the classes.
            kept: (E, 3) class, action code and class, each once.
            reached: (M, 3) id of an observation that is no source, class, and action code that led to it; each once.
        """
        ids, ways = np.unique(reached[:, 0], return_counts=True)
        shared = np.isin(reached[:, 0], ids[ways > 1])
        number = np.searchsorted(ids[ways > 1], reached[shared, 0]) + behaviour.classes
        rows = np.concatenate([kept, np.stack([reached[shared, 1], reached[shared, 2], number], 1)])
        value = np.concatenate([behaviour.auxiliary, np.full(int((ways > 1).sum()), UNKNOWN)])
        return cls(value, *rows.T)

    def closure(self) -> Closure:
        """Build the closure in which classes can be merged."""
        return Closure(self.value, self.source, self.action, self.successor)


def bound_embeddings(
    relation: Relation, transitions: Callable[[], ClassTransitions], label_of_class: NDArray[Any] | None
) -> EmbeddingsNeeded:
    """Bound the number of embeddings; see `embeddings_needed`.

    Args:
        relation: R_D*.
        transitions: computes those of its classes.
        label_of_class: (C,) the ground truth of the first observation of each class, or None.
    """
    clique, between = relation.clique(), transitions()
    found = [_first_fit(between, relation.behaviour, clique)]
    if label_of_class is not None:
        found.append(_by_label(between, relation.behaviour.classes, label_of_class))
    constructed = min((colours for colours in found if colours is not None), default=None)
    return EmbeddingsNeeded(len(clique), constructed == len(clique), constructed)


def _first_fit(between: ClassTransitions, behaviour: Behaviour, clique: Ids) -> int | None:
    """Give each class of behaviour the first colour that its transitions allow; return the number of colours."""
    rest = np.setdiff1d(np.arange(behaviour.classes), clique)
    if len(rest) > MOST_STEPS:  # each takes at least one
        return None
    closure, colours = between.closure(), clique.tolist()
    # Large classes first: they are the ones that were seen most often, so with most of their kind.
    for each in rest[np.argsort(-behaviour.sizes[rest], kind="stable")].data:
        if not any(closure.merge(colour, each) for colour in colours):
            colours.append(each)
        if closure.steps > MOST_STEPS:
            return None
    return len({closure.find(colour) for colour in colours})


def _by_label(between: ClassTransitions, classes: int, label_of_class: NDArray[Any]) -> int | None:
    """Merge the behaviours whose first observations have one label, and all that this forces.

    Returns:
        The number of colours; None if different p are merged.
    """
    _, first_with, of_class = np.unique(label_of_class, return_index=True, return_inverse=True)
    merged = np.arange(len(between.value))
    merged[:classes] = first_with[of_class.reshape(-1)]
    while True:
        source, successor = merged[between.source], merged[between.successor]
        order = np.lexsort((successor, between.action, source))
        source, action, successor = source[order], between.action[order], successor[order]
        same = (source[1:] == source[:-1]) & (action[1:] == action[:-1]) & (successor[1:] != successor[:-1])
        if not same.any():
            break
        merged = components(len(merged), successor[1:][same], successor[:-1][same])[merged]
    known = np.flatnonzero(between.value != UNKNOWN)
    value = np.full(len(merged), UNKNOWN)
    value[merged[known]] = between.value[known]
    return None if (value[merged[known]] != between.value[known]).any() else len(np.unique(merged[:classes]))


def class_transitions(relation: Relation) -> ClassTransitions:
    """Collect the transitions between classes of behaviour, and to observations that are never sources."""
    data, behaviour = relation.data, relation.behaviour
    names = behaviour.representative

    def named(ids: Ids) -> Ids:
        return ids if names is None else names[ids]

    class_of: Ids = np.full(data.frames, -1, id_type(behaviour.classes))
    class_of[named(behaviour.observations)] = behaviour.class_of
    reached = []
    for block in blocks(len(data)):
        successor = named(data.successor[block])
        loose = np.flatnonzero(class_of[successor] < 0)
        source, action = class_of[named(data.source[block][loose])], data.action[block][loose]
        reached.append(np.unique(np.stack([successor[loose], source, action], 1), axis=0))
    edges = behaviour.edges
    kept = np.stack([edges.source, behaviour.actions[edges.action], edges.successor], 1)
    return ClassTransitions.of(behaviour, kept, np.unique(np.concatenate(reached), axis=0))
