"""Conversion of rows, one for each frame and the action taken from it, into transitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Frames, Ids, TransitionDataset, usable
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.convention import with_evidence
from bisim_theory.formats.episodes import assemble, describe, find_successors, steps_within
from bisim_theory.formats.frames import JoinedFrames, LazyFrames, PickedFrames


@dataclass(frozen=True)
class Rows:
    """A file of F rows, in which the next row of an episode is the successor.

    Attributes:
        what: the name of the file, for messages.
        format: name of the format.
        convention: a sentence that says what a row is.
        offsets: (E,) first row of each episode.
        lengths: (E,) number of its rows.
        action: (F,) or (F, A) action taken from the frame.
        rewards_lead_out: True where reward and ends of a row are of the step out of it, False where of that into it.
        last_row_is_step: whether an action was taken from the last row of an episode.
        observation: (F, ...), optional.
        compared: (F, ...) what stands for the observations where the rewards are tested; None takes `observation`.
        following: (F, ...) frame that the step out of each row led to, where the file has it. The episodes are then all
            rows in order, and rewards lead out.
        unstored: (F,) True where what stands in `following` is not the successor, such as the next episode's first
            frame. These rows make no transitions.
        reward: (F,), optional.
        ends: name -> (F,) bool of `terminated` and `truncated`, where the file has them.
        columns: name -> (F, ...) of further columns, which become labels where they can.
        columns_after: name -> (F, ...) of those that are known of `following` too.
        left_out: sentences that say what of the file is not read.
        metadata: further entries.
    """

    what: str
    format: str
    convention: str
    offsets: Ids
    lengths: Ids
    action: NDArray[Any]
    rewards_lead_out: bool = True
    last_row_is_step: bool = True
    observation: Frames | None = None
    compared: Frames | None = None
    following: LazyFrames | NDArray[Any] | None = None
    unstored: NDArray[np.bool_] | None = None
    reward: NDArray[Any] | None = None
    ends: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    columns_after: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_transitions(self, actions: str | None) -> TransitionDataset:
        """Make a transition of every row whose successor is stored.

        Args:
            actions: the abstraction of continuous actions, or None.

        Raises:
            DatasetError: there is none, or the columns are inconsistent.
        """
        source, episode = steps_within(self.offsets, self.lengths)
        followed, dangling = source, int((self.lengths > 0).sum()) if self.last_row_is_step else 0
        if self.following is not None:
            unstored = np.zeros(len(self.action), bool) if self.unstored is None else self.unstored
            source, dangling = np.flatnonzero(~unstored), int(unstored.sum())
            episode = np.repeat(np.arange(len(self.lengths)), self.lengths)[source]
        if len(source) == 0:
            raise DatasetError(f"{self.what}: no episode has two frames, so there are no transitions")
        try:
            code, value, meaning = encode_actions(self.action[source], actions)
        except DatasetError as error:
            raise DatasetError(f"{self.what}: {error}") from None
        successor, own = self._successors(source, followed)
        labels, left_out = self._labels(own)
        step = source if self.rewards_lead_out else source + 1
        reward, unusable = self._rewards(step)
        said = self._convention(source, code, followed, len(own))
        more = {"left_out": [*left_out, *unusable], "steps_without_successor": dangling, **self.metadata}
        return assemble(
            self.what,
            labels,
            describe(self.format, said, actions, action_codes=meaning, **more),
            source=source,
            action=code,
            successor=successor,
            observation=self._frames(own),
            action_value=value,
            reward=reward,
            episode=episode,
            size=len(self.action) + len(own),
            **{name: column[step] for name, column in self.ends.items()},
        )

    def _rewards(self, step: Ids) -> tuple[NDArray[Any] | None, list[str]]:
        """Return the rewards of the steps, or a sentence that says why they are left out; another p needs none."""
        if self.reward is None:
            return None, []
        reward = self.reward[step]
        wrong = np.flatnonzero(~usable(reward).reshape(len(reward), -1).all(1))
        if not len(wrong):
            return reward, []
        return None, [f"the rewards, of which that of row {step[wrong[0]]} is not finite, or beyond what is usable"]

    def _successors(self, source: Ids, followed: Ids) -> tuple[Ids, Ids]:
        """Return the ids of the successors, and the rows whose successor has an id of its own."""
        if self.following is None:
            return source + 1, np.empty(0, np.int64)
        assert self.observation is not None
        next_row = np.full(len(self.action), -1)
        next_row[followed] = followed + 1
        successor, own = find_successors(self.observation, self.following, next_row)
        own = own[np.isin(own, source)]
        successor[own] = len(self.action) + np.arange(len(own))
        return successor[source], own

    def _convention(self, source: Ids, code: Ids, followed: Ids, own: int) -> str:
        compared = self.observation if self.compared is None else self.compared
        tested = np.isin(source, followed)
        said = with_evidence(
            self.convention, compared, code[tested], self.reward, source[tested], self.rewards_lead_out
        )
        if self.following is None:
            return said
        return f"{said}; {len(source) - own:,} of {len(source):,} successors are the frame of the next row, equal to it"

    def _labels(self, own: Ids) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """Return the columns that are known of every frame, and sentences that say what is left out."""
        if len(own) == 0:
            return dict(self.columns), list(self.left_out)
        labels = {
            name: np.concatenate([column, self.columns_after[name][own]])
            for name, column in self.columns.items()
            if name in self.columns_after
        }
        unknown = ", ".join(name for name in self.columns if name not in labels)
        return labels, [*self.left_out, *([f"{unknown}, unknown of {len(own):,} successors"] if unknown else [])]

    def _frames(self, own: Ids) -> Frames | None:
        if len(own) == 0 or self.following is None or self.observation is None:
            return self.observation
        if isinstance(self.following, np.ndarray):
            return np.concatenate([self.observation[:], self.following[own]])
        return JoinedFrames([self.observation, PickedFrames(self.following, own)])
