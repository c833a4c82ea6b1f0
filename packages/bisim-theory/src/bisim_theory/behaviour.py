"""The exact quotient of sources by identical observed behaviour, on which everything else is computed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.determinism import NoWellTrainedModelError, auxiliary_codes, find_conflicts
from bisim_theory.transitions import DatasetError, Ids, TransitionDataset


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Sources grouped so that those of a class have equal rows in R, levels included.

    Two sources share a class iff they have equal p, the same actions whose successors are sources, and successors of
    one class under each of them. So R is a union of class-by-class blocks.

    Attributes:
        sources: (n,) ids of the observations that act as sources, sorted.
        class_of: (n,) class of each, 0..C-1.
        auxiliary: (C,) code of p per class.
        actions: (A,) the action codes that occur, sorted.
        successor: (C, A) class reached, or -1 where the action was not observed or led to no source.
    """

    sources: Ids
    class_of: Ids
    auxiliary: Ids
    actions: Ids
    successor: Ids

    @property
    def sizes(self) -> Ids:
        """(C,) sources per class."""
        return np.bincount(self.class_of, minlength=len(self.auxiliary))


def quotient(data: TransitionDataset, stands_for: Ids | None = None) -> Behaviour:
    """Group the sources of a dataset by their observed behaviour.

    Args:
        data: transitions, deterministic once observations are replaced by what stands for them.
        stands_for: (F,) from `bisim_theory.fold`; None is every observation for itself.

    Raises:
        DatasetError: an observation has several successors under one action.
        NoWellTrainedModelError: an observation has several values of p.
    """
    names = np.arange(data.frames) if stands_for is None else stands_for
    _require_deterministic(data, names)
    nodes, first_row, node_of_row = np.unique(names[data.source], return_index=True, return_inverse=True)
    codes = auxiliary_codes(data)
    auxiliary = codes[first_row]
    _require_function(data, codes, node_of_row, auxiliary)

    actions, action_of_row = np.unique(data.action, return_inverse=True)
    node_of_id = np.full(data.frames, -1)
    node_of_id[nodes] = np.arange(len(nodes))
    successor = np.full((len(nodes), len(actions)), -1)
    successor[node_of_row, action_of_row] = node_of_id[names[data.successor]]

    class_of_node = _refine(auxiliary, successor)
    first = np.unique(class_of_node, return_index=True)[1]
    reached = successor[first]
    sources = np.unique(data.source)
    return Behaviour(
        sources=sources,
        class_of=class_of_node[node_of_id[names[sources]]],
        auxiliary=auxiliary[first],
        actions=actions,
        successor=np.where(reached >= 0, class_of_node[reached], -1),
    )


def _refine(auxiliary: Ids, successor: Ids) -> Ids:
    """Moore's refinement: split classes by p, then by the classes of their successors, until nothing splits."""
    classes = np.unique(auxiliary, return_inverse=True)[1]
    number = int(classes.max()) + 1
    while True:
        finer = classes
        for column in successor.T:
            reached = np.where(column >= 0, classes[column], -1)
            finer = np.unique(finer * (number + 1) + reached + 1, return_inverse=True)[1]
        found = int(finer.max()) + 1
        if found == number:
            return classes
        classes, number = finer, found


def _require_deterministic(data: TransitionDataset, names: NDArray[np.int64]) -> None:
    triples = np.unique(np.stack([names[data.source], data.action, names[data.successor]], 1), axis=0)
    if len(np.unique(triples[:, :2], axis=0)) < len(triples):
        raise DatasetError(f"successor: transitions are not deterministic (conflicts: {find_conflicts(data)})")


def _require_function(data: TransitionDataset, codes: Ids, node_of_row: Ids, auxiliary: Ids) -> None:
    wrong = np.flatnonzero(codes != auxiliary[node_of_row])
    if len(wrong):
        row = int(wrong[0])
        other = int(np.flatnonzero((node_of_row == node_of_row[row]) & (codes == auxiliary[node_of_row[row]]))[0])
        pair = (int(data.source[other]), int(data.source[row]))
        raise NoWellTrainedModelError(pair, (data.auxiliary[other].tolist(), data.auxiliary[row].tolist()), [])
