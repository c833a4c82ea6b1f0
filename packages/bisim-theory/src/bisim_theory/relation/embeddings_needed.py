"""How many distinct embeddings any well-trained model must use: codes that the data forces."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.relation.base import Relation
from bisim_theory.relation.closure import Closure
from bisim_theory.relation.graph import Behaviour

MOST_STEPS = 300_000
"""Merges that are tried in looking for a colouring, a few seconds; beyond it the search is given up."""


@dataclass(frozen=True)
class CodesForced:
    """A lower bound on the number of embeddings, and whether it is attained.

    Attributes:
        at_least: behaviours that are pairwise in R_D*, so need as many embeddings (Theorem 3).
        exact: whether a colouring of the sources with that many codes, closed under every observed transition, was
            constructed: the codes are then the embeddings of a well-trained model.
        constructed: codes of the best colouring that was constructed, or None where the search was given up.
    """

    at_least: int
    exact: bool
    constructed: int | None


def codes_forced(
    data: TransitionDataset, relation: Relation, stands_for: Ids | None = None, labels: NDArray[Any] | None = None
) -> CodesForced:
    """Bound the number of distinct embeddings from below by a clique of R_D*, and try to attain it.

    The chromatic number of R_D* would not do for an exact answer: merged observations must share successors too.

    Args:
        data: transitions.
        relation: R_D* over them.
        stands_for: (F,) from `bisim_theory.fold`, as given to `empirical_bisimulation`.
        labels: (F,) the ground truth, one code for each value of which is tried as a colouring too.
    """
    clique = relation.clique()
    found = [_first_fit(_closure_of_classes(data, relation.behaviour, stands_for), relation.behaviour, clique)]
    if labels is not None:
        closure = _closure_of_classes(data, relation.behaviour, stands_for)
        found.append(_by_label(closure, relation, labels))
    constructed = min((codes for codes in found if codes is not None), default=None)
    return CodesForced(len(clique), constructed == len(clique), constructed)


def _first_fit(closure: Closure, behaviour: Behaviour, clique: Ids) -> int | None:
    """Give each class of behaviour the first code that its transitions allow; the number of codes in the end."""
    codes = clique.tolist()
    rest = np.setdiff1d(np.arange(behaviour.classes), clique)
    # Large classes first: they are the ones that were seen most often, so with most of their kind.
    for each in rest[np.argsort(-behaviour.sizes[rest], kind="stable")].tolist():
        if not any(closure.merge(code, each) for code in codes):
            codes.append(each)
        if closure.steps > MOST_STEPS:
            return None
    return len({closure.find(code) for code in codes})


def _by_label(closure: Closure, relation: Relation, labels: NDArray[Any]) -> int | None:
    """Merge the behaviours whose first sources have one label; the number of codes, None where that is not allowed."""
    behaviour = relation.behaviour
    first = behaviour.order[behaviour.ends - behaviour.sizes]
    label = labels[relation.sources[first]]
    representative = np.unique(label, return_index=True, return_inverse=True)
    for each, to in enumerate(representative[1][representative[2]].tolist()):
        if not closure.merge(each, to):
            return None
    return len({closure.find(each) for each in range(behaviour.classes)})


def _closure_of_classes(data: TransitionDataset, behaviour: Behaviour, stands_for: Ids | None) -> Closure:
    """Classes of behaviour as vertices, and the observations that are never sources but reached in several ways."""
    names = np.arange(data.frames) if stands_for is None else stands_for
    vertex = np.full(data.frames, -1)
    vertex[names[behaviour.sources]] = behaviour.class_of
    source, successor = vertex[names[data.source]], vertex[names[data.successor]]
    loose = successor < 0
    reached = np.unique(np.stack([names[data.successor[loose]], source[loose], data.action[loose]], 1), axis=0)
    ids, ways = np.unique(reached[:, 0], return_counts=True)
    shared = np.isin(reached[:, 0], ids[ways > 1])  # one reached in one way only forces nothing
    number = np.searchsorted(ids[ways > 1], reached[shared, 0]) + behaviour.classes
    kept = np.unique(np.stack([source[~loose], data.action[~loose], successor[~loose]], 1), axis=0)
    rows = np.concatenate([kept, np.stack([reached[shared, 1], reached[shared, 2], number], 1)])
    value = np.concatenate([behaviour.auxiliary, np.full(int((ways > 1).sum()), -1)])
    return Closure(value, *rows.T)
