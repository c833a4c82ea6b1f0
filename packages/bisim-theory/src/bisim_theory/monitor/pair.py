"""A distinguished pair, and what tells it apart in words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.action_codes import ActionCodes
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.transitions import Ids
from bisim_theory.formats.limits import printable
from bisim_theory.outcome import Related
from bisim_theory.relation.base import Relation
from bisim_theory.theorem.check import TheoremCheck

MOST_ACTIONS = 8
"""Most actions of a witness that are named."""


@dataclass(frozen=True)
class NamedPair:
    """The distinguished pair whose embeddings are closest.

    Attributes:
        ids: the two observations, numbered as in the data that the monitor was given.
        level: the level at which the pair enters R_D*.
        witness: the codes of the shortest actions after which p differs.
        rule: what tells the two apart, in words.
        labels: the labels of the two in words; empty where the data has none.
        distance: the distance of their embeddings.
        share: that over the median distance of all pairs of observations; NaN where this is zero.
        collapsed: whether that counts as (nearly) one embedding.
    """

    ids: tuple[int, int]
    level: int
    witness: list[int]
    rule: str
    labels: tuple[str, str]
    distance: float
    share: float
    collapsed: bool

    def __str__(self) -> str:
        x, y = (f"{one} ({label})" if label else str(one) for one, label in zip(self.ids, self.labels, strict=True))
        far = "" if np.isnan(self.share) else f", {self.share:.2g} of the median distance"
        return f"observations {x} and {y} at distance {self.distance:.2g}{far}; level {self.level}: {self.rule}"


def name_pair(report: Related, check: TheoremCheck, numbers: Ids) -> NamedPair | None:
    """Name the closest distinguished pair of a check; None where no pair was drawn.

    Args:
        report: the relation, and what is known of its data.
        check: a model on it.
        numbers: (F,) what observations are called.
    """
    closest = check.closest
    if closest is None:
        return None
    x, y = closest.pair
    median = check.median_distance
    return NamedPair(
        ids=(int(numbers[x]), int(numbers[y])),
        level=closest.level,
        witness=closest.witness,
        rule=_rule(report, x, y, closest.witness),
        labels=(printable(report.label_of(x)), printable(report.label_of(y))),
        distance=closest.min_distance,
        share=closest.min_distance / median if median > 0 else float("nan"),
        collapsed=closest.min_distance <= check.collapse_distance,
    )


def _rule(report: Related, x: int, y: int, witness: list[int]) -> str:
    """Say which actions make p differ, and what it then is."""
    one, other = (_value_after(report.relation, each, witness) for each in (x, y))
    name = "p" if report.auxiliary == "as stored" else f"p ({printable(report.auxiliary)})"
    differs = np.flatnonzero(one != other)
    component = int(differs[0]) if len(differs) else 0
    if len(one) > 1:
        name = f"component {component} of {name}"
    values = f"{one[component]:g} and {other[component]:g}"
    if not witness:
        return f"{name} is {values}"
    return f"after action{'' if len(witness) == 1 else 's'} {_actions(report, witness)} {name} is {values}"


def _actions(report: Related, witness: list[int]) -> str:
    """Name the first actions of a witness, with what their codes mean."""
    codes = ActionCodes.of(report.data.metadata)
    said = []
    for code in witness[:MOST_ACTIONS]:
        meaning = None if codes is None else codes.meaning(code)
        said.append(str(code) if meaning is None else f"{code} ({printable(meaning)})")
    more = len(witness) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


def _value_after(relation: Relation, observation: int, witness: list[int]) -> NDArray[Any]:
    """Return (k,) p of the observation that the actions lead to."""
    behaviour, values = relation.behaviour, stored_values(relation.data)
    place = int(relation.class_of(observation))
    for code in witness:
        actions, reached = behaviour.edges.of(place)
        place = int(reached[np.searchsorted(actions, np.searchsorted(behaviour.actions, code))])
    members = behaviour.members(place)
    known = members[values.known[members]]
    return np.asarray(values.value[known[0]]).reshape(-1)
