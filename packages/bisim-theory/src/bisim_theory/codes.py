"""How many distinct embeddings any well-trained model must use: codes that the data forces."""

from dataclasses import dataclass

import numpy as np

from bisim_theory.bisimulation import Relation
from bisim_theory.determinism import NoWellTrainedModelError, fold
from bisim_theory.transitions import Ids, TransitionDataset


@dataclass(frozen=True)
class CodesForced:
    """A lower bound on the number of embeddings, and whether it is attained.

    Attributes:
        at_least: sources that are pairwise in R_D*, so need as many embeddings (Theorem 3).
        exact: whether merging sources down to that number, closed under every observed transition, was carried out.
    """

    at_least: int
    exact: bool


def codes_forced(data: TransitionDataset, relation: Relation, stands_for: Ids | None = None) -> CodesForced:
    """Bound the number of distinct embeddings from below by a greedy clique of R_D*.

    The chromatic number of R_D* alone would not do for an exact answer: merged observations must share successors too.
    Where B_D* is an equivalence, merging along it is tried, and the bound called exact if that needs nothing more.
    """
    clique = _greedy_clique(relation)
    return CodesForced(clique, _attained(data, relation, stands_for, clique))


def _greedy_clique(relation: Relation) -> int:
    apart = relation.table != 0
    open_classes = np.ones(len(apart), bool)
    degree = apart.sum(1)
    size = 0
    while open_classes.any():
        # The open class that leaves most classes open for the next choice.
        candidates = np.flatnonzero(open_classes)
        if len(candidates) <= 2048:
            degree = apart[np.ix_(candidates, candidates)].sum(1)
            best = candidates[degree.argmax()]
        else:
            best = candidates[degree[candidates].argmax()]
        open_classes &= apart[best]
        size += 1
    return size


def _attained(data: TransitionDataset, relation: Relation, stands_for: Ids | None, codes: int) -> bool:
    classes = relation.classes
    if classes is None or int(classes.max()) + 1 != codes:
        return False
    first = relation.sources[np.unique(classes, return_index=True)[1]]
    merges = list(zip(relation.sources.tolist(), first[classes].tolist(), strict=True))
    if stands_for is not None:
        merges += list(enumerate(stands_for.tolist()))
    try:
        merged = fold(data, merges)
    except NoWellTrainedModelError:
        return False
    # Observations that are never sources can take the code of any source, or of the source they were merged with.
    return len(np.unique(merged[relation.sources])) == codes
