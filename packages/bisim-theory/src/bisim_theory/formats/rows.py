"""Conversion of rows, one for each frame and the action taken from it, into transitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Frames, Ids, TransitionDataset
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.convention import with_evidence
from bisim_theory.formats.episodes import assemble, describe, steps_within


@dataclass(frozen=True)
class Rows:
    """A file of F rows in which the next row of an episode is the successor.

    Attributes:
        what: the name of the file, for messages.
        format: name of the format.
        convention: a sentence that says what a row is.
        offsets: (E,) first row of each episode.
        lengths: (E,) number of its rows.
        action: (F,) or (F, A) action taken from the frame; that of an episode's last row is not used.
        rewards_lead_out: True where reward and ends of a row are of the step out of it, False where of that into it.
        observation: (F, ...), optional.
        compared: (F, ...) what stands for the observations where the rewards are tested; None takes `observation`.
        reward: (F,), optional.
        ends: name -> (F,) bool of `terminated` and `truncated`, where the file has them.
        columns: name -> (F, ...) of further columns, which become labels where they can.
        left_out: sentences that say what of the file is not read.
        metadata: further entries.
    """

    what: str
    format: str
    convention: str
    offsets: Ids
    lengths: Ids
    action: NDArray[Any]
    rewards_lead_out: bool
    observation: Frames | None = None
    compared: Frames | None = None
    reward: NDArray[Any] | None = None
    ends: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_transitions(self, actions: str | None) -> TransitionDataset:
        """Make transitions of all rows but the last of each episode.

        Args:
            actions: the abstraction of continuous actions, or None.

        Raises:
            DatasetError: no episode has two rows, or the columns are inconsistent.
        """
        source, episode = steps_within(self.offsets, self.lengths)
        if len(source) == 0:
            raise DatasetError(f"{self.what}: no episode has two frames, so there are no transitions")
        try:
            code, value = encode_actions(self.action[source], actions)
        except DatasetError as error:
            raise DatasetError(f"{self.what}: {error}") from None
        step = source if self.rewards_lead_out else source + 1
        compared = self.observation if self.compared is None else self.compared
        convention = with_evidence(self.convention, compared, code, self.reward, source, self.rewards_lead_out)
        dangling = int((self.lengths > 0).sum()) if self.rewards_lead_out else 0
        more = {"left_out": list(self.left_out), "steps_without_successor": dangling, **self.metadata}
        return assemble(
            self.what,
            self.columns,
            describe(self.format, convention, actions, **more),
            source=source,
            action=code,
            successor=source + 1,
            observation=self.observation,
            action_value=value,
            reward=None if self.reward is None else self.reward[step],
            episode=episode,
            size=len(self.action),
            **{name: column[step] for name, column in self.ends.items()},
        )
