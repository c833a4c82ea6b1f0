"""Acting in the world of a run: environments, their actions, and what each observation is taken for."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from bisim_theory import DatasetError
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.actions import Choices, Numbers, make_actions
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.envs.dataset import DatasetDomain
from pjepa_agent.envs.environment import Environment, describe_raised
from pjepa_agent.envs.labels import numbers_of
from pjepa_agent.envs.registry import make_domain

MOST_CHOICES = 2**14
"""Most combinations of action codes that are listed."""


@dataclass(frozen=True)
class Step:
    """Hold what an environment returned.

    Attributes:
        observation: image (H, W, C) uint8 or vector (k,) float32.
        reward: of the step; 0 at a reset.
        terminated, truncated: whether and how the episode ended.
        labels: single numbers of ``info``.
    """

    observation: NDArray[Any]
    reward: float
    terminated: bool
    truncated: bool
    labels: dict[str, float | int | bool]


class Acting:
    """Act in the world that a configuration names, with actions in the units of a run's data.

    Args:
        config: of the collection; not of a dataset.
        spec: shapes that a model was trained for.

    Raises:
        ConfigError: nothing can act there, or the world has other shapes than the model's.
    """

    def __init__(self, config: CollectionConfig, spec: Spec) -> None:
        self.config, self.domain = config, make_domain(config)
        if isinstance(self.domain, DatasetDomain):
            raise ConfigError(
                f"{config.dataset}: is a dataset, in which nothing can act; name the environment that it was "
                "collected in with --env"
            )
        self.name = f"collection.environment={config.environment!r}"
        self._check(spec)
        environment = self.make()
        self.space: gymnasium.Space[Any] = environment.action_space
        environment.close()
        self.actions = make_actions(self.space, config.actions, self.name)

    @property
    def counting(self) -> bool:
        """True in the paper's world."""
        return isinstance(self.domain, CountingDomain)

    def make(self, target: int | None = None, limit: int | None = None) -> Environment:
        """Make an environment.

        Args:
            target: of the counting world, instead of the configured one.
            limit: steps after which an episode is truncated, instead of the configured number.
        """
        domain = self.domain
        assert not isinstance(domain, DatasetDomain)
        if isinstance(domain, CountingDomain):
            config = self.config
            target = config.target if target is None else target
            limit = config.max_episode_steps if limit is None else limit
            changed = dataclasses.replace(config, target=target, max_episode_steps=limit)
            return CountingDomain(changed).make_environment()
        return domain.make_environment()

    def begin(self, environment: Environment, seed: int, options: dict[str, Any] | None = None) -> Step:
        """Begin an episode.

        Raises:
            DatasetError: the environment raises.
        """
        try:
            observation, info = environment.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:  # an environment can raise anything
            raise DatasetError(f"{self.name}: at the reset with seed {seed}: {describe_raised(error)}") from error
        return Step(np.array(observation), 0.0, False, False, numbers_of(info))

    def step(self, environment: Environment, value: NDArray[Any]) -> Step:
        """Take a step with an action (A,) in the units of the data.

        Raises:
            DatasetError: the environment raises.
        """
        action = self.actions.actions(value[None])[0].reshape(self.space.shape or ()).astype(self.space.dtype)
        try:
            observation, reward, terminated, truncated, info = environment.step(action)
            return Step(np.array(observation), float(reward), bool(terminated), bool(truncated), numbers_of(info))
        except (Exception, SystemExit) as error:  # an environment can raise anything
            raise DatasetError(f"{self.name}: at a step: {describe_raised(error)}") from error

    def choices(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return values (K, A) that stand for all K action codes.

        Args:
            values: (N, A) of the data, for the range of actions without bounds.

        Raises:
            ConfigError: they are too many.
        """
        actions = self.actions
        parts: list[NDArray[Any]]
        if isinstance(actions, Numbers):
            parts = actions.centres(values)
        else:
            assert isinstance(actions, Choices)
            parts = [start + np.arange(count) for start, count in zip(actions.start, actions.counts, strict=True)]
        number = math.prod(map(len, parts))
        if number > MOST_CHOICES:
            raise ConfigError(f"{self.name}: has {number} action codes, too many to try all; choose another planner")
        rows = np.array(list(itertools.product(*parts)))
        return np.asarray(rows if isinstance(actions, Numbers) else actions.values(rows), np.float32)

    def _check(self, spec: Spec) -> None:
        found = self.domain.spec
        for name in ("observation_shape", "observation_dtype", "action_dim"):
            if getattr(found, name) != getattr(spec, name):
                raise ConfigError(
                    f"{self.name}: {name} is {getattr(found, name)}, the model was trained with {getattr(spec, name)}"
                )
