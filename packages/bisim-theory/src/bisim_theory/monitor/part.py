"""The part of a dataset that a monitor watches."""

from dataclasses import dataclass

import numpy as np

from bisim_theory.data.auxiliary import stored_values, with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values
from bisim_theory.data.identity import choose_identity, describe_content
from bisim_theory.data.parts import first_episodes, take_frames, take_rows
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset

TRANSITIONS = 5_000
"""Default of the most transitions that are watched."""


@dataclass(frozen=True, eq=False)
class Part:
    """The transitions that are watched.

    Attributes:
        data: the transitions, with the frames that they need.
        numbers: (F,) number of each of its observations in the whole data.
        identity: how observations are told apart.
        auxiliary: name of p, None where it is stored.
    """

    data: TransitionDataset
    numbers: Ids
    identity: str
    auxiliary: str | None


def first_part(
    data: TransitionDataset, auxiliary: str | None, identity: str, folding: bool, transitions: int | None
) -> Part:
    """Keep the first whole episodes with at most so many transitions; of a longer first one, its first transitions.

    p and identity are those of the whole data, so that bins have the edges that the training has.

    Args:
        data: the whole data.
        auxiliary: name of p; None takes the stored one.
        identity: as in `bisim_theory.analyse`.
        folding: as there.
        transitions: at least 1; None keeps all.

    Raises:
        DatasetError: an argument does not fit the data.
        NoWellTrainedModelError: one observation has two values of p.
    """
    if transitions is not None and transitions < 1:
        raise DatasetError(f"transitions={transitions}: must be at least 1, or None for all of them")
    if transitions is None or len(data) <= transitions:
        return Part(data, np.arange(data.frames), identity, auxiliary)
    content = None if identity == "occurrence" else describe_content(data, None)
    identity = choose_identity(data, identity, folding, content)
    ids = content.ids if content is not None and identity == "content" else None
    p = stored_values(data, ids) if auxiliary is None else auxiliary_values(data, auxiliary, ids)
    kept = first_episodes(with_auxiliary(data, p, auxiliary), transitions)
    kept = kept if len(kept) <= transitions else take_rows(kept, np.arange(transitions))
    return Part(take_frames(kept), np.unique(np.concatenate([kept.source, kept.successor])), identity, None)
