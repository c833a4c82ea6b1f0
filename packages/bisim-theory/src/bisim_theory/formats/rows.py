"""Conversion of rows, one for each frame and the action taken from it, into transitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary_names import REWARDS
from bisim_theory.data.transitions import DatasetError, Frames, Ids, TransitionDataset, usable
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.columns import Column
from bisim_theory.formats.convention import MOST_ROWS, with_evidence
from bisim_theory.formats.episodes import assemble, describe, find_successors, steps_between
from bisim_theory.formats.frames import JoinedFrames, LazyFrames, PickedFrames


@dataclass(frozen=True)
class Rows:
    """A file of F rows, in which the next row of an episode is the successor.

    Columns are arrays in memory, or are read in pieces.

    Attributes:
        what: the name of the file, for messages.
        format: name of the format.
        convention: a sentence that says what a row is.
        offsets: (E,) first row of each episode, ascending.
        lengths: (E,) number of its rows.
        action: (F,) or (F, A) action taken from the frame.
        rewards_lead_out: True where reward and ends of a row are of the step out of it, False where of that into it.
        rewards_tested: whether the convention says what the data tell of that.
        last_row_is_step: whether an action was taken from the last row of an episode.
        observation: (F, ...), optional.
        compared: (F, ...) what stands for the observations where the rewards are tested; None takes `observation`.
        following: (F, ...) frame that the step out of each row led to, where the file has it. The episodes are then all
            rows in order, and rewards lead out.
        unstored: (M,) rows, ascending, of which what stands in `following` is not the successor, such as the next
            episode's first frame. These rows make no transitions.
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
    action: Column
    rewards_lead_out: bool = True
    rewards_tested: bool = True
    last_row_is_step: bool = True
    observation: Frames | None = None
    compared: Frames | None = None
    following: LazyFrames | NDArray[Any] | None = None
    unstored: Ids | None = None
    reward: Column | None = None
    ends: Mapping[str, Column] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    columns_after: Mapping[str, Column] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Return F."""
        return int(self.action.shape[0])

    @property
    def dangling(self) -> int:
        """Return the number of steps whose successor is not stored."""
        if self.following is not None:
            return 0 if self.unstored is None else len(self.unstored)
        return int((self.lengths > 0).sum()) if self.last_row_is_step else 0

    def sources(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Return the rows of a range that make transitions, and their episodes."""
        if self.following is None:
            return steps_between(self.offsets, self.lengths, start, stop)
        rows = np.arange(start, stop)
        if self.unstored is not None:
            rows = rows[~np.isin(rows, self.unstored)]
        return rows, np.searchsorted(self.offsets, rows, "right") - 1

    def next_rows(self, start: int, stop: int) -> Ids:
        """Return the row that follows each row of a range in its episode, -1 where none does."""
        found = np.full(stop - start, -1)
        followed = steps_between(self.offsets, self.lengths, start, stop)[0]
        found[followed - start] = followed + 1
        return found

    def steps(self, source: Ids) -> Ids:
        """Return the rows that hold reward and ends of the steps out of some rows."""
        return source if self.rewards_lead_out else source + 1

    def to_transitions(self, actions: str | None) -> TransitionDataset:
        """Make a transition of every row whose successor is stored.

        Args:
            actions: the abstraction of continuous actions, or None.

        Raises:
            DatasetError: there is none, or the columns are inconsistent.
        """
        source, episode = self.sources(0, self.count)
        self.require(len(source))
        try:
            code, value, meaning = encode_actions(self.action[:][source], actions)
        except DatasetError as error:
            raise DatasetError(f"{self.what}: {error}") from None
        successor, own = self._successors(source)
        known = self.known_labels(len(own))
        labels = {name: self._label(name, own) for name in known}
        reward, unusable = self._rewards(self.steps(source))
        said = self.describe(code, len(source), len(own), actions, meaning, unusable)
        return assemble(
            self.what,
            labels,
            said,
            source=source,
            action=code,
            successor=successor,
            observation=self._frames(own),
            action_value=value,
            reward=reward,
            episode=episode,
            size=self.count + len(own),
            **{name: column[:][self.steps(source)] for name, column in self.ends.items()},
        )

    def require(self, transitions: int) -> None:
        """Raise `DatasetError` where there are no transitions."""
        if transitions == 0:
            raise DatasetError(f"{self.what}: no episode has two frames, so there are no transitions")

    def describe(
        self,
        code: Ids,
        transitions: int,
        own: int,
        actions: str | None,
        meaning: dict[str, Any] | None,
        unusable: Sequence[str],
    ) -> dict[str, Any]:
        """Return the metadata of the transitions.

        Args:
            code: codes of the actions, at least of the first `MOST_ROWS` transitions.
            transitions: N.
            own: number of successors that are no row.
            actions: the abstraction of continuous actions, or None.
            meaning: what the codes mean.
            unusable: sentences about rewards that are left out.
        """
        known = self.known_labels(own)
        unknown = ", ".join(name for name in self.columns if name not in known)
        left_out = [
            *self.left_out,
            *([f"{unknown}, unknown of {own:,} successors"] if unknown else []),
            *unusable,
        ]
        more = {"left_out": left_out, "steps_without_successor": self.dangling, **self.metadata}
        said = self._convention(code, transitions, own)
        return describe(self.format, said, actions, action_codes=meaning, **more)

    def known_labels(self, own: int) -> list[str]:
        """Return the names of the columns that are known of every frame, where `own` successors are no row."""
        return [name for name in self.columns if own == 0 or name in self.columns_after]

    def _label(self, name: str, own: Ids) -> NDArray[Any]:
        column = np.asarray(self.columns[name][:])
        if len(own) == 0:
            return column
        return np.concatenate([column, np.asarray(self.columns_after[name][:])[own]])

    def _rewards(self, step: Ids) -> tuple[NDArray[Any] | None, list[str]]:
        """Return the rewards of the steps, or a sentence that says why they are left out; another p needs none."""
        if self.reward is None:
            return None, []
        reward = self.reward[:][step]
        wrong = first_unusable(reward)
        return (reward, []) if wrong is None else (None, [unusable_reward(int(step[wrong]))])

    def _successors(self, source: Ids) -> tuple[Ids, Ids]:
        """Return the ids of the successors, and the rows whose successor has an id of its own."""
        if self.following is None:
            return source + 1, np.empty(0, np.int64)
        assert self.observation is not None
        successor, own = find_successors(self.observation, self.following, self.next_rows(0, self.count))
        own = own[np.isin(own, source)]
        successor[own] = self.count + np.arange(len(own))
        return successor[source], own

    def _convention(self, code: Ids, transitions: int, own: int) -> str:
        said = self.convention
        if self.rewards_tested:
            first = min(self.count, MOST_ROWS)
            source, _ = self.sources(0, first)
            tested = np.isin(source, steps_between(self.offsets, self.lengths, 0, first)[0])
            compared = self.observation if self.compared is None else self.compared
            reward = None if self.reward is None else np.asarray(self.reward[:MOST_ROWS])
            of_first = code[: len(source)][tested]
            said = with_evidence(said, compared, of_first, reward, source[tested], self.rewards_lead_out)
        if self.following is None:
            return said
        return f"{said}; {transitions - own:,} of {transitions:,} successors are the frame of the next row, equal to it"

    def _frames(self, own: Ids) -> Frames | None:
        if len(own) == 0 or self.following is None or self.observation is None:
            return self.observation
        if isinstance(self.following, np.ndarray):
            return np.concatenate([self.observation[:], self.following[own]])
        return JoinedFrames([self.observation, PickedFrames(self.following, own)])


def first_unusable(reward: NDArray[Any]) -> int | None:
    """Return the first row of rewards that is not finite, or beyond what is usable; None if there is none."""
    good = usable(reward)
    wrong = np.flatnonzero(~good.all(tuple(range(1, good.ndim))))
    return int(wrong[0]) if len(wrong) else None


def unusable_reward(row: int) -> str:
    """Return the sentence that says why rewards are left out."""
    return f"{REWARDS}, of which that of row {row} is not finite, or beyond what is usable"
