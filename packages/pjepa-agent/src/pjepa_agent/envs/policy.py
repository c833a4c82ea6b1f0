"""Policies that collect in a Gymnasium environment."""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from bisim_theory.data.arrays import to_numpy
from bisim_theory.data.imported import describe_error
from numpy.typing import NDArray

from pjepa_agent.config.collection import ACTING
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.imports import import_function

PURPOSE = "collection.policy"


class Policy(Protocol):
    """Chooses actions in several episodes at a time."""

    def begin(self, slot: int, seed: int) -> None:
        """Begin an episode in a slot; the seed fixes its random numbers."""

    def act(self, slots: Sequence[int], observations: NDArray[Any]) -> list[NDArray[Any]]:
        """Return an action for each slot, after its observation (B, ...)."""


class RandomPolicy:
    """Draw actions uniformly from a space, where that is bounded, as `gymnasium.Space.sample` does.

    Args:
        space: of the actions.
        slots: number of episodes at a time.
    """

    def __init__(self, space: gymnasium.Space[Any], slots: int) -> None:
        self._spaces = [copy.deepcopy(space) for _ in range(slots)]

    def begin(self, slot: int, seed: int) -> None:
        """Begin an episode in a slot."""
        self._spaces[slot].seed(seed)

    def act(self, slots: Sequence[int], observations: NDArray[Any]) -> list[NDArray[Any]]:
        """Draw an action for each slot."""
        return [np.asarray(self._spaces[slot].sample()) for slot in slots]


class ImportedPolicy:
    """Call a function of the user's on observations (B, ...), which returns B actions of the space.

    Args:
        name: ``module:function``.
        space: of the actions.

    Raises:
        ConfigError: the import fails.
    """

    def __init__(self, name: str, space: gymnasium.Space[Any]) -> None:
        self._name, self._space = f"{PURPOSE}={name!r}", space
        self._function = import_function(name, PURPOSE)

    def begin(self, slot: int, seed: int) -> None:
        """Begin an episode, which the function is not told of."""

    def act(self, slots: Sequence[int], observations: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the function's actions.

        Raises:
            ConfigError: the function fails, or returns what are no actions.
        """
        try:
            actions = to_numpy(self._function(observations))
        except (Exception, SystemExit) as error:  # a function of the user's can raise anything
            raise ConfigError(f"{self._name}: raised {describe_error(error)}") from error
        wanted = (len(observations), *(self._space.shape or ()))
        if actions.shape != wanted or actions.dtype.kind not in "iubf":
            raise ConfigError(
                f"{self._name}: returned actions {actions.shape} {actions.dtype} for {len(observations)} observations, "
                f"must return {wanted}"
            )
        fitting = actions.astype(self._space.dtype)
        for action, given in zip(fitting, actions, strict=True):
            if not self._space.contains(action) or (fitting.dtype.kind in "iu" and (action != given).any()):
                raise ConfigError(f"{self._name}: returned {given.tolist()}, which is not in {self._space}")
        return list(fitting)


def make_policy(name: str, space: gymnasium.Space[Any], slots: int) -> Policy:
    """Make the policy that `collection.policy` names: ``random``, or ``module:function``.

    Those of the model act while it trains alone. What else is collected, such as held-out episodes, is so at random.

    Raises:
        ConfigError: there is no such policy.
    """
    if name in ("random", *ACTING):
        return RandomPolicy(space, slots)
    if ":" not in name:
        raise ConfigError(f"{PURPOSE}={name!r}: must be random, {', '.join(ACTING)}, or module:function")
    return ImportedPolicy(name, space)
