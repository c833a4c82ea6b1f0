"""The pairs of R_D* that Theorem 3 explains: those whose residuals are too small for one embedding.

A pair (x, y) of level k > 1 is explained if for some action a observed from both, with (f(x, a), f(y, a)) at a lower
level, e_d(x, a) + e_d(y, a) < ||E(f(x, a)) - E(f(y, a))||: then T(E(x), a) and T(E(y), a) differ, so E(x) and E(y) do.
A pair of level 1 is explained if e_p(x) + e_p(y) < |p(x) - p(y)|, in the norm of p or in one of its components.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.numbering import pair_key
from bisim_theory.data.representation import Representation
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.relation.base import Relation
from bisim_theory.relation.graph import ranges
from bisim_theory.theorem.nearest import Floats, distances
from bisim_theory.theorem.residuals import Residuals, component_residual

FEW_PAIRS = 20
"""Pairs of a level from which on a share is asked for; of fewer, all but one."""

SAMPLED = 20_000
"""Most pairs that are decided for one share of a level with more than `Tolerance.sample` pairs."""

SEARCHED = 2_000
"""Most pairs of a level that are decided where each level of a pair costs a search."""

_STEPS_AT_ONCE = 500_000
"""Most pairs of steps that are compared at a time."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class ExplainedShare:
    """Count the explained pairs of one level of R_D*.

    Attributes:
        of_occurrences: explained share of the pairs of observations.
        of_classes: mean over the pairs of classes of behaviour of their explained shares, in which a rare pair of
            classes weighs as much as a frequent one.
        pairs: number of pairs of observations that were decided for `of_occurrences`.
        unexplained: number of those that are not explained.
        few: whether the level has fewer than `FEW_PAIRS` pairs.
        unpredicted_pairs: number of pairs of the level with an observation whose p the representation does not predict,
            which count as unexplained; estimated where `sampled`.
        sampled: whether the shares are of uniform samples.
    """

    of_occurrences: float
    of_classes: float
    pairs: int
    unexplained: int
    few: bool
    unpredicted_pairs: int
    sampled: bool

    @property
    def share(self) -> float:
        """The smaller of the two shares, which counts."""
        return min(self.of_occurrences, self.of_classes)

    @property
    def smaller(self) -> str:
        """``"classes"`` where the share of pairs of classes is the smaller one, else ``"occurrences"``."""
        return "classes" if self.of_classes < self.of_occurrences else "occurrences"

    def reaches(self, share: float) -> bool:
        """Return whether a level is explained: up to a share, or, of few pairs, all but one and at least one."""
        return self.share >= share or (self.few and self.unexplained <= 1 < self.pairs)


class Explanation:
    """Decide which pairs the residuals of a model explain.

    Args:
        model: the residuals, and with them the relation and the representation.
        varying_codes: action codes that stand for different actions; None finds them in the data.

    Attributes:
        unknown_codes: number of action codes at which T is not known as a function of the code: their actions differ,
            and the representation has no prediction at a canonical one. Such a step explains no pair.
    """

    def __init__(self, model: Residuals, varying_codes: Ids | None = None) -> None:
        self.model = model
        self.relation, self.representation = model.relation, model.representation
        known = _known_at_one_action(self.relation.data, self.representation, varying_codes)
        self.unknown_codes = len(np.unique(self.relation.data.action[~known]))
        self._steps = _Steps(model, known)

    def explained(self, x: Ids, y: Ids, level: int) -> Flags:
        """Return (m,) which pairs of observation ids, all of one level of R_D*, are explained."""
        return self._by_auxiliary(x, y) if level == 1 else self._by_dynamics(x, y, level)

    def predicted(self, x: Ids, y: Ids) -> Flags:
        """Return (m,) of which pairs the residual of p is known at both ends."""
        e_p = self.model.e_p
        return ~np.isnan(e_p[x] + e_p[y])

    def _by_auxiliary(self, x: Ids, y: Ids) -> Flags:
        error = self.model.e_p[x] + self.model.e_p[y]  # NaN where p is not predicted: never below a margin
        found = _below(error, distances(self._value, x, y), self._value.shape[1])
        if self._value.shape[1] == 1:
            return found
        data = self.relation.data
        rest = np.flatnonzero(~found & ~np.isnan(error))
        for start in range(0, len(rest), 4_096):
            pairs = rest[start : start + 4_096]
            ids, ends = np.unique(np.stack([x[pairs], y[pairs]]), return_inverse=True)
            residual = component_residual(data, self.representation, ids)
            one, other = ends.reshape(2, -1)
            value = self._value[ids].astype(np.float64)
            found[pairs] = _below(residual[one] + residual[other], abs(value[one] - value[other]), 1).any(1)
        return found

    @functools.cached_property
    def _value(self) -> NDArray[Any]:
        value = stored_values(self.relation.data).value
        return value.reshape(len(value), -1)

    def _by_dynamics(self, x: Ids, y: Ids, level: int) -> Flags:
        steps, embedding = self._steps, self.representation.embedding
        found = np.zeros(len(x), bool)
        for pair, i, j in steps.together(x, y):
            a, b = steps.leads_to[i], steps.leads_to[j]
            kept = np.flatnonzero(self._levels(a, b) == level - 1)
            pair, i, j = pair[kept], i[kept], j[kept]
            gap = distances(embedding, steps.successor[i], steps.successor[j])
            found[pair[_below(steps.error[i] + steps.error[j], gap, embedding.shape[1])]] = True
        return found

    def _levels(self, a: Ids, b: Ids) -> Ids:
        """Return the levels of pairs of classes; each once where it costs a search."""
        if self.relation.exact:
            return self.relation.class_levels(a, b)
        pairs, which = np.unique(np.stack([a, b], 1), axis=0, return_inverse=True)
        return np.asarray(self.relation.class_levels(pairs[:, 0], pairs[:, 1])[which.reshape(-1)])

    def share(self, x: Ids, y: Ids, level: int, pairs: int, complete: bool, most: int) -> ExplainedShare:
        """Compute the explained share of a level.

        Args:
            x, y: (m,) ids of the pairs of the level: all, once each, or a uniform sample.
            level: the level.
            pairs: number of pairs of the level.
            complete: whether (x, y) are all pairs of the level.
            most: most pairs that are drawn for the mean over pairs of classes, up to `SAMPLED`.
        """
        if not complete:
            most = min(most, SAMPLED if self.relation.exact else SEARCHED)
            x, y = x[:most], y[:most]
        explained = self.explained(x, y, level)
        of_occurrences = float(explained.mean())
        unpredicted = 0.0 if level > 1 else float((~self.predicted(x, y)).mean())
        return ExplainedShare(
            of_occurrences=of_occurrences,
            of_classes=self._share_of_classes(x, y, level, explained, complete, most),
            pairs=len(x),
            unexplained=int((~explained).sum()),
            few=pairs < FEW_PAIRS or (not self.relation.exact and len(x) < FEW_PAIRS),
            unpredicted_pairs=round(unpredicted * pairs),
            sampled=not complete,
        )

    def _share_of_classes(self, x: Ids, y: Ids, level: int, explained: Flags, complete: bool, most: int) -> float:
        """Compute the mean over pairs of classes: exactly from all pairs, else from pairs that are drawn for it."""
        relation = self.relation
        sizes = relation.behaviour.sizes
        if sizes.max() == 1:  # then pairs of classes are pairs of observations
            return float(explained.mean())
        if complete or not relation.exact:  # pairs of two classes are there in proportion to their number
            weight = 1 / (sizes[relation.class_of(x)] * sizes[relation.class_of(y)])
            return float(np.average(explained, weights=weight))
        x, y = self._drawn_from_classes(level, most)
        return float(self.explained(x, y, level).mean())

    def _drawn_from_classes(self, level: int, most: int) -> tuple[Ids, Ids]:
        """Draw pairs so that every pair of classes has an equal share of them: all of these, or a uniform sample."""
        rng = np.random.default_rng([1, level])
        pairs = self._of_classes.pairs_at(level)
        chosen = pairs.sample(most, rng)
        each = max(most // max(len(pairs), 1), 1)
        behaviour = self.relation.behaviour
        ends = []
        for ids in chosen:
            of_class = np.repeat(self.relation.class_of(ids), each)
            size = behaviour.sizes[of_class]
            place = behaviour.ends[of_class] - size + rng.integers(size)
            ends.append(behaviour.observations[behaviour.order[place]])
        return ends[0], ends[1]

    @functools.cached_property
    def _of_classes(self) -> Relation:
        return self.relation.of_classes()


def _below(error: Floats, margin: Floats, dimensions: int) -> Flags:
    """Return where an error is below a margin, whatever the rounding of both; False where it is NaN.

    Where T takes two observations to one point between their successors, the error equals the margin but for rounding.
    """
    slack = 4 * (dimensions + 4) * float(np.finfo(np.float64).eps)
    below: Flags = error * (1 + slack) < margin
    return below


def _known_at_one_action(data: TransitionDataset, representation: Representation, varying: Ids | None) -> Flags:
    """Return (N,) of which transitions T is known as a function of the code of the action.

    It is at canonical actions, and where all actions with one code are the same.
    """
    if representation.predicted_embedding_canonical is not None:
        return np.ones(len(data), bool)
    return ~np.isin(data.action, varying_codes(data) if varying is None else varying)


def varying_codes(data: TransitionDataset) -> Ids:
    """Return the action codes that stand for different actions in the data, sorted."""
    if data.action_value is None:
        return np.empty(0, np.int64)
    values = data.action_value
    codes, first, of_row = np.unique(data.action, return_index=True, return_inverse=True)
    differs = (values != values[first[of_row]]).any(1)
    return np.unique(codes[of_row[differs]])


class _Steps:
    """The steps that were taken from each observation itself, one for each of its actions.

    Folding joins observations, not what the model predicts of them, so that rows of other members do not count. A step
    has several successors only there. All of them count then: the error is the largest residual, and to it is added how
    far the successors are from the one that stands for them.

    Attributes:
        successor: (S,) id of the successor.
        leads_to: (S,) its class of behaviour.
        error: (S,) the largest e_d of its rows.
    """

    def __init__(self, model: Residuals, usable: Flags) -> None:
        relation, data = model.relation, model.relation.data
        self.class_of = relation.behaviour.class_of_frames
        codes = relation.behaviour.actions
        rows = np.flatnonzero(usable & (self.class_of[data.successor] >= 0))
        key = pair_key(data.source[rows], np.searchsorted(codes, data.action[rows]), len(codes))
        order = np.argsort(key, kind="stable")
        rows, self.actions = rows[order], len(codes)
        self.key, first = np.unique(key[order], return_index=True)
        successor = data.successor[rows]
        self.successor = successor[first]
        self.error = np.maximum.reduceat(model.e_d[rows], first) if len(first) else np.empty(0)
        if relation.folded and len(first):
            self._widen(successor, first, model.representation.embedding)
        self.leads_to = self.class_of[self.successor]

    def _widen(self, successor: Ids, first: Ids, embedding: NDArray[np.floating[Any]]) -> None:
        """Let one successor stand for several, and add its distance to the furthest of them to the error."""
        several = np.minimum.reduceat(successor, first) != np.maximum.reduceat(successor, first)
        stops = np.append(first[1:], len(successor))
        for step in np.flatnonzero(several).tolist():
            ids = np.unique(successor[first[step] : stops[step]])
            reached = embedding[ids].astype(np.float64)
            middle = int(np.square(reached - reached.mean(0)).sum(1).argmin())
            self.successor[step] = ids[middle]
            self.error[step] += np.sqrt(np.square(reached - reached[middle]).sum(1).max())

    def together(self, x: Ids, y: Ids) -> Iterator[tuple[Ids, Ids, Ids]]:
        """Yield the steps of pairs under one action: indices of the pairs, and of the steps from x and from y."""
        begin = np.searchsorted(self.key, x * self.actions)
        number = np.searchsorted(self.key, (x + 1) * self.actions) - begin
        ends = np.cumsum(number)
        start = 0
        while start < len(x):
            done = int(ends[start - 1]) if start else 0
            stop = max(int(np.searchsorted(ends, done + _STEPS_AT_ONCE, side="right")), start + 1)
            pair = np.repeat(np.arange(start, stop), number[start:stop])
            i = ranges(begin[start:stop], number[start:stop])
            wanted = y[pair] * self.actions + self.key[i] % self.actions
            j = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
            both = self.key[j] == wanted
            yield pair[both], i[both], j[both]
            start = stop
