"""Any Gymnasium environment as a world to train on."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from bisim_theory import DatasetError, TransitionDataset
from bisim_theory.data.left_out import labels_left_out
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import CollectionConfig, ObjectiveConfig
from pjepa_agent.envs.actions import Actions, Numbers, make_actions
from pjepa_agent.envs.base import Collector, Function, Spec, SpecError
from pjepa_agent.envs.environment import Environment, Maker
from pjepa_agent.envs.episodes import Episode, EpisodeCollector
from pjepa_agent.envs.labels import join_labels
from pjepa_agent.envs.observations import Observer
from pjepa_agent.envs.terminals import absorb_terminals

DRAWS_ENOUGH = 64
"""Drawn actions among which a random policy has more than one."""

STACKS_ENOUGH = 10
"""Lengths of a stack in the transitions from which it is judged whether episodes are as long."""

CONVENTION = (
    "one row a step; the successor is the observation that the step returned, never that of a reset; reward is that of "
    "the step"
)


class GymnasiumDomain:
    """An environment of Gymnasium's registry, or one that a function returns.

    Args:
        config: names the environment, what is observed of it, and who collects.

    Raises:
        ConfigError: there is no such environment, or nothing of it can be observed.
    """

    def __init__(self, config: CollectionConfig) -> None:
        self.config = config
        self._maker = Maker(config)
        self._name = self._maker.name

    @functools.cached_property
    def _observer(self) -> Observer:
        return Observer(self._maker)

    @functools.cached_property
    def spec(self) -> Spec:
        """Return the shapes of observations and actions.

        Raises:
            ConfigError: the environment cannot be made, or has observations or actions that cannot be used.
        """
        environment = self._observer.make()
        space, actions = environment.observation_space, self._actions(environment.action_space)
        environment.close()
        assert space.shape is not None
        shape = tuple(int(each) for each in space.shape)
        try:
            codes = actions.code_meaning if isinstance(actions, Numbers) else None
            return Spec(shape, str(space.dtype), actions.dim, actions.low, actions.high, action_codes=codes)
        except SpecError as error:
            raise ConfigError(f"{self._name}: cannot be learnt: {error}") from error

    def make_environment(self) -> Environment:
        """Make an environment with the observations that are collected.

        Raises:
            ConfigError: the environment cannot be made, or has no such observations.
        """
        return self._observer.make()

    def collector(self, seed: int) -> Collector:
        """Refuse, since only the counting world is collected while training.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("collection.online=True: only the counting world is collected while training")

    def collect(self, seed: int) -> TransitionDataset:
        """Collect transitions with the configured policy, each action held for `action_repeat` steps of an episode.

        Args:
            seed: fixes the environment and the random policy.

        Returns:
            A dataset with every frame once, in whole episodes. The last one is cut, and then truncated, where the
            number of transitions is reached. p is not attached. Labels per frame are ``state``, the environment's own
            observation where something else is observed and it is a vector or a number, and the numbers of ``info``.
            Rows of absorbing terminals, if they are asked for, come last and beyond the number of transitions.

        Raises:
            ConfigError: the environment, what is observed of it, its actions or the policy cannot be used.
            DatasetError: the environment raises, or what it gives cannot be used.
        """
        collector = EpisodeCollector(self._observer, self.config, self._name, seed)
        try:
            actions = self._actions(collector.action_space)
            episodes = collector.collect(self.config.transitions)
        finally:
            collector.close()
        self._check_stack(episodes)
        data = self._joined(episodes, actions)
        self._check_codes(data, episodes)
        return absorb_terminals(data, seed) if self.config.terminal == "absorb" else data

    def function(self, name: str, objective: ObjectiveConfig) -> Function | None:
        """Return None, since nothing is known of the world that its data does not say."""
        return None

    def _actions(self, space: Any) -> Actions:
        return make_actions(space, self.config.actions, self._name)

    def _joined(self, episodes: Sequence[Episode], actions: Actions) -> TransitionDataset:
        lengths = np.array([len(each) for each in episodes])
        episode = np.repeat(np.arange(len(episodes)), lengths)
        source = np.arange(lengths.sum()) + episode  # every episode before has one frame more than steps
        taken = np.stack([action for each in episodes for action in each.actions])
        states = [state for each in episodes for state in each.states]
        labels, reasons = join_labels([info for each in episodes for info in each.infos], states or None)
        unfit = {name: why for each in episodes for name, why in each.reasons.items()}
        reasons |= {name: why for name, why in unfit.items() if name not in labels}
        last = np.cumsum(lengths) - 1
        terminated, truncated = np.zeros(len(source), bool), np.zeros(len(source), bool)
        terminated[last] = [each.terminated for each in episodes]
        truncated[last] = [each.truncated for each in episodes]
        return TransitionDataset(
            source=source,
            action=actions.codes(taken),
            successor=source + 1,
            observation=_move_observations(episodes),
            action_value=actions.values(taken),
            reward=np.array([reward for each in episodes for reward in each.rewards], np.float64),
            terminated=terminated,
            truncated=truncated,
            episode=episode,
            labels=labels,
            metadata=self._metadata(reasons) | actions.metadata(taken),
        )

    def _metadata(self, reasons: dict[str, str]) -> dict[str, Any]:
        config = self.config
        said: dict[str, Any] = {
            "environment": config.environment,
            "arguments": dict(config.arguments),
            "convention": CONVENTION,
            "observed": self._observer.kind,
            "policy": config.policy,
            "action_repeat": config.action_repeat,
        }
        if self._observer.reason:
            said["not_rendered"] = self._observer.reason
        if config.stack > 1:
            said["stack"] = f"{config.stack} observations, oldest first; at a reset the first one is repeated"
        if reasons:
            said |= labels_left_out(reasons)
        return said

    def _check_stack(self, episodes: Sequence[Episode]) -> None:
        lengths = [len(each) for each in episodes]
        longest = max(lengths) + 1
        if longest < self.config.stack <= sum(lengths) / STACKS_ENOUGH:
            raise DatasetError(
                f"collection.stack={self.config.stack}: exceeds the longest episode of {self._name}, which has "
                f"{longest} observations; choose fewer"
            )

    def _check_codes(self, data: TransitionDataset, episodes: Sequence[Episode]) -> None:
        draws = sum(-(-len(each) // self.config.action_repeat) for each in episodes)
        if draws >= DRAWS_ENOUGH and (data.action == data.action[0]).all():
            raise DatasetError(
                f"{self._name}: all {draws} actions have the code {data.action[0]}, so that nothing can be learnt of "
                "actions; choose another collection.policy, or collection.actions=bins:K"
            )


def _move_observations(episodes: Sequence[Episode]) -> NDArray[Any]:
    """Join the observations (F, ...) of episodes, and take them out of these, so that they are in memory once."""
    first = episodes[0].observations[0]
    joined = np.empty((sum(len(each.observations) for each in episodes), *first.shape), first.dtype)
    end = 0
    for each in episodes:
        start, end = end, end + len(each.observations)
        joined[start:end] = each.observations
        each.observations.clear()
    return joined
