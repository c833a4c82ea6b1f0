"""Comparison of several auxiliary functions p on the same transitions, before any training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.auxiliary import Values, given_values, with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values
from bisim_theory.data.auxiliary_names import split_names
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import fold
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
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
        pairs: number of unordered pairs of observations, sources and leaves.
        leaves: number of observations that are never sources and of known p.
        certified_share: distinguished share of the pairs with different labels; None without labels.
        within_label: number of distinguished pairs with equal labels; None without labels.
        floor: their share of the pairs with equal labels; None without such pairs.
        exact: False where numbers of pairs are estimates from a sample.
        contradiction: why no well-trained model exists, else None; the other fields but `name` are then empty.
    """

    name: str
    behaviours: int | None = None
    classes: int | None = None
    embeddings: EmbeddingsNeeded | None = None
    pairs_per_level: Sequence[int] = ()
    pairs: int = 0
    leaves: int = 0
    certified_share: float | None = None
    within_label: int | None = None
    floor: float | None = None
    exact: bool = True
    contradiction: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Candidates on the same transitions of a dataset: all of them.

    Attributes:
        candidates: in the order given.
        transitions, sources: how many there are.
    """

    candidates: list[Candidate]
    transitions: int
    sources: int

    @property
    def left_out(self) -> int:
        """Number of transitions that were not used: none, as an unknown p is no reason to leave one out."""
        return 0


def compare(
    data: TransitionDataset,
    candidates: str | Sequence[str] | Mapping[str, ArrayLike | Values | NoWellTrainedModelError],
    labels: NDArray[Any] | None = None,
    folding: bool = False,
    progress: ProgressCallback = silent,
) -> Comparison:
    """Compute what each of several auxiliary functions would protect.

    Args:
        data: transitions; `auxiliary` is not needed.
        candidates: names, as of `bisim_theory.auxiliary_values`, as a list or separated by commas; or a mapping from
            names to `Values`, to the reason why there are none, or to arrays of one row for each transition (p of its
            source) or each observation. Where there are as many transitions as observations, rows are those of
            transitions.
        labels: (F,) the ground truth of the certified share.
        folding: whether to merge the successors of one (observation, action) first.
        progress: called with the number of candidates done.

    Raises:
        DatasetError: the dataset offers no such candidate, or transitions are not deterministic and `folding` is off.
    """
    if isinstance(candidates, str):
        candidates = split_names(candidates, data.labels)
    if not isinstance(candidates, Mapping):
        candidates = values_of(data, candidates)
    if not candidates:
        raise DatasetError("compare: names no auxiliary function; give one or more, as in reward,count")
    found = []
    for done, (name, given) in enumerate(candidates.items()):
        progress(done, len(candidates))
        found.append(_candidate(data, name, given, labels, folding))
    return Comparison(found, len(data), len(np.unique(data.source)))


def values_of(
    data: TransitionDataset, names: Sequence[str], ids: Ids | None = None
) -> dict[str, Values | NoWellTrainedModelError]:
    """Compute auxiliary functions by name, or the reason why one is no function of the observation.

    Args:
        data: transitions, before equal observations are joined.
        names: as for `bisim_theory.auxiliary_values`.
        ids: (F,) ids in which observations that are one have one id, or None.

    Raises:
        DatasetError: the dataset does not offer one of them.
    """
    found: dict[str, Values | NoWellTrainedModelError] = {}
    for name in names:
        try:
            found[name] = auxiliary_values(data, name, ids)
        except NoWellTrainedModelError as error:
            found[name] = error
    return found


def _candidate(
    data: TransitionDataset,
    name: str,
    given: ArrayLike | Values | NoWellTrainedModelError,
    labels: NDArray[Any] | None,
    folding: bool,
) -> Candidate:
    try:
        if isinstance(given, NoWellTrainedModelError):
            raise given
        values = given if isinstance(given, Values) else given_values(data, name, given)
        with_p = with_auxiliary(data, values, name)
        relation = empirical_bisimulation(with_p, fold(with_p) if folding else None)
    except NoWellTrainedModelError as error:
        return Candidate(name, contradiction=str(error))
    return Candidate(
        name,
        behaviours=relation.behaviour.classes,
        classes=relation.bisimulation_classes,
        embeddings=embeddings_needed(relation, labels),
        pairs_per_level=relation.distinguished_pairs_per_level,
        pairs=len(relation.observations) * (len(relation.observations) - 1) // 2,
        leaves=relation.leaves,
        certified_share=None if labels is None else relation.certified_share(labels),
        within_label=None if labels is None else relation.distinguished_within_label(labels),
        floor=None if labels is None else relation.floor(labels),
        exact=relation.exact,
    )
