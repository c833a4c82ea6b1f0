"""Watch which distinctions a training keeps, whoever trains: live measures from embeddings and predictions."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.analysis import relate
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.auxiliary_functions import describe_auxiliary, offered
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats import read_transitions
from bisim_theory.formats.limits import printable
from bisim_theory.monitor.effective_rank import rankme
from bisim_theory.monitor.inputs import Inputs, Made
from bisim_theory.monitor.measures import (
    CLASSES,
    CLOSEST,
    RANKME,
    Measures,
    class_labels,
    cluster_numbers,
    label_codes,
    theorem_numbers,
)
from bisim_theory.monitor.pair import name_pair
from bisim_theory.monitor.part import TRANSITIONS, first_part
from bisim_theory.outcome import Impossible, Related
from bisim_theory.relation.base import Relation
from bisim_theory.theorem.check import Tolerance, check_theorem

PAIRS = 2_000
"""Default of the most pairs of a level that are measured; of more, a sample that is always the same."""

FEWEST_PAIRS, PAIRS_OF_ALL_LEVELS = 100, 40_000
"""Where levels are many, each has its share of these pairs, but at least the first number."""

LEVELS = 8
"""Default of the levels that have numbers of their own."""


class TheoremMonitor:
    """Watch a training by what its model keeps of the distinctions that the data makes.

    The relation is computed once, here. A call takes what a model makes of the data and returns its `Measures`:

    Examples:
        >>> data = TransitionDataset([0, 1, 2], [0, 0, 0], [1, 2, 2], [0, 0, 1], observation=np.eye(3))
        >>> monitor = TheoremMonitor(data)
        >>> measures = monitor(lambda o: o[:, :2], lambda z, a: z, lambda z: z[:, 0])
        >>> measures.collapsed_pairs, measures.pair.ids
        (0, (0, 2))

    To be embedded are `observations`; then T predicts what follows each of `sources` under its row of `actions`, and P
    predicts p of each of `observations`, all in evaluation mode, with nothing random. Observations and transitions that
    are one occur once. Pairs of a level beyond `tolerance.sample` are sampled, always the same ones. Collapsed pairs
    are counted among all pairs, unless `exact` is False. ``str(monitor)`` says how much is watched.

    Args:
        data: transitions, or the path of a dataset or of a run directory.
        auxiliary: name of p, as for ``bisim-check --auxiliary``; None takes the stored one.
        identity: how observations are told apart: ``"auto"``, ``"content"`` or ``"occurrence"``, as in `analyse`.
        folding: whether to merge the successors of one (observation, action), as a well-trained model must.
        terminal: ``"absorb"`` lets every action lead from terminal observations to themselves, so that T is asked for
            these steps too; ``"leaf"`` takes them as the data has them.
        label: name of the ground truth for separation and clusters, as in `analyse`; without one the classes of B_D*
            serve, where it is an equivalence.
        actions: how continuous actions become codes, as in `read_transitions`; for a path only.
        observation: key of one of several observations, as in `read_transitions`; for a path only.
        transitions: most transitions that are watched, the first whole episodes; None watches all.
        tolerance: thresholds, and the most pairs of a level; None measures `PAIRS` of a level, fewer of each where the
            levels are many.
        levels: number of levels that have numbers of their own. Least share and collapsed pairs are of all levels.

    Attributes:
        relation: R_D* over what is watched.
        tolerance: the thresholds.
        labels: (F,) labels of the observations of `relation`, or None.

    Raises:
        DatasetError: p is not known, the data distinguishes no pair, no well-trained model exists, or an argument does
            not fit the data.
    """

    def __init__(
        self,
        data: TransitionDataset | str | os.PathLike[str],
        auxiliary: str | None = None,
        *,
        identity: str = "auto",
        folding: bool = False,
        terminal: str = "leaf",
        label: str | None = None,
        actions: str | None = None,
        observation: str | None = None,
        transitions: int | None = TRANSITIONS,
        tolerance: Tolerance | None = None,
        levels: int = LEVELS,
    ) -> None:
        given = _read(data, actions, observation)
        if auxiliary is None and given.auxiliary is None and given.observation_auxiliary is None:
            raise DatasetError(f"auxiliary: is not in this data; name p, one of {', '.join(offered(given))}")
        try:
            self._part = first_part(given, auxiliary, identity, folding, transitions)
        except NoWellTrainedModelError as error:
            raise DatasetError(_impossible(error)) from None
        report = relate(
            self._part.data, None, self._part.identity, folding,
            auxiliary=self._part.auxiliary, label=label, terminal=terminal,
        )  # fmt: skip
        if isinstance(report, Impossible):
            raise DatasetError(_impossible(report.contradiction, report.alternatives))
        self._report, self.relation = report, report.relation
        if not self.relation.distinguished_pairs:
            raise DatasetError(_nothing_to_watch(report, given))
        self._given_rows, self.levels = len(given), levels
        self._meaning = describe_auxiliary(given, auxiliary)
        self.tolerance = _tolerance(self.relation) if tolerance is None else tolerance
        self.labels = class_labels(self.relation) if report.labels is None else label_codes(report.labels)
        self._inputs = Inputs(self.relation.data, self._part.numbers, given)

    @property
    def observations(self) -> NDArray[Any]:
        """(n, ...) the different observations, to be embedded.

        Raises:
            DatasetError: the data holds none.
        """
        return np.concatenate(list(self._inputs.pieces()))

    @property
    def ids(self) -> Ids:
        """(n,) the numbers of `observations` in the data."""
        return self._inputs.ids

    @property
    def sources(self) -> Ids:
        """(m,) the row of `observations` from which each different transition starts."""
        return self._inputs.sources

    @property
    def actions(self) -> NDArray[Any]:
        """(m, A) the action of each different transition.

        It is the mean `action_value` of its code, for T in Theorem 3 is one function for each code; without action
        values the codes, as (m, 1).
        """
        return self._inputs.actions

    @property
    def exact(self) -> bool:
        """True where collapsed pairs are counted among all distinguished pairs, False where among sampled ones."""
        return self.relation.exact

    @property
    def label(self) -> str | None:
        """Return the name of the labels; None without any."""
        return None if self.labels is None else self._report.label or CLASSES

    def __str__(self) -> str:
        report, pairs = self._report, self.relation.distinguished_pairs_per_level
        rows = len(self._part.data)
        part = f"{rows:,}" if rows == self._given_rows else f"the first {rows:,} of {self._given_rows:,}"
        number = f"{self.relation.distinguished_pairs:,}{'' if self.exact else ' (estimated)'}"
        many = sum(each > self.tolerance.sample for each in pairs)
        said = [
            f"watching {part} transitions with {len(self.ids):,} observations told apart by {report.identity}",
            f"{number} distinguished pairs at {len(pairs)} level{'' if len(pairs) == 1 else 's'}",
            printable(f"p: {report.auxiliary}, {self._meaning}"),
        ]
        if many:
            said.append(f"sampled: {self.tolerance.sample:,} pairs of each of {many} levels")
        return "; ".join(said)

    def __call__(
        self,
        embedding: Made,
        predicted_embedding: Made,
        predicted_auxiliary: Made | None = None,
    ) -> Measures:
        """Measure a model. Arrays may be tensors of any device and precision, with gradients or without.

        Args:
            embedding: (n, d) E of `observations`; or a callable, observations (B, ...) -> (B, d).
            predicted_embedding: (m, d) T of the embeddings of `sources` and of `actions`; or a callable, embeddings
                (B, d) and actions (B, A) -> (B, d).
            predicted_auxiliary: (n,) or (n, k) P of the embeddings, in the units of p; or a callable, embeddings (B, d)
                -> (B,) or (B, k). None where there is no P: level 1 has no explained share then.

        Raises:
            NotFiniteError: a number is not finite.
            DatasetError: an array, or what a callable returned, is of another shape.
        """
        inputs = self._inputs
        z = inputs.embed(embedding)
        predicted = inputs.predict(predicted_embedding, z)
        without = predicted_auxiliary is None
        # Without P, 0 is in its place: by the triangle inequality it explains no pair.
        p = np.zeros((len(z), *self.relation.data.auxiliary_shape))
        if predicted_auxiliary is not None:
            p = inputs.predict_auxiliary(predicted_auxiliary, z)
        representation = inputs.represent(z, predicted, p)
        check = check_theorem(self.relation, representation, self.tolerance, self.labels, witnesses=False)
        pair = name_pair(self._report, check, self._part.numbers)
        ids = self.relation.observations
        numbers = theorem_numbers(check, self.levels, first=2 if without else 1)
        numbers[RANKME] = rankme(representation.embedding[ids])
        if pair is not None:
            numbers[CLOSEST] = pair.share
        if self.labels is not None:
            numbers |= cluster_numbers(representation.embedding[ids], self.labels[ids])
        return Measures(numbers, pair, check.collapsed_pairs, check)


def _read(
    data: TransitionDataset | str | os.PathLike[str], actions: str | None, observation: str | None
) -> TransitionDataset:
    """Return the transitions that are given, or those at a path."""
    if isinstance(data, str | os.PathLike):
        return read_transitions(data, actions=actions, observation=observation)
    if not isinstance(data, TransitionDataset):
        raise DatasetError(f"data: must be a TransitionDataset or the path of a dataset, is {type(data).__name__}")
    for name, value in (("actions", actions), ("observation", observation)):
        if value is not None:
            raise DatasetError(f"{name}={value!r}: is for a path; give it to read_transitions")
    return data


def _impossible(contradiction: NoWellTrainedModelError, alternatives: Sequence[str] = ()) -> str:
    """Say that no well-trained model exists, and what else could be watched."""
    instead = f"another p, such as {', '.join(alternatives)}" if alternatives else "another p"
    return f"no well-trained model exists: {contradiction}; choose {instead}, or identity='occurrence'"


def _nothing_to_watch(report: Related, given: TransitionDataset) -> str:
    """Say that p is constant, and what to do."""
    rows, known = len(report.data), int(stored_values(report.data).known.sum())
    part = f" of the first {rows:,} transitions" if rows < len(given) else ""
    more = "watch more transitions, or " if part else ""
    return (
        f"p ({report.auxiliary}) is constant on the {known:,} observations{part} where it is known, so no pair is "
        f"distinguished and there is nothing to watch; {more}choose another p: {', '.join(offered(given))}"
    )


def _tolerance(relation: Relation) -> Tolerance:
    """Return the default thresholds, with fewer pairs of each level where there are many."""
    share = PAIRS_OF_ALL_LEVELS // len(relation.distinguished_pairs_per_level)
    return Tolerance(sample=max(FEWEST_PAIRS, min(PAIRS, share)))
