"""Theorem 3 on transitions that no update ever sees, while a model trains."""

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
from numpy.typing import NDArray

from pjepa_agent.model import PJEPA
from pjepa_agent.runs.directory import RunDirectory

LEVELS_MEASURED = 5
"""Levels of R_D* with metrics of their own: as many as the paper's world has with a target of 4."""

PAIRS = 2_000
"""Pairs of a level beyond which a uniform sample, always the same, stands for them."""


class HeldOutTransitions:
    """Held-out transitions, the relation over them, and how a model does on them.

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
        """R_D* over the transitions: it does not depend on the model."""
        return empirical_bisimulation(self.data)

    def measure(self, model: PJEPA) -> dict[str, float]:
        """Metrics by name: ``eval/transition_error``, and ``theorem/`` with the share of the pairs of different counts
        that the data certifies (of the data alone, so the same at every update), how many distinguished pairs are
        collapsed, and per level the separation from pairs of equal count and the residual ratio (see
        `bisim_theory.theorem.check.LevelCheck`); NaN where a level does not occur.
        """
        share = self.relation.certified_share(self.data.labels["count"])
        row = {"eval/transition_error": math.nan, "theorem/certified_share": math.nan if share is None else share}
        row["theorem/collapsed_pairs"] = math.nan
        names = ("separation", "residual_ratio")
        row |= {f"theorem/{name}_{level}": math.nan for name in names for level in range(1, LEVELS_MEASURED + 1)}
        try:
            representation = represent(self.data, model)
        except DatasetError:  # embeddings that are not finite: training will say so in its own words
            return row
        row["eval/transition_error"] = self.transition_error(representation)
        counts = self.data.labels["count"]
        check = check_theorem(self.relation, representation, Tolerance(sample=PAIRS), counts)
        row["theorem/collapsed_pairs"] = check.collapsed_pairs
        for level in check.levels[:LEVELS_MEASURED]:
            for name in names:
                value = getattr(level, name)
                row[f"theorem/{name}_{level.level}"] = math.nan if value is None else value
        return row

    def transition_error(self, representation: Representation) -> float:
        """L_dyn without its scale: mean ||T(E(o), a) - E(o')||^2 over the variance of E(o').

        1 is what always predicting the mean embedding has; a representation that shrinks lowers L_dyn and not this.
        Every count of the source has the same weight. NaN where all embeddings are one point.
        """
        reached = representation.embedding[self.data.successor].astype(np.float64)
        reached -= reached[0]  # so that the variance of one point is zero, and not a rounding error
        centre = self._weights @ reached
        predicted = representation.predicted_embedding.astype(np.float64)
        error = self._mean(np.square(predicted - representation.embedding[self.data.successor]).sum(1))
        variance = self._mean(np.square(reached - centre).sum(1))
        return error / variance if variance > 0 else math.nan

    def _mean(self, values: NDArray[Any]) -> float:
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
