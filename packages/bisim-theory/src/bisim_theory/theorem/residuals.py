"""Residuals of a model at every transition: how far it is from well-trained (equation 1)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.numbering import pair_key
from bisim_theory.data.representation import Representation
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.relation.base import Relation
from bisim_theory.relation.witness import first_step
from bisim_theory.theorem.nearest import Floats


class Residuals:
    """The residuals of a model on a dataset.

    Args:
        relation: R_D* over the dataset.
        representation: the model's embeddings and predictions on it.

    Attributes:
        e_d: (N,) `transition_residual`.
        e_p: (F,) `auxiliary_residual`.
        raw: (N,) e_d at the action that was done; None where `e_d` is that.
        abstraction: (N,) ||T(E(x), a) - T(E(x), canonical a)||, the error of treating all actions with one code alike;
            None where actions are their codes.
    """

    def __init__(self, relation: Relation, representation: Representation) -> None:
        self.relation, self.representation = relation, representation
        data = relation.data
        self.e_d = transition_residual(data, representation)
        self.e_p = auxiliary_residual(data, representation)
        self.raw: Floats | None = None
        self.abstraction: Floats | None = None
        canonical = representation.predicted_embedding_canonical
        if canonical is not None:
            self.raw = _lengths(representation.predicted_embedding, representation.embedding[data.successor])
            self.abstraction = _lengths(representation.predicted_embedding, canonical)

    def at_witness(self, x: Ids, y: Ids, level: int) -> Floats:
        """Compute (m,) e_d(x, a) + e_d(y, a) for pairs of a level above 1, where a is the first action of a witness."""
        relation, data, names = self.relation, self.relation.data, self.relation.representative
        pairs, which = np.unique(np.stack([relation.class_of(x), relation.class_of(y)], 1), axis=0, return_inverse=True)
        action = np.array([first_step(relation, a, b, level - 1)[0] for a, b in pairs.tolist()])[which.reshape(-1)]
        codes = relation.behaviour.actions
        # Folding may have joined several rows into one vertex and action: the largest of their residuals is taken.
        key = pair_key(names[data.source], np.searchsorted(codes, data.action), len(codes))
        known, of_row = np.unique(key, return_inverse=True)
        largest = np.zeros(len(known))
        np.maximum.at(largest, of_row, self.e_d)
        ends = [np.searchsorted(known, pair_key(names[end], action, len(codes))) for end in (x, y)]
        return np.asarray(largest[ends[0]] + largest[ends[1]])


def transition_residual(data: TransitionDataset, representation: Representation) -> Floats:
    """Compute (N,) e_d, the distances of the predicted from the true embeddings of the successors.

    The prediction is that at the canonical action of the code where the representation has it, since T(E(o), a) in
    Theorem 3 is one vector for all actions with one code.
    """
    canonical = representation.predicted_embedding_canonical
    predicted = representation.predicted_embedding if canonical is None else canonical
    return _lengths(predicted, representation.embedding[data.successor])


def auxiliary_residual(data: TransitionDataset, representation: Representation) -> Floats:
    """Compute (F,) e_p, the Euclidean distances of the predicted from the true p of the observations.

    NaN where p is unknown, and where the representation does not predict it, as of leaves if it predicts p of sources
    alone. Of several predictions for one source the worst counts.
    """
    values = stored_values(data)
    residual = np.full(data.frames, np.nan)
    if representation.predicted_observation_auxiliary is not None:
        of_observation = representation.predicted_observation_auxiliary
        known = np.flatnonzero(values.known)
        residual[known] = _lengths(_flat(of_observation[known]), _flat(values.value[known]))
    rows = np.flatnonzero(values.known[data.source])
    source = data.source[rows]
    of_row = _lengths(_flat(representation.predicted_auxiliary[rows]), _flat(values.value[source]))
    np.fmax.at(residual, source, of_row)
    return residual


def component_residual(data: TransitionDataset, representation: Representation, ids: Ids) -> Floats:
    """Compute (m, k) |P(E(o)) - p(o)| for each of k components of p, at observations of known and predicted p.

    Of several predictions for one observation the worst counts, component by component.

    Args:
        data: transitions.
        representation: a model's predictions on them.
        ids: (m,) ids of observations at which `auxiliary_residual` is a number, sorted, each once.
    """
    value = _flat(stored_values(data).value)[ids].astype(np.float64)
    residual = np.zeros(value.shape)
    if representation.predicted_observation_auxiliary is not None:
        residual = abs(_flat(representation.predicted_observation_auxiliary)[ids].astype(np.float64) - value)
    place = np.full(data.frames, -1)
    place[ids] = np.arange(len(ids))
    rows = np.flatnonzero(place[data.source] >= 0)
    of_row = place[data.source[rows]]
    predicted = _flat(representation.predicted_auxiliary)[rows].astype(np.float64)
    np.maximum.at(residual, of_row, abs(predicted - value[of_row]))
    return residual


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values), -1)


def _lengths(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    lengths = np.empty(len(a))
    for start in range(0, len(a), 16_384):  # pieces that stay in the cache
        rows = slice(start, start + 16_384)
        lengths[rows] = np.sqrt(np.square(a[rows].astype(np.float64) - b[rows]).sum(1))
    return lengths
