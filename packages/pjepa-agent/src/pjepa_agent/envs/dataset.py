"""A dataset as a world: transitions of other people, in any format that bisim-check reads."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from bisim_theory import DatasetError, TransitionDataset, read_transitions
from bisim_theory.data.action_codes import ActionCodes
from bisim_theory.data.transitions import MOST_CHANNELS
from bisim_theory.formats.actions import CONTINUOUS

from pjepa_agent.config.schema import CollectionConfig, ObjectiveConfig
from pjepa_agent.envs.base import Collector, Function, Spec
from pjepa_agent.envs.splits import with_action_values
from pjepa_agent.envs.terminals import absorb_terminals

ROWS_ENOUGH = 64
"""Transitions among which there is more than one action."""


class DatasetDomain:
    """Transitions that were collected elsewhere. Nothing acts, so none are added while training.

    Args:
        config: the path of the dataset, how continuous actions become codes, and what follows a terminal.
        given: the transitions, in place of those at the path.
        codes: action codes that have a place in one-hot action values, in order; None takes those of the data.
    """

    def __init__(
        self, config: CollectionConfig, given: TransitionDataset | None = None, codes: Sequence[int] | None = None
    ) -> None:
        self.config, self._given, self._codes = config, given, codes
        self._name = config.dataset if given is None else "data"

    @functools.cached_property
    def data(self) -> TransitionDataset:
        """Read all transitions; frames stay in the file.

        Raises:
            DatasetError: the dataset cannot be read, or has no observations.
        """
        data = self.read() if self._given is None else self._given
        if len(data) >= ROWS_ENOUGH and (data.action == data.action[0]).all():
            raise DatasetError(
                f"{self._name}: action: all {len(data)} have the code {data.action[0]}, so that nothing can be learnt "
                "of actions; record several, or tell their values apart with collection.actions=bins:K"
            )
        if data.observation is None:
            raise DatasetError(f"{self._name}: observation: is missing, and an encoder needs observations")
        metadata = {**data.metadata, "dataset": self.config.dataset}
        return with_action_values(replace(data, metadata=metadata, size=data.frames), self._codes)

    @functools.cached_property
    def spec(self) -> Spec:
        """Return the shapes of observations and actions.

        Raises:
            DatasetError: no encoder takes such observations.
        """
        frames, values = self.data.observation, self.data.action_value
        assert frames is not None
        assert values is not None
        shape, kind = frames.shape[1:], frames.dtype
        image = len(shape) == 3 and kind == np.uint8 and shape[2] <= MOST_CHANNELS
        if not image and len(shape) != 1:
            raise DatasetError(
                f"{self._name}: observation: is {shape} {kind}; an encoder takes images (H, W, C) uint8 of at "
                f"most {MOST_CHANNELS} channels, or vectors (k,)"
            )
        bounds = None if "one_hot_codes" in self.data.metadata else (values.min(0), values.max(0))
        low, high = (None, None) if bounds is None else (tuple(map(float, each)) for each in bounds)
        name, dim = "uint8" if image else "float32", values.shape[1]
        return Spec(tuple(shape), name, dim, low, high, action_codes=_codes_of_numbers(self.data.metadata, dim))

    def collector(self, seed: int) -> Collector:
        """Refuse: a dataset does not act.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._name}: is a dataset, which cannot be collected from while training")

    def collect(self, seed: int) -> TransitionDataset:
        """Return all transitions, with rows of absorbing terminals where these are asked for."""
        if self.config.terminal == "leaf":
            return self.data
        for name in ("reward", "terminated", "truncated", "episode"):
            if getattr(self.data, name) is None:
                raise DatasetError(
                    f"{self._name}: {name}: is missing, and collection.terminal=absorb needs it; use leaf"
                )
        return absorb_terminals(self.data, seed)

    def function(self, name: str, objective: ObjectiveConfig) -> Function | None:
        """Return None: a dataset knows no function of its own."""
        return None

    def read(self) -> TransitionDataset:
        """Read the dataset as it is. By default the code of continuous actions is their sign, or three bins of each.

        Raises:
            DatasetError: it cannot be read.
        """
        path, actions = self.config.dataset, self.config.actions
        if actions != "auto":
            return read_transitions(path, actions=actions)
        try:
            return read_transitions(path)
        except DatasetError as error:
            if CONTINUOUS not in str(error):
                raise
        data = read_transitions(path, actions="sign")
        assert data.action_value is not None
        return data if data.action_value.shape[1] == 1 else read_transitions(path, actions="bins:3")


def _codes_of_numbers(metadata: Mapping[str, Any], dim: int) -> ActionCodes | None:
    """Return how codes are made of the numbers (dim,) of an action; None where they are not, or it is not said."""
    codes = ActionCodes.of(metadata)
    if codes is None:
        return None
    return codes if dim == (len(codes.bins.low) if codes.bins else codes.signs) else None
