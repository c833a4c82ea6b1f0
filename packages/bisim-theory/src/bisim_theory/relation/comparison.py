"""Which auxiliary to choose: several candidates p on the same transitions, before any training."""

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
    """What one auxiliary function protects on a dataset.

    Attributes:
        name: its name.
        behaviours: different observed behaviours.
        classes: classes of B_D*, None where it is not transitive.
        embeddings: how many distinct embeddings a well-trained model needs.
        pairs_per_level: distinguished pairs by level.
        certified_share: of the pairs of sources with different labels; None without labels.
        within_label: distinguished pairs with equal labels, None without labels.
        exact: False where pairs are estimates from a sample.
        impossible: why no well-trained model exists, else None; the other fields but `name` are then empty.
    """

    name: str
    behaviours: int | None = None
    classes: int | None = None
    embeddings: EmbeddingsNeeded | None = None
    pairs_per_level: Sequence[int] = ()
    certified_share: float | None = None
    within_label: int | None = None
    exact: bool = True
    impossible: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Candidates on the same rows of a dataset, those of which every candidate is known.

    Attributes:
        candidates: in the order they were asked for.
        transitions, sources: how many were used.
        left_out: transitions of which some candidate is not known.
        pairs: unordered pairs of sources.
    """

    candidates: list[Candidate]
    transitions: int
    left_out: int
    sources: int

    @property
    def pairs(self) -> int:
        """Unordered pairs of sources."""
        return self.sources * (self.sources - 1) // 2


def compare(
    data: TransitionDataset,
    candidates: str | Sequence[str] | Mapping[str, ArrayLike | Values],
    labels: NDArray[Any] | None = None,
    folding: bool = False,
    progress: ProgressCallback = silent,
) -> Comparison:
    """Compute side by side what several auxiliary functions would protect.

    Args:
        data: transitions; `auxiliary` is not needed.
        candidates: names (see `NAMES` of `bisim_theory.data.auxiliary`), separated by commas or as a list; or by name
            arrays of one row for each transition (p of its source) or for each observation, or `Values`.
            Where there are as many transitions as observations, a row is taken to be a transition's.
        labels: (F,) the ground truth of the certified share.
        folding: whether to merge the successors of one (observation, action) first.
        progress: told how many candidates are done.

    Raises:
        DatasetError: a candidate is not to be had, or transitions are not deterministic and `folding` is off.
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
        raise DatasetError("compare: names no candidate")
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
        return Candidate(name, impossible=str(error))
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
