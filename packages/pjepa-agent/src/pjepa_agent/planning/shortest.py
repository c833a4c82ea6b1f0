"""Fewest steps between observations, by breadth-first search in transitions."""

from typing import Any

import numpy as np
from bisim_theory import TransitionDataset
from numpy.typing import NDArray

FROM_DATA = "shortest paths in the run's transitions"

UNKNOWN = -1


class ShortestPaths:
    """Count the fewest steps to a goal that the transitions of a run know, observations told apart by content.

    Nothing is known where one observation and action have several successors: a shortest path may then be luck.

    Args:
        data: transitions with observations, or None.
    """

    def __init__(self, data: TransitionDataset | None) -> None:
        self.said: str | None = None
        self._steps: NDArray[np.int64] | None = None
        if data is None or data.observation is None:
            return
        ids = data.content_ids()
        self._source, self._successor = ids[data.source], ids[data.successor]
        if _is_deterministic(self._source, data.action, self._successor):
            self.said, self._frames = FROM_DATA, data.frames
            frames: Any = data.observation
            self._id = {np.asarray(frames[each]).tobytes(): int(each) for each in np.unique(ids)}

    def to_rows(self, rows: NDArray[np.bool_]) -> None:
        """Set the goal: to have taken one of some transitions (N,)."""
        if self.said is not None:
            self._search(np.unique(self._source[rows]), 1)

    def to_observation(self, observation: NDArray[Any]) -> None:
        """Set the goal: an observation."""
        if self.said is not None:
            known = self._id.get(np.ascontiguousarray(observation).tobytes())
            self._search(np.array([] if known is None else [known], np.int64), 0)

    def steps(self, observation: NDArray[Any]) -> int | None:
        """Return the fewest steps from an observation to the goal; None where the transitions know no way."""
        if self._steps is None:
            return None
        known = self._id.get(np.ascontiguousarray(observation).tobytes())
        steps = UNKNOWN if known is None else int(self._steps[known])
        return None if steps == UNKNOWN else steps

    def _search(self, reached: NDArray[np.int64], first: int) -> None:
        steps = np.full(self._frames, UNKNOWN)
        steps[reached] = first
        while len(reached):
            first += 1
            before = self._source[steps[self._successor] == first - 1]
            reached = np.unique(before[steps[before] == UNKNOWN])
            steps[reached] = first
        self._steps = steps


def _is_deterministic(source: NDArray[Any], action: NDArray[Any], successor: NDArray[Any]) -> bool:
    rows = np.unique(np.stack([source, action, successor], 1), axis=0)
    return len(np.unique(rows[:, :2], axis=0)) == len(rows)
