"""Pairs in R_D* among observations of one label, counted from the number of those in each class."""

import numpy as np

from bisim_theory.data.transitions import Ids
from bisim_theory.relation.base import Relation
from bisim_theory.relation.level_table import TABLE_ROWS, TableRelation
from bisim_theory.relation.prefixes import CommonPrefixes, between_labels, pairs_apart
from bisim_theory.relation.sampled_levels import SampledRelation
from bisim_theory.relation.trajectories import TrajectoryRelation
from bisim_theory.relation.unknown_initial import UnknownInitialRelation


def equal_label_pairs(relation: Relation, of_class: Ids, label: Ids, size: Ids) -> int:
    """Count the unordered pairs in R_D* of observations with equal labels.

    Args:
        relation: over the classes, exact.
        of_class: (K,) class of each group of observations, which have one class and one label.
        label: (K,) its label.
        size: (K,) number of its observations.
    """
    assert not isinstance(relation, SampledRelation)
    if isinstance(relation, TrajectoryRelation):
        return _parted(relation.prefixes, of_class, label, size)
    if isinstance(relation, UnknownInitialRelation):
        return _with_unknown_initial(relation, of_class, label, size)
    assert isinstance(relation, TableRelation)
    return _of_table(relation, of_class, label, size)


def _parted(prefixes: CommonPrefixes, place: Ids, label: Ids, size: Ids) -> int:
    """Count the pairs with equal labels that part at p."""
    order = np.lexsort((place, label))
    return pairs_apart(between_labels(prefixes, label[order], place[order]), size[order])[0]


def _with_unknown_initial(relation: UnknownInitialRelation, of_class: Ids, label: Ids, size: Ids) -> int:
    """Count among trajectories of which the first p may be unknown, as `UnknownInitialRelation` does."""
    known = of_class < relation.known
    pairs = _parted(relation.whole, of_class[known], label[known], size[known])
    place_of_class = np.empty_like(relation.order)
    place_of_class[relation.order] = np.arange(len(relation.order))
    place = place_of_class[of_class]
    order = np.lexsort((place, label))
    common = between_labels(relation.tails, label[order], place[order])
    everything, of_known = pairs_apart(common, size[order], np.where(known, size, 0)[order])
    return pairs + everything - of_known


def _of_table(relation: TableRelation, of_class: Ids, label: Ids, size: Ids) -> int:
    order = np.lexsort((of_class, label))
    ends = np.flatnonzero(np.diff(label[order])) + 1
    pairs = 0
    for rows in np.split(order, ends):
        classes, sizes = of_class[rows], size[rows]
        for start in range(0, len(classes), TABLE_ROWS):
            part = slice(start, start + TABLE_ROWS)
            related = relation.apart(classes[part], classes).astype(np.float64) @ sizes  # up to n: exact
            pairs += int(related.astype(np.int64) @ sizes[part])
    return pairs // 2
