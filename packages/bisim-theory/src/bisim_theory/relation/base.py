"""R_D* and B_D* (Definition 4) behind one interface, whichever algorithm computed them."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.numbering import count, distinct, ids
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.relation.graph import Behaviour
from bisim_theory.relation.witness import shortest_witness

PAIRS_AT_ONCE = 1_000_000
"""Pairs in one piece of `Relation.pairs`."""


class Pairs(ABC):
    """An indexable collection of unordered pairs of observations, never held in memory as a list."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pairs."""

    @abstractmethod
    def take(self, index: Ids) -> tuple[Ids, Ids]:
        """Return the ids x and y of the pairs at positions `index`, counted from 0."""

    def sample(self, most: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """Return all pairs, once each, if they are at most `most`; else `most` drawn uniformly with replacement."""
        complete = len(self) <= most
        return self.take(np.arange(len(self)) if complete else rng.integers(len(self), size=most))


class Relation(ABC):
    """R_D* and B_D* over the observations of which a dataset says something: its sources and its leaves.

    A pair is in R_D* at level t if it enters at round t of Definition 4's iteration: at level 1 where p is known of
    both and differs, at level t where some action observed from both leads to a pair of level t - 1 and none to a
    lower one.
    Level 0 means that the pair is in B_D*, which is an equivalence only where coverage allows: see `classes`. Under
    full coverage (every action observed from every source, every successor a source, every p known) R_D* and B_D* are
    R* and B* of Definitions 1 to 3.

    Definition 4 knows p of sources alone. A leaf, such as the goal that ends an episode, is reached and never acted
    from. Theorem 3's proof holds for leaves too if P(E(o)) = p(o) wherever p is known.

    Attributes:
        behaviour: observations by identical observed behaviour.
        exact: False where numbers of pairs are estimates from a sample.
    """

    behaviour: Behaviour
    exact: bool = True

    @abstractmethod
    def class_levels(self, a: Ids, b: Ids) -> NDArray[Any]:
        """Return the levels of pairs of classes, elementwise (any shape, broadcast)."""

    @functools.cached_property
    @abstractmethod
    def distinguished_pairs_per_level(self) -> list[int]:
        """Number of unordered pairs of observations that enter R_D* at level 1, 2, ..."""

    @abstractmethod
    def pairs_at(self, level: int) -> Pairs:
        """Return all unordered pairs of observations that enter R_D* at a level."""

    @abstractmethod
    def equal_label_pairs(self, code: Ids) -> int:
        """Count the unordered pairs in R_D* of observations with equal codes.

        Args:
            code: (n,) one integer for each of `observations`.
        """

    @abstractmethod
    def equal_label_pairs_per_level(self, code: Ids) -> list[int]:
        """Count the unordered pairs of observations with equal codes that enter R_D* at level 1, 2, ...

        Args:
            code: (n,) one integer for each of `observations`.
        """

    @functools.cached_property
    @abstractmethod
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids (x, y, z) with (x, y) and (y, z) in B_D* and (x, z) in R_D*; None where B_D* is an equivalence."""

    @functools.cached_property
    @abstractmethod
    def classes(self) -> Ids | None:
        """(n,) class 0, 1, ... of every observation; None where B_D* is no equivalence, or this is not decided."""

    @abstractmethod
    def clique(self) -> Ids:
        """Find a large set of classes of behaviour that are pairwise in R_D*.

        Its size is a lower bound on the number of distinct embeddings (Theorem 3).
        """

    @property
    def data(self) -> TransitionDataset:
        """The transitions that the relation is over."""
        return self.behaviour.data

    @property
    def representative(self) -> Ids:
        """(F,) id of the observation that each was folded into; its own where nothing was folded."""
        named = self.behaviour.representative
        return ids(self.data.frames) if named is None else named

    @functools.cached_property
    def folded(self) -> bool:
        """True where any observation was folded into another."""
        named = self.behaviour.representative
        return named is not None and bool((named != ids(len(named))).any())

    def of_classes(self) -> "Relation":
        """Return the relation over one observation of each class, whose pairs are the pairs of classes.

        Only of an exact relation, since a sample has pairs of observations alone.
        """
        behaviour = self.behaviour
        occurring = behaviour.sizes > 0
        return self.among(np.sort(behaviour.order[(behaviour.ends - behaviour.sizes)[occurring]]))

    def among(self, positions: Ids) -> "Relation":
        """Return the relation over some of the observations, of which pairs are then counted; some class may have none.

        What leads from one observation to another stays as it is, so the levels of pairs do.

        Args:
            positions: (m,) positions in `observations`, sorted.
        """
        if len(positions) == len(self.observations):
            return self
        behaviour = self.behaviour
        some = replace(
            behaviour,
            observations=behaviour.observations[positions],
            is_source=behaviour.is_source[positions],
            class_of=behaviour.class_of[positions],
        )
        return replace(cast(Any, self), behaviour=some)

    def apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        """Return (len(a), len(b)) whether classes of behaviour are distinguished; `a` and `b` are sorted."""
        return self.class_levels(a[:, None], b) != 0

    @property
    def observations(self) -> Ids:
        """(n,) ids of the observations that the relation is over, sorted: sources and leaves."""
        return self.behaviour.observations

    @property
    def sources(self) -> Ids:
        """Ids of the observations that act as sources, sorted."""
        return self.behaviour.sources

    @property
    def leaves(self) -> int:
        """Number of observations that are reached, never acted from, and of known p."""
        return len(self.observations) - len(self.sources)

    def positions(self, ids: ArrayLike) -> Ids:
        """Return the positions of observation ids in `observations`.

        Raises:
            DatasetError: an id is never a source, and its p is unknown.
        """
        wanted = np.asarray(ids)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.data.frames:
            wrong = wanted.min() if wanted.min() < 0 else wanted.max()
            raise DatasetError(f"observation {wrong}: there are {self.data.frames} observations, numbered from 0")
        found = np.searchsorted(self.observations, wanted)
        found = np.minimum(found, len(self.observations) - 1)
        missing = np.atleast_1d(wanted)[np.atleast_1d(self.observations[found] != wanted)]
        if len(missing):
            raise DatasetError(f"observation {missing[0]} is never a source and its p is unknown, so it has no level")
        return found

    def class_of(self, ids: ArrayLike) -> Ids:
        """Return the classes of behaviour of observation ids.

        Raises:
            DatasetError: an id is never a source, and its p is unknown.
        """
        return np.asarray(self.behaviour.class_of[self.positions(ids)])

    def level(self, x: ArrayLike, y: ArrayLike) -> NDArray[Any]:
        """Return the levels of pairs of observation ids (any shape, broadcast); 0 where the pair is in B_D*.

        Raises:
            DatasetError: an id is never a source, and its p is unknown.
        """
        return self.class_levels(self.class_of(x), self.class_of(y))

    def witness(self, x: int, y: int) -> list[int] | None:
        """Find a shortest sequence of action codes after which p differs; None for a pair in B_D*.

        The transitions along it were observed from both ids. Its length is the level of the pair less one, so it is
        empty where p itself differs.

        Raises:
            DatasetError: an id is never a source, and its p is unknown.
        """
        return shortest_witness(self, int(self.class_of(x)), int(self.class_of(y)))

    @property
    def distinguished_pairs(self) -> int:
        """Number of unordered pairs of observations in R_D*."""
        return sum(self.distinguished_pairs_per_level)

    @property
    def bisimilar_pairs(self) -> int:
        """Number of unordered pairs of different observations in B_D*."""
        n = len(self.observations)
        return n * (n - 1) // 2 - self.distinguished_pairs

    @property
    def bisimulation_classes(self) -> int | None:
        """Number of classes of B_D*; None where `classes` is."""
        return None if self.classes is None else int(self.classes.max()) + 1

    def first_member(self, of_class: int) -> int:
        """Return the id of the first observation of a class of behaviour."""
        return int(self.behaviour.first[of_class])

    def certified_share(self, labels: NDArray[Any], within_label: int | None = None) -> float | None:
        """Return the share in R_D* of the pairs of observations with different labels; None without such a pair.

        Args:
            labels: (F,) one label per observation, the ground truth.
            within_label: `distinguished_within_label(labels)`, if it was computed before.
        """
        code = self.label_codes(labels)
        apart = len(code) * (len(code) - 1) // 2 - _pairs_of_one_label(code)
        certified = self.distinguished_pairs - (self.equal_label_pairs(code) if within_label is None else within_label)
        return certified / apart if apart else None

    def floor(self, labels: NDArray[Any], within_label: int | None = None) -> float | None:
        """Return the share in R_D* of the pairs of observations with equal labels; None without such a pair.

        A share of the pairs that differ says something of the labels as far as it is above this one.

        Args:
            labels: (F,) one label per observation.
            within_label: `distinguished_within_label(labels)`, if it was computed before.
        """
        code = self.label_codes(labels)
        alike = _pairs_of_one_label(code)
        return (self.equal_label_pairs(code) if within_label is None else within_label) / alike if alike else None

    def distinguished_within_label(self, labels: NDArray[Any]) -> int:
        """Count the unordered pairs in R_D* with equal labels: distinctions that the labels do not make."""
        return self.equal_label_pairs(self.label_codes(labels))

    def label_codes(self, labels: ArrayLike) -> Ids:
        """Return (n,) codes 0, 1, ... of the observations' labels.

        Raises:
            DatasetError: `labels` is not (F,).
        """
        array = np.asarray(labels)
        if array.ndim != 1 or len(array) <= self.observations[-1]:
            raise DatasetError(f"labels: must be (F,), one for each observation, are {array.shape}")
        return distinct(array[self.observations])[1]

    def sample_pairs(self, level: int, most: int, rng: np.random.Generator) -> tuple[Ids, Ids, bool]:
        """Return pairs that enter at `level`: all, once each, if they are at most `most`; else a uniform sample.

        Returns:
            Ids x, ids y, and whether these are all pairs of the level.
        """
        pairs = self.pairs_at(level)
        x, y = pairs.sample(most, rng)
        return x, y, self.exact and len(pairs) <= most

    def pairs(self, level: int | None = None) -> Iterator[tuple[Ids, Ids]]:
        """Enumerate R_D*, or one level of it, as arrays x and y of at most `PAIRS_AT_ONCE` ids, no pair twice.

        Args:
            level: from 1; None enumerates all levels in order.

        Raises:
            DatasetError: `level` is below 1.
        """
        if level is not None and level < 1:
            raise DatasetError(f"level={level}: must be at least 1; None enumerates all levels")
        levels = range(1, len(self.distinguished_pairs_per_level) + 1) if level is None else [level]
        for each in levels:
            pairs = self.pairs_at(each)
            for start in range(0, len(pairs), PAIRS_AT_ONCE):
                yield pairs.take(np.arange(start, min(start + PAIRS_AT_ONCE, len(pairs))))


def _pairs_of_one_label(code: Ids) -> int:
    """Count the unordered pairs of observations with equal codes of labels."""
    return sum(size * (size - 1) // 2 for size in count(code, int(code.max()) + 1).tolist())
