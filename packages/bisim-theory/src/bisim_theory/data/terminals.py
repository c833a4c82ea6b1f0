"""Terminal observations: leaves, or absorbing states of the episodic process."""

from dataclasses import dataclass, replace

import numpy as np

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset


@dataclass(frozen=True)
class Terminals:
    """Count the observations that end an episode, and what became of them.

    Attributes:
        absorbing: number of terminated observations that are never sources, each given a row to itself for every
            action of the data.
        rows: number of these rows.
        sources: number of terminated observations that are sources too, and keep their rows.
    """

    absorbing: int
    rows: int
    sources: int


def ended(data: TransitionDataset) -> Ids:
    """Return the ids of the observations that ended an episode: terminated, not truncated; none where unsaid."""
    if data.terminated is None:
        return np.empty(0, np.int64)
    rows = data.terminated if data.truncated is None else data.terminated & ~data.truncated
    return np.unique(data.successor[rows])


def absorb(data: TransitionDataset) -> tuple[TransitionDataset, Terminals]:
    """Give every terminated observation that is never a source a row to itself for every action of the data.

    The classes of the episodic process come out then. It is an assumption: the data does not say what follows a
    terminal. A truncated episode goes on, so its last observation stays as it is. The new rows come last and have no
    reward; columns that have no value for them are left out.

    Raises:
        DatasetError: the data does not say which steps terminated.
    """
    if data.terminated is None:
        raise DatasetError("terminated: is not in this dataset, and --terminal absorb needs it; use --terminal leaf")
    terminal = ended(data)
    acted = np.isin(terminal, data.source)
    absorbing, actions = terminal[~acted], np.unique(data.action)
    itself, action = np.repeat(absorbing, len(actions)), np.tile(actions, len(absorbing))
    found = Terminals(len(absorbing), len(itself), int(acted.sum()))
    if not len(itself):
        return data, found
    absorbed = replace(
        data,
        source=np.concatenate([data.source, itself]),
        action=np.concatenate([data.action, action]),
        successor=np.concatenate([data.successor, itself]),
        auxiliary=None,
        action_value=None,
        reward=None,
        terminated=None,
        truncated=None,
        episode=None,
        size=data.frames,
    )
    return absorbed, found
