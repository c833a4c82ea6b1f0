"""Comparison of several auxiliary functions p on the same transitions, before any training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.auxiliary import Values, auxiliary_values, given_values, with_auxiliary
from bisim_theory.data.folding import NoWellTrainedModelError, fold
from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.compute import empirical_bisimulation
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded, embeddings_needed


@dataclass(frozen=True)
class Candidate:
    """The distinctions that one auxiliary function protects on a dataset.

    Attributes:
        name: its name.
        behaviours: number of different observed behaviours.
        classes: number of classes of B_D*; None where it is not transitive, or where that is not decided.
        embeddings: number of distinct embeddings that a well-trained model needs.
        pairs_per_level: number of distinguished pairs at level 1, 2, ...
        certified_share: distinguished share of the pairs of sources with different labels; None without labels.
        within_label: number of distinguished pairs with equal labels; None without labels.
        exact: False where numbers of pairs are estimates from a sample.
        contradiction: why no well-trained model exists, else None; the other fields but `name` are then empty.
    """

    name: str
    behaviours: int | None = None
    classes: int | None = None
    embeddings: EmbeddingsNeeded | None = None
    pairs_per_level: Sequence[int] = ()
    certified_share: float | None = None
    within_label: int | None = None
    exact: bool = True
    contradiction: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Candidates on the same transitions of a dataset, those at which every candidate is known.

    Attributes:
        candidates: in the order given.
        transitions, sources: how many were used.
        left_out: number of transitions at which some candidate is unknown.
    """

    candidates: list[Candidate]
    transitions: int
    left_out: int
    sources: int

    @property
    def pairs(self) -> int:
        """Number of unordered pairs of sources."""
        return self.sources * (self.sources - 1) // 2


def compare(
    data: TransitionDataset,
    candidates: str | Sequence[str] | Mapping[str, ArrayLike | Values],
    labels: NDArray[Any] | None = None,
    folding: bool = False,
    progress: ProgressCallback = silent,
) -> Comparison:
    """Compute what each of several auxiliary functions would protect.

    Args:
        data: transitions; `auxiliary` is not needed.
        candidates: names (see `bisim_theory.data.auxiliary.NAMES`) as a list or separated by commas; or a mapping from
            names to `Values` or to arrays of one row for each transition (p of its source) or each observation. Where
            there are as many transitions as observations, rows are those of transitions.
        labels: (F,) the ground truth of the certified share.
        folding: whether to merge the successors of one (observation, action) first.
        progress: called with the number of candidates done.

    Raises:
        DatasetError: the dataset offers no such candidate, or transitions are not deterministic and `folding` is off.
    """
    if isinstance(candidates, str):
        candidates = candidates.split(",")
    if isinstance(candidates, Mapping):
        values = {
            name: each if isinstance(each, Values) else given_values(data, name, each)
            for name, each in candidates.items()
        }
    else:
        values = {name: auxiliary_values(data, name) for name in candidates}
    if not values:
        raise DatasetError("compare: names no auxiliary function; give one or more, as in reward,count")
    known: NDArray[np.bool_] = np.logical_and.reduce([each.known for each in values.values()])
    found = []
    for done, (name, each) in enumerate(values.items()):
        progress(done, len(values))
        found.append(_candidate(data, name, each, known, labels, folding))
    sources = len(np.unique(data.source[known]))
    return Comparison(found, int(known.sum()), int((~known).sum()), sources)


def _candidate(
    data: TransitionDataset,
    name: str,
    values: Values,
    rows: NDArray[np.bool_],
    labels: NDArray[Any] | None,
    folding: bool,
) -> Candidate:
    with_p = with_auxiliary(data, values, name, rows)
    try:
        relation = empirical_bisimulation(with_p, fold(with_p) if folding else None)
    except NoWellTrainedModelError as error:
        return Candidate(name, contradiction=str(error))
    return Candidate(
        name,
        behaviours=relation.behaviour.classes,
        classes=relation.bisimulation_classes,
        embeddings=embeddings_needed(relation, labels),
        pairs_per_level=relation.distinguished_pairs_per_level,
        certified_share=None if labels is None else relation.certified_share(labels),
        within_label=None if labels is None else relation.distinguished_within_label(labels),
        exact=relation.exact,
    )
