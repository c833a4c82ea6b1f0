"""Which observations are one: those of one id, or those of equal content."""

from dataclasses import dataclass, replace

import numpy as np

from bisim_theory.data.auxiliary import stored_values, with_auxiliary
from bisim_theory.data.folding import Conflicts, find_conflicts
from bisim_theory.data.labels import label_values
from bisim_theory.data.transitions import LOSSY_CONTENT, DatasetError, Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent

IDENTITIES = ("auto", "occurrence", "content")


@dataclass(frozen=True, eq=False)
class ContentNote:
    """Describe how joining observations of equal content changes the data.

    Attributes:
        ids: (F,) ids in which observations of equal content have the same id.
        coinciding: number of observations whose content equals that of an earlier one.
        found: the conflicts after joining.
        other_label: number of sources whose content equals that of an earlier observation with another label.
    """

    ids: Ids
    coinciding: int
    found: Conflicts
    other_label: int

    @property
    def conflicts(self) -> int:
        """Number of (observation, action) pairs with several successors after joining."""
        return len(self.found)

    @property
    def repeated(self) -> int:
        """Number of (observation, action) pairs observed more than once after joining; 0 tests no determinism."""
        return self.found.repeated


def identify_by_content(data: TransitionDataset, ids: Ids | None = None) -> TransitionDataset:
    """Give observations with equal content one id, that of the first of them, and one p.

    Args:
        data: transitions with observations.
        ids: `data.content_ids()`, if it was computed before.

    Raises:
        DatasetError: the dataset has no observations.
        NoWellTrainedModelError: observations of equal content have different stored p.
    """
    ids = data.content_ids() if ids is None else ids
    joined = join(data, ids)
    if data.auxiliary is None and data.observation_auxiliary is None:
        return joined
    return with_auxiliary(joined, stored_values(data, ids))


def join(data: TransitionDataset, ids: Ids | None) -> TransitionDataset:
    """Replace ids of observations by those of `ids` (F,), if given; leave p out, which may then be ambiguous."""
    return replace(
        data,
        source=data.source if ids is None else ids[data.source],
        successor=data.successor if ids is None else ids[data.successor],
        auxiliary=None,
        observation_auxiliary=None,
        observation_auxiliary_known=None,
        size=data.frames,
    )


def describe_content(
    data: TransitionDataset, label: str | None, progress: ProgressCallback = silent
) -> ContentNote | None:
    """Compute which observations coincide, and what joining them changes; None where contents are not comparable."""
    if data.observation is None or data.lossy:
        return None
    ids = data.content_ids(progress)
    other = 0
    if label is not None:
        sources, labels = np.unique(data.source), label_values(data, label)
        other = int((labels[sources] != labels[ids[sources]]).sum())
    found = find_conflicts(join(data, ids))
    return ContentNote(ids, int((ids != np.arange(len(ids))).sum()), found, other)


def choose_identity(data: TransitionDataset, identity: str, folding: bool, content: ContentNote | None) -> str:
    """Return ``"occurrence"`` or ``"content"``.

    ``"auto"`` takes the content, unless one (observation, action) then has several successors that are not folded: a
    model maps images, so equal ones have one embedding.

    Raises:
        DatasetError: `identity` is unknown, or asks for a content that the dataset does not have.
    """
    if identity not in IDENTITIES:
        raise DatasetError(f"identity={identity!r}: must be {', '.join(IDENTITIES[:-1])} or {IDENTITIES[-1]}")
    if identity == "content" and data.lossy:
        raise DatasetError(LOSSY_CONTENT)
    if identity == "content" and content is None:
        raise DatasetError("observation: is needed for --identity content, and this dataset has none")
    if identity != "auto":
        return identity
    return "content" if content is not None and (folding or not content.conflicts) else "occurrence"
