"""Bound the number of distinct embeddings that a well-trained model needs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Relation
from bisim_theory.relation.closure import Closure
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
    clique = relation.clique()
    found = [_first_fit(_closure_of_classes(relation), relation.behaviour, clique)]
    if labels is not None:
        found.append(_by_label(_closure_of_classes(relation), relation, labels))
    constructed = min((colours for colours in found if colours is not None), default=None)
    return EmbeddingsNeeded(len(clique), constructed == len(clique), constructed)


def _first_fit(closure: Closure, behaviour: Behaviour, clique: Ids) -> int | None:
    """Give each class of behaviour the first colour that its transitions allow; return the number of colours."""
    colours = clique.tolist()
    rest = np.setdiff1d(np.arange(behaviour.classes), clique)
    # Large classes first: they are the ones that were seen most often, so with most of their kind.
    for each in rest[np.argsort(-behaviour.sizes[rest], kind="stable")].tolist():
        if not any(closure.merge(colour, each) for colour in colours):
            colours.append(each)
        if closure.steps > MOST_STEPS:
            return None
    return len({closure.find(colour) for colour in colours})


def _by_label(closure: Closure, relation: Relation, labels: NDArray[Any]) -> int | None:
    """Merge the behaviours whose first sources have one label; return the number of colours, None if not allowed."""
    behaviour = relation.behaviour
    first = behaviour.order[behaviour.ends - behaviour.sizes]
    label = labels[relation.observations[first]]
    _, first_with, of_class = np.unique(label, return_index=True, return_inverse=True)
    for each, to in enumerate(first_with[of_class].tolist()):
        if not closure.merge(each, to):
            return None
    return len({closure.find(each) for each in range(behaviour.classes)})


def _closure_of_classes(relation: Relation) -> Closure:
    """Build the closure over classes of behaviour and over non-sources that are reached in several ways."""
    data, behaviour, names = relation.data, relation.behaviour, relation.representative
    vertex = np.full(data.frames, -1)
    vertex[names[behaviour.observations]] = behaviour.class_of
    source, successor = vertex[names[data.source]], vertex[names[data.successor]]
    loose = successor < 0
    reached = np.unique(np.stack([names[data.successor[loose]], source[loose], data.action[loose]], 1), axis=0)
    ids, ways = np.unique(reached[:, 0], return_counts=True)
    shared = np.isin(reached[:, 0], ids[ways > 1])  # one reached in one way only forces nothing
    number = np.searchsorted(ids[ways > 1], reached[shared, 0]) + behaviour.classes
    kept = np.unique(np.stack([source[~loose], data.action[~loose], successor[~loose]], 1), axis=0)
    rows = np.concatenate([kept, np.stack([reached[shared, 1], reached[shared, 2], number], 1)])
    value = np.concatenate([behaviour.auxiliary, np.full(int((ways > 1).sum()), UNKNOWN)])
    return Closure(value, *rows.T)
