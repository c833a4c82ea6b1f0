"""Check Theorem 3 on held-out transitions while a model trains, and write a run's representation."""

import functools
import math
from typing import Any

import numpy as np
from bisim_theory import (
    DatasetError,
    Relation,
    Representation,
    Tolerance,
    TransitionDataset,
    check_theorem,
    empirical_bisimulation,
    write_representation,
)
from bisim_theory.monitor.measures import theorem_numbers
from numpy.typing import NDArray

from pjepa_agent.model import PJEPA
from pjepa_agent.runs.directory import RunDirectory

LEVELS_MEASURED = 5
"""Levels of R_D* that are measured, as many as the paper's world has with a target of 4."""

PAIRS = 2_000
"""Largest number of pairs of a level that are all compared; of more, a fixed uniform sample is compared."""


class HeldOutTransitions:
    """Measure models on held-out transitions and the relation over them.

    Args:
        data: transitions with images, action values, p and the label ``count``.
    """

    def __init__(self, data: TransitionDataset) -> None:
        self.data = data
        source = data.labels["count"][data.source]
        self._weights = 1 / np.bincount(source)[source]
        self._weights /= self._weights.sum()

    @functools.cached_property
    def relation(self) -> Relation:
        """Compute R_D* over the transitions, once, since it does not depend on the model."""
        return empirical_bisimulation(self.data)

    def measure(self, model: PJEPA) -> dict[str, float]:
        """Return metrics by name; NaN where a level does not occur or the embeddings are not finite.

        ``eval/transition_error`` is that of `transition_error`. ``theorem/certified_share`` is the share of pairs of
        different counts that the data certifies, the same at every update. ``theorem/collapsed_pairs`` is the number of
        distinguished pairs that are collapsed. ``theorem/separation_L``, ``theorem/residual_ratio_L`` and
        ``theorem/explained_share_L`` of level L are those of `bisim_theory.theorem.check.LevelCheck`, separated from
        pairs of equal count.
        """
        share = self.relation.certified_share(self.data.labels["count"])
        row = {"eval/transition_error": math.nan, "theorem/certified_share": math.nan if share is None else share}
        row["theorem/collapsed_pairs"] = math.nan
        names = ("separation", "residual_ratio", "explained_share")
        row |= {f"theorem/{name}_{level}": math.nan for name in names for level in range(1, LEVELS_MEASURED + 1)}
        try:
            representation = represent(self.data, model)
        except DatasetError:  # embeddings are not finite, which training reports itself
            return row
        row["eval/transition_error"] = self.transition_error(representation)
        counts = self.data.labels["count"]
        check = check_theorem(self.relation, representation, Tolerance(sample=PAIRS), counts, witnesses=False)
        numbers = theorem_numbers(check, LEVELS_MEASURED)
        return row | {name: value for name, value in numbers.items() if name in row}

    def transition_error(self, representation: Representation) -> float:
        """Return L_dyn relative to scale: the mean of ||T(E(o), a) - E(o')||^2 over the variance of E(o').

        It is 1 where T always predicts the mean embedding. Shrinking the representation lowers L_dyn but not this
        ratio. All counts of sources are weighted equally. It is NaN if all embeddings coincide.
        """
        reached = representation.embedding[self.data.successor].astype(np.float64)
        reached -= reached[0]  # exactly 0 if all coincide
        centre = self._weights @ reached
        predicted = representation.predicted_embedding.astype(np.float64)
        error = self._mean(np.square(predicted - representation.embedding[self.data.successor]).sum(1))
        variance = self._mean(np.square(reached - centre).sum(1))
        return error / variance if variance > 0 else math.nan

    def _mean(self, values: NDArray[Any]) -> float:
        """Return the weighted mean of a value per transition."""
        return float(self._weights @ values)


def represent(data: TransitionDataset, model: PJEPA) -> Representation:
    """Apply E, T and P of a model to transitions with images and action values.

    Raises:
        DatasetError: something of it is not finite.
    """
    return Representation.of(data, *model.as_arrays())


def write_run_representation(run: RunDirectory, data: TransitionDataset, model: PJEPA) -> None:
    """Apply E, T and P of a model to the run's transitions and write its ``representation.npz``."""
    write_representation(run.representation, data, **model.as_arrays()._asdict())
