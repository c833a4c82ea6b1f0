"""Witnesses: the shortest actions after which p tells two distinguished observations apart."""

from typing import TYPE_CHECKING

import numpy as np

from bisim_theory.data.transitions import Ids
from bisim_theory.relation.graph import Behaviour

if TYPE_CHECKING:
    from bisim_theory.relation.base import Relation


def shortest_witness(relation: "Relation", a: int, b: int) -> list[int] | None:
    """Find a shortest sequence of action codes after which p differs between two classes of behaviour.

    Args:
        relation: gives the levels.
        a: a class of behaviour.
        b: another.

    Returns:
        As many codes as the level of the pair less one; None for a pair in B_D*.
    """
    level = int(relation.class_levels(np.array(a), np.array(b)))
    if level == 0:
        return None
    codes = []
    for rest in range(level - 1, 0, -1):
        action, a, b = first_step(relation, a, b, rest)
        codes.append(int(relation.behaviour.actions[action]))
    return codes


def first_step(relation: "Relation", a: int, b: int, level: int) -> tuple[int, int, int]:
    """Find an action that leads from two classes to a pair of a level.

    Returns:
        Its index in `Behaviour.actions`, and the two classes that it leads to.
    """
    actions, to_a, to_b = common_actions(relation.behaviour, a, b)
    chosen = int(np.flatnonzero(relation.class_levels(to_a, to_b) == level)[0])
    return int(actions[chosen]), int(to_a[chosen]), int(to_b[chosen])


def common_actions(behaviour: Behaviour, a: int, b: int) -> tuple[Ids, Ids, Ids]:
    """Return the indices 0..A-1 of the actions observed from both classes, and the classes that they lead to."""
    (actions, to_a), (others, to_b) = behaviour.edges.of(a), behaviour.edges.of(b)
    both, i, j = np.intersect1d(actions, others, assume_unique=True, return_indices=True)
    return both, to_a[i], to_b[j]
