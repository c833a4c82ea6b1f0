"""Kinds of pairs of observations, by the labels that they differ in: what protects them, and how far apart they are."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from bisim_theory import DatasetError, NoWellTrainedModelError, Relation, TransitionDataset, empirical_bisimulation
from bisim_theory.data.identity import identify_by_content
from bisim_theory.theorem.nearest import distances
from bisim_theory.theorem.unprotected import separation
from numpy.typing import NDArray

from benchmarks.studies.auxiliaries import MIDDLE

Ids = NDArray[np.int64]

PAIRS = 4_000_000
"""Most pairs of observations that are looked at; of more, so many are drawn uniformly."""

UNSEEN = "hidden look"
"""Group of the pairs of equal images with different labels."""

SAME, STATE = 0, 1


class Kind(NamedTuple):
    """One kind of pair.

    Attributes:
        group: what the two differ in.
        one, other: state of each, the lower first: a number of objects, or a cell.
    """

    group: str
    one: int
    other: int

    @property
    def name(self) -> str:
        """Return group and states in a few characters."""
        states = f"{self.one}" if self.one == self.other else f"{self.one}/{self.other}"
        return f"{self.group} {states}"

    @classmethod
    def of_name(cls, name: str) -> "Kind":
        """Read what `name` returns."""
        group, _, states = name.rpartition(" ")
        one, _, other = states.partition("/")
        return cls(group, int(one), int(other or one))


@dataclass(frozen=True, eq=False)
class Kinds:
    """Sort pairs of observations into kinds. A pair that differs in several labels at once is of none.

    Attributes:
        state: (F,) what the dynamics change, from 0.
        state_name: the group of pairs that differ in it alone.
        same_name: the group of pairs that differ in no label.
        looks: (F,) codes of labels that last for an episode, by their names, which are those of their groups.
        empty: the state whose images show none of the looks, or None.
    """

    state: Ids
    state_name: str
    same_name: str
    looks: Mapping[str, Ids] = field(default_factory=dict)
    empty: int | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups."""
        return (self.same_name, self.state_name, *self.looks, UNSEEN)

    @property
    def cells(self) -> Ids:
        """Return (F,) the first observation with the same labels as each one."""
        labels = np.stack([self.state, *self.looks.values()], 1)
        _, first, of_observation = np.unique(labels, axis=0, return_index=True, return_inverse=True)
        return np.asarray(first[of_observation.reshape(-1)])

    def codes(self, x: Ids, y: Ids) -> Ids:
        """Return (m,) a number for the kind of each pair of ids, -1 for none."""
        one, other = np.minimum(self.state[x], self.state[y]), np.maximum(self.state[x], self.state[y])
        differ = [look[x] != look[y] for look in self.looks.values()]
        number = np.sum(differ, 0) if differ else np.zeros(len(x), np.int64)
        moved = one != other
        group = np.where(number == 0, np.where(moved, STATE, SAME), -1)
        for place, differs in enumerate(differ):
            group[differs & (number == 1) & ~moved] = STATE + 1 + place
        if self.empty is not None:
            unseen = (one == self.empty) & ~moved
            group[unseen] = np.where(number[unseen] > 0, len(self.groups) - 1, -1)
        states = self._states
        return np.where(group < 0, -1, (group * states + one) * states + other)

    def kind(self, code: int) -> Kind:
        """Return the kind of a number."""
        rest, other = divmod(code, self._states)
        group, one = divmod(rest, self._states)
        return Kind(self.groups[group], one, other)

    def sorted_pairs(self, ids: Ids, most: int = PAIRS) -> Iterator[tuple[Kind, Ids, Ids]]:
        """Yield each kind with its pairs among ids: of all pairs, or of as many as `most` drawn with replacement."""
        x, y = draw_pairs(ids, most, np.random.default_rng(0))
        code = self.codes(x, y)
        order = np.argsort(code, kind="stable")[np.count_nonzero(code < 0) :]
        found, first = np.unique(code[order], return_index=True)
        for each, rows in zip(found.tolist(), np.split(order, first[1:]), strict=False):
            yield self.kind(each), x[rows], y[rows]

    @property
    def _states(self) -> int:
        return int(self.state.max()) + 1


def kinds_of(labels: Mapping[str, NDArray[Any]]) -> Kinds:
    """Return the kinds of pairs of the counting world, or of FrozenLake, by its labels.

    In the counting world pairs differ in the count, in the shape, in the colour (one of eight, by which channels are
    bright), or in positions alone. In FrozenLake they differ in the cell, or in the tint alone.
    """
    if "count" not in labels:
        return Kinds(labels["state"].reshape(-1).astype(np.int64), "cell", "tint")
    color = labels.get("color")
    if color is None:
        color = np.stack([labels[name] for name in ("red", "green", "blue")], 1)
    bright = (color > MIDDLE) @ np.array([1, 2, 4])
    looks = {"shape": labels["shape"].astype(np.int64), "colour": bright.astype(np.int64)}
    return Kinds(labels["count"].astype(np.int64), "count", "positions", looks, empty=0)


def draw_pairs(ids: Ids, most: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """Return all pairs of different ids, or `most` of them, drawn uniformly with replacement."""
    n = len(ids)
    if n * (n - 1) // 2 <= most:
        i, j = np.triu_indices(n, 1)
    else:
        i = rng.integers(n, size=most)
        j = (i + 1 + rng.integers(n - 1, size=most)) % n
    return ids[i], ids[j]


@dataclass(frozen=True)
class Predicted:
    """What the relation says of a kind of pair.

    Attributes:
        pairs: number of pairs of the kind that were looked at.
        share: share of these in R_D*.
        level: the lowest level at which one enters; 0 where none does.
    """

    pairs: int
    share: float
    level: int


def predict(relation: Relation, kinds: Kinds, most: int = PAIRS) -> dict[Kind, Predicted]:
    """Look up which kinds of pairs of the relation's observations are in R_D*."""
    found = {}
    for kind, x, y in kinds.sorted_pairs(relation.observations, most):
        level = relation.level(x, y)
        apart = level[level > 0]
        found[kind] = Predicted(len(x), len(apart) / len(x), int(apart.min()) if len(apart) else 0)
    return found


def joined_by_label(data: TransitionDataset, kinds: Kinds) -> Relation | None:
    """Relate the data with observations of equal labels as one; None where p or a successor then has two values."""
    try:
        return empirical_bisimulation(identify_by_content(data, kinds.cells))
    except (NoWellTrainedModelError, DatasetError):
        return None


def separations(
    embedding: NDArray[np.floating[Any]], kinds: Kinds, alike: Collection[Kind], most: int = PAIRS
) -> dict[Kind, tuple[int, float | None]]:
    """Measure how often a pair of each kind is further apart than one of the same states that nothing distinguishes.

    Args:
        embedding: (F, d) of the observations that the kinds are of.
        kinds: of their pairs.
        alike: the kinds of pairs that nothing distinguishes, each of one state. A pair of two states is compared with
            those of both, a pair of one with those of that one, since distances grow with the number of objects.
        most: most pairs that are looked at.

    Returns:
        Number of pairs and separation, None where there are no pairs that nothing distinguishes.
    """
    found = {kind: distances(embedding, x, y) for kind, x, y in kinds.sorted_pairs(np.arange(len(embedding)), most)}
    of_state = {kind.one: found[kind] for kind in alike if kind in found}
    separated: dict[Kind, tuple[int, float | None]] = {}
    for kind, each in found.items():
        reference = [of_state[state] for state in {kind.one, kind.other} if state in of_state]
        separated[kind] = len(each), separation(each, np.concatenate(reference)) if reference else None
    return separated
