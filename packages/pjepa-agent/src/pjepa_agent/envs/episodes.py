"""Episodes of a Gymnasium environment, several collected side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from bisim_theory import DatasetError
from bisim_theory.data.imported import describe_error
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.environment import describe_raised
from pjepa_agent.envs.labels import numbers_of, reasons_of
from pjepa_agent.envs.observations import ObservationError, Observer
from pjepa_agent.envs.policy import Policy, make_policy

SUPERFLUOUS = 0.1
"""Share of the transitions that may be collected in episodes that are not needed in the end."""


@dataclass
class Episode:
    """One episode: T steps and the T + 1 observations around them.

    Attributes:
        number: its place among all episodes, which fixes its random numbers.
        infos: (T + 1,) numbers of the environment's ``info``.
        reasons: why other values of an ``info`` can be no labels, by name.
        states: (T + 1,) the environment's own observations.
        terminated, truncated: how it ended; neither while it runs.
    """

    number: int
    observations: list[NDArray[Any]] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    states: list[Any] = field(default_factory=list)
    actions: list[NDArray[Any]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def ended(self) -> bool:
        """True where the episode is whole."""
        return self.terminated or self.truncated

    def cut(self, steps: int) -> None:
        """Keep the first steps alone. The last of them truncates the episode."""
        del self.observations[steps + 1 :], self.infos[steps + 1 :], self.states[steps + 1 :]
        del self.actions[steps:], self.rewards[steps:]
        self.terminated, self.truncated = False, True


class _Remembered(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Remember the environment's own latest observation."""

    state: Any = None

    def observation(self, observation: Any) -> Any:
        self.state = observation
        return observation


class _Slot(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Say in one line what an environment raises, and hold still once no more of its episodes are needed.

    Args:
        env: the environment.
        name: of it; begins every message.
        remembered: the wrapper within that knows the environment's own observation; None where that is not kept.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, remembered: _Remembered | None) -> None:
        super().__init__(env)
        self._name, self._remembered = name, remembered
        self.episode, self.idle = Episode(-1), True
        space = env.observation_space
        assert space.shape is not None
        self._latest = np.zeros(space.shape, space.dtype)

    def begin(self, number: int) -> None:
        """Take the next reset for the first observation of a new episode."""
        self.episode, self.idle = Episode(number), False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the episode."""
        if self.idle:
            return self._latest, {}
        try:
            self._keep(*self.env.reset(seed=seed))
        except (Exception, SystemExit) as error:  # an environment can raise anything
            raise self._refuse(error) from error
        return self._latest, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step of the episode. An idle slot takes none."""
        if self.idle:
            return self._latest, 0.0, False, False, {}
        episode = self.episode
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            reward = float(reward)
            if not np.isfinite(reward):
                raise ObservationError(
                    f"gave the reward {reward}, which is not finite; name a module:function that returns the "
                    "environment in gymnasium.wrappers.TransformReward, which makes it so"
                )
            self._keep(observation, info)
        except (Exception, SystemExit) as error:  # an environment can raise anything
            raise self._refuse(error) from error
        episode.actions.append(np.array(action))
        episode.rewards.append(reward)
        episode.terminated, episode.truncated = bool(terminated), bool(truncated)
        return self._latest, reward, episode.terminated, episode.truncated, {}

    def _keep(self, observation: Any, info: dict[str, Any]) -> None:
        self._latest = np.array(observation)
        self.episode.observations.append(self._latest)
        numbers = numbers_of(info)
        self.episode.infos.append(numbers)
        if len(numbers) < len(info):
            self.episode.reasons.update(reasons_of(info, numbers))
        if self._remembered is not None:
            self.episode.states.append(np.array(self._remembered.state))

    def _refuse(self, error: BaseException) -> DatasetError:
        said = str(error)
        if not isinstance(error, ObservationError):
            said = f"{describe_raised(error)}; mend it there, no transitions are kept"
        where = f"step {len(self.episode) + 1}" if self.episode.observations else "the reset"
        return DatasetError(f"{self._name}: at {where} of episode {self.episode.number + 1}: {said}")


class EpisodeCollector:
    """Collect episodes in order of their numbers, several side by side.

    The number of an episode and the seed fix its random numbers, those of the world by ``reset(seed=...)`` and those of
    the random policy. How many episodes run side by side therefore changes no transition, unless the world keeps more
    from one episode to the next than its reset allows.

    Args:
        observer: makes the environments.
        config: policy, number of environments, and steps that an action is held for.
        name: of the environment; begins messages.
        seed: fixes the episodes.

    Raises:
        ConfigError: an environment or the policy cannot be made.
    """

    def __init__(self, observer: Observer, config: CollectionConfig, name: str, seed: int) -> None:
        self._config, self._seed = config, seed
        self._vector = _make_vector(
            observer, min(config.environments, max(1, int(SUPERFLUOUS * config.transitions))), name
        )
        self._slots: list[_Slot] = self._vector.envs  # type: ignore[assignment]
        self.action_space = self._vector.single_action_space
        self._policy: Policy = make_policy(config.policy, self.action_space, len(self._slots))
        self._held = [np.asarray(self.action_space.sample())] * len(self._slots)
        self._begun: list[Episode] = []
        self._whole, self._whole_steps = 0, 0  # the first episodes, up to one that has not ended

    def collect(self, transitions: int) -> list[Episode]:
        """Collect whole episodes of exactly so many transitions in all, of which the last may be cut.

        Raises:
            DatasetError: the environment raises, or gives what cannot be used; nothing of it is kept.
            ConfigError: the policy fails.
        """
        self._vector.reset()
        self._begin([0])
        while (needed := self._needed(transitions)) is None:
            self._step()
            self._go_on(transitions)
        return needed

    def close(self) -> None:
        """Close the environments."""
        self._vector.close()

    def _begin(self, slots: Sequence[int], resting: Sequence[int] = ()) -> None:
        """Begin the next episodes, each in a slot; other slots whose episodes have ended rest."""
        seeds: list[int | None] = [None] * len(self._slots)
        for slot in slots:
            number = len(self._begun)
            world, policy = np.random.SeedSequence([self._seed, number]).generate_state(2) >> 1  # 31 bits, for Atari
            seeds[slot] = int(world)
            self._slots[slot].begin(number)
            self._policy.begin(slot, int(policy))
            self._begun.append(self._slots[slot].episode)
        mask = np.isin(np.arange(len(self._slots)), [*slots, *resting])
        self._vector.reset(seed=seeds, options={"reset_mask": mask})

    def _step(self) -> None:
        running = [slot for slot, each in enumerate(self._slots) if not each.idle]
        asked = [slot for slot in running if len(self._slots[slot].episode) % self._config.action_repeat == 0]
        if asked:
            observations = np.stack([self._slots[slot].episode.observations[-1] for slot in asked])
            for slot, action in zip(asked, self._policy.act(asked, observations), strict=True):
                self._held[slot] = action
        # No step resets by itself, so that the observation after it is never the first of the next episode.
        self._vector.step(np.stack(self._held).astype(self.action_space.dtype))

    def _needed(self, transitions: int) -> list[Episode] | None:
        """Return the first episodes that have so many transitions, the last of them cut; None before they are there."""
        while True:
            if self._whole == len(self._begun):
                return None
            episode, missing = self._begun[self._whole], transitions - self._whole_steps
            if len(episode) > missing or (len(episode) == missing and not episode.ended):
                episode.cut(missing)
            if len(episode) == missing:
                return self._begun[: self._whole + 1]
            if not episode.ended:
                return None
            self._whole, self._whole_steps = self._whole + 1, self._whole_steps + len(episode)

    def _go_on(self, transitions: int) -> None:
        """Begin episodes in free slots as long as more are needed, and rest in the others."""
        for slot in self._superfluous(transitions):
            self._slots[slot].idle = True
        ended = [slot for slot, each in enumerate(self._slots) if each.episode.ended and not each.idle]
        if not ended:
            return
        running = sum(not each.idle for each in self._slots) - len(ended)
        free = ended + [slot for slot, each in enumerate(self._slots) if each.idle]
        begun = free[: max(0, self._most_running(transitions) - running)]
        resting = sorted(set(ended) - set(begun))
        for slot in resting:
            self._slots[slot].idle = True
        self._begin(begun, resting)

    def _most_running(self, transitions: int) -> int:
        """Return how many episodes are worth running now, judged by the average length of those that have ended.

        Those that run when the last one needed ends are of no use, so their steps are to be few among all. At least one
        runs.
        """
        lengths = [len(each) for each in self._begun[self._whole :] if each.ended]
        count, steps = self._whole + len(lengths), self._whole_steps + sum(lengths)
        missing = math.ceil(transitions * count / steps) - count  # episodes; all that have not ended count as none
        return max(1, min(int(SUPERFLUOUS * transitions * count / steps), missing))

    def _superfluous(self, transitions: int) -> list[int]:
        """Return the slots of running episodes that follow on enough transitions."""
        rest = self._begun[self._whole :]
        before = self._whole_steps + np.cumsum([0, *map(len, rest)])
        numbers = {each.number for each, steps in zip(rest, before, strict=False) if steps >= transitions}
        return [
            slot for slot, each in enumerate(self._slots) if each.episode.number in numbers and not each.episode.ended
        ]


def _make_vector(observer: Observer, environments: int, name: str) -> SyncVectorEnv:
    """Make environments that are stepped side by side, each a slot for one episode at a time.

    Raises:
        ConfigError: they cannot be made, or are one and the same.
    """

    def make() -> gymnasium.Env[Any, Any]:
        remembered = None

        def remember(environment: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
            nonlocal remembered
            remembered = _Remembered(environment)
            return remembered

        environment = observer.make(remember if observer.shows_state else None)
        return _Slot(environment, name, remembered)

    try:
        vector = SyncVectorEnv([make] * environments, copy=False, autoreset_mode=AutoresetMode.DISABLED)
    except RuntimeError as error:  # which says of what spaces, in two lines
        raise ConfigError(
            f"{name}: has other spaces each time it is made ({describe_error(error)}); name a module:function that "
            "returns the environment with spaces that stay"
        ) from error
    if len({id(each.unwrapped) for each in vector.envs}) < environments:
        raise ConfigError(f"{name}: returns one environment again and again, must return a new one each time")
    return vector
