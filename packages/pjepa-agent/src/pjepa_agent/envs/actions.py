"""Actions of a Gymnasium environment: their codes for the theory, and the numbers that the dynamics are given."""

import math
from typing import Any, Protocol

import gymnasium
import numpy as np
from bisim_theory.data.action_codes import ENTRY, MOST_COMBINATIONS, ActionCodes
from bisim_theory.data.bins import Bins, parse_count
from bisim_theory.formats.actions import combine_digits
from gymnasium import spaces
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.envs.base import LARGEST_BOUND, LARGEST_SIZE

Ids = NDArray[np.int64]

SINGLE = (
    "has a single action, so that nothing can be learnt of actions; name a module:function that returns the "
    "environment with two at least, one of which may do nothing"
)
"""What is said of a space of one action."""


class Actions(Protocol):
    """Codes and values of the actions of a space.

    Attributes:
        dim: A, numbers of an action's value.
        low, high: (A,) bounds of these, or None.
    """

    dim: int
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None

    def values(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Return the values (N, A) of actions (N, ...) of the space."""

    def codes(self, actions: NDArray[Any]) -> Ids:
        """Return the codes (N,) of actions (N, ...) of the space."""

    def actions(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the actions (N, M) that have these values (N, A)."""

    def metadata(self, actions: NDArray[Any]) -> dict[str, Any]:
        """Say what the codes and values of actions (N, ...) mean."""


class Choices:
    """Whole numbers: one-hot values, and as codes the actions themselves, or the digits of several as one number.

    Args:
        counts: (M,) number of choices of each component.
        start: (M,) smallest choice of each.
        one_hot: give every choice a number of its own; False gives every component one, from 0 to 1.
    """

    def __init__(self, counts: NDArray[Any], start: NDArray[Any], one_hot: bool = True) -> None:
        self.counts, self.start = counts.astype(np.int64), start.astype(np.int64)
        self.one_hot = one_hot
        self.dim = int(self.counts.sum()) if one_hot else len(self.counts)
        self.low = None if one_hot else (0.0,) * self.dim
        self.high = None if one_hot else (1.0,) * self.dim

    def _digits(self, actions: NDArray[Any]) -> Ids:
        return actions.reshape(len(actions), -1).astype(np.int64) - self.start

    def values(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Return one-hot values (N, A), one part for each component, or the components (N, A) themselves."""
        digits = self._digits(actions)
        if not self.one_hot:
            return digits.astype(np.float32)
        ends = np.cumsum(self.counts)
        values = np.zeros((len(digits), self.dim), np.float32)
        np.put_along_axis(values, digits + (ends - self.counts), 1, axis=1)
        return values

    def codes(self, actions: NDArray[Any]) -> Ids:
        """Return the actions of one component, or the index (N,) of the combination of several."""
        digits = self._digits(actions)
        if len(self.counts) == 1:
            return digits[:, 0] + self.start[0]
        codes: Ids = np.ravel_multi_index(tuple(digits.T), self.counts).astype(np.int64)
        return codes

    def actions(self, values: NDArray[Any]) -> Ids:
        """Return the choices (N, M) that have these values: the largest of each one-hot part."""
        if not self.one_hot:
            return values.round().astype(np.int64) + self.start
        parts = np.split(values, np.cumsum(self.counts)[:-1], axis=1)
        return np.stack([part.argmax(1) for part in parts], 1) + self.start

    def metadata(self, actions: NDArray[Any]) -> dict[str, Any]:
        """Say what the codes and values mean."""
        said = "codes are the actions"
        if len(self.counts) > 1:
            said = "codes number the combinations of all components, the last of which changes fastest"
        values = "one-hot, one part for each component" if self.one_hot else "the components"
        meaning = {"action_meaning": f"{said}; values are {values}", "action_counts": self.counts.tolist()}
        combinations = math.prod(self.counts.tolist())
        if len(self.counts) == 1 or combinations > MOST_COMBINATIONS:
            return meaning
        rows = np.stack(np.unravel_index(np.arange(combinations), self.counts), 1) + self.start
        return meaning | {ENTRY: ActionCodes(rows=tuple(map(tuple, rows.tolist()))).entry}


class Numbers:
    """Continuous actions: as values the numbers themselves, and codes by sign or bins.

    Bins lie between the bounds of the space, so that other data of the world has the same codes. A component without
    bounds has them over the range of its data.

    Args:
        space: the bounds.
        abstraction: ``sign``, ``bins:K``, or ``auto`` for sign where there is one number that can have both, else
            ``bins:3``.

    Raises:
        ConfigError: there is no such abstraction.
    """

    def __init__(self, space: spaces.Box, abstraction: str) -> None:
        low, high = space.low.reshape(-1).astype(np.float64), space.high.reshape(-1).astype(np.float64)
        self._low, self._high = low, high
        self.dim = len(low)
        self._bounded = (np.abs(low) <= LARGEST_BOUND) & (np.abs(high) <= LARGEST_BOUND)
        whole = bool(self._bounded.all())
        self.low = tuple(low.tolist()) if whole else None
        self.high = tuple(high.tolist()) if whole else None
        if abstraction == "auto":
            abstraction = "sign" if self.dim == 1 and low[0] < 0 <= high[0] else "bins:3"
        self.abstraction = abstraction
        self._count = 2 if abstraction == "sign" else parse_count(abstraction.removeprefix("bins:"))
        if self._count is None or not (abstraction == "sign" or abstraction.startswith("bins:")):
            raise ConfigError(
                f"collection.actions={abstraction!r}: must be auto, sign, or bins:K with K from 2 to 1000"
            )
        if self.dim * math.log2(self._count) >= 63:
            raise ConfigError(
                f"collection.actions={abstraction!r}: {self.dim} numbers of {self._count} values are too many for an "
                "integer code; name a module:function that returns the environment with fewer"
            )

    def values(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Return the actions as rows (N, A)."""
        return actions.reshape(len(actions), -1).astype(np.float32)

    def codes(self, actions: NDArray[Any]) -> Ids:
        """Return the signs or bins of all numbers as the digits of one code, the first the most significant."""
        values = self.values(actions)
        if self.abstraction == "sign":
            return combine_digits((values >= 0).astype(np.int64), 2)
        bins = self._bins(values)
        return combine_digits(bins.index(values), bins.count)

    def actions(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the numbers (N, A), within the bounds."""
        return np.clip(values.astype(np.float64), self._low, self._high)

    def centres(self, values: NDArray[Any]) -> list[NDArray[np.float64]]:
        """Return for each component the numbers that stand for its codes: the bounds for signs, the middles of bins.

        Args:
            values: (N, A) of the data, over whose range bins lie where there are no bounds.
        """
        found = Bins.of(values, 2)
        low, high = np.where(self._bounded, self._low, found.low), np.where(self._bounded, self._high, found.high)
        assert self._count is not None
        middle = [0.0, 1.0] if self.abstraction == "sign" else (np.arange(self._count) + 0.5) / self._count
        return [one + np.asarray(middle) * (other - one) for one, other in zip(low, high, strict=True)]

    def _bins(self, values: NDArray[np.float32]) -> Bins:
        assert self._count is not None
        found = Bins.of(values, self._count)
        low, high = np.where(self._bounded, self._low, found.low), np.where(self._bounded, self._high, found.high)
        return Bins(self._count, tuple(low.tolist()), tuple(high.tolist()))

    @property
    def code_meaning(self) -> ActionCodes | None:
        """Return how codes are made of the numbers; None where bins lie over the range of the data."""
        if self.abstraction == "sign":
            return ActionCodes(signs=self.dim)
        if not self._bounded.all():
            return None
        assert self._count is not None
        bins = Bins(self._count, tuple(self._low.tolist()), tuple(self._high.tolist()))
        return ActionCodes(bins=bins, of_space=True)

    def metadata(self, actions: NDArray[Any]) -> dict[str, Any]:
        """Say what the codes and values mean, with the range of the bins."""
        unbounded = np.flatnonzero(~self._bounded).tolist()
        scaled = "scaled between the bounds of the space" if not unbounded else "not scaled"
        meaning = f"codes are {self.abstraction} of the numbers; values are the numbers, {scaled}"
        if unbounded:
            meaning += f"; components {unbounded} have no bounds, so bins lie over the range of the data"
        codes = self.code_meaning or ActionCodes(bins=self._bins(self.values(actions)))
        return {"action_abstraction": self.abstraction, ENTRY: codes.entry, "action_meaning": meaning}


def make_actions(space: gymnasium.Space[Any], abstraction: str, name: str) -> Actions:
    """Make the codes and values of the actions of a space.

    Args:
        space: Discrete, MultiDiscrete, MultiBinary or Box.
        abstraction: `collection.actions`, for a Box.
        name: of the environment; begins messages.

    Raises:
        ConfigError: the space is another one, has a single action, or does not fit the abstraction.
    """
    if isinstance(space, spaces.Box):
        if bool((space.low == space.high).all()):
            raise ConfigError(f"{name}: {SINGLE}")
        return Numbers(space, abstraction)
    if isinstance(space, spaces.Discrete):
        choices = Choices(np.array([space.n]), np.array([space.start]))
    elif isinstance(space, spaces.MultiDiscrete):
        choices = Choices(space.nvec.reshape(-1), space.start.reshape(-1))
    elif isinstance(space, spaces.MultiBinary):
        size = int(np.prod(space.shape))
        choices = Choices(np.full(size, 2), np.zeros(size), one_hot=False)
    else:
        raise ConfigError(
            f"{name}: has actions of a {type(space).__name__} space; name a module:function that returns the "
            "environment with Discrete, MultiDiscrete, MultiBinary or Box actions, as with gymnasium.ActionWrapper"
        )
    if abstraction != "auto":
        raise ConfigError(f"collection.actions={abstraction!r}: {name} has discrete actions; leave it auto")
    combinations = math.prod(choices.counts.tolist())
    if combinations == 1:
        raise ConfigError(f"{name}: {SINGLE}")
    if combinations > np.iinfo(np.int64).max or choices.dim > LARGEST_SIZE:
        raise ConfigError(
            f"{name}: has {combinations} actions, too many for an integer code and {LARGEST_SIZE} one-hot values; name "
            "a module:function that returns the environment with fewer"
        )
    return choices
