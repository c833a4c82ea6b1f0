"""Replay buffer of transitions in which the model that is trained chooses the actions, or some of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from bisim_theory import DatasetError, TransitionDataset
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.parts import take_frames
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.distinct import PairCounts
from pjepa_agent.collection.frames import HEADROOM, FrameRing, frames_device
from pjepa_agent.collection.replay import Replay, dataset_of, rows_of
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.acting import Acting, Step
from pjepa_agent.envs.actions import Numbers
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.labels import MOST_LABELS
from pjepa_agent.envs.lockstep import Lockstep, Running

EXPLORATION, ACTIONS = 4, 5
"""Streams of random numbers: when to act at random, and how."""

Values = NDArray[np.float32]
"""Actions (n, A) of n environments in the units of the data."""


class Seen(NamedTuple):
    """Hold what the rewards of a run say of its world.

    Attributes:
        rewarded: there was a reward above 0.
        ends: each of them ended its episode.
        within: all rewards were from 0 to 1.
    """

    rewarded: bool = False
    ends: bool = True
    within: bool = True


class Actor(Protocol):
    """Chooses actions by the model that is trained."""

    def act(self, observations: NDArray[Any], fresh: NDArray[np.bool_], step: int, seen: Seen) -> Values:
        """Choose actions in n environments.

        Args:
            observations: (n, ...) of all environments.
            fresh: (n,) where an episode begins.
            step: steps that every environment has taken, which fixes the random numbers.
            seen: what is known of the rewards.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return what it remembers from one step to the next."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Remember what it did."""


class ActingReplay(Replay):
    """Draw batches from the latest transitions of a policy of the model, which acts as the training needs them.

    Several environments step together, so that all decisions of a step are one. The first transitions are random, and
    so is each later action with probability `collection.epsilon`. A row of the buffer is followed by that of the same
    environment's next step after as many rows as there are environments.

    The actions are saved with the model. A resumed run takes them again, which brings back environments and frames.

    Args:
        config: of the run.
        spec: shapes of the world.
        device: of the batches.
        processes: the processes that train together, each with its own environments and buffer.

    Raises:
        ConfigError: nothing can act in the world.
        DatasetError: an environment raises.
    """

    frames: FrameRing
    actor: Actor | None = None
    """Chooses actions from the first update on; it needs the model, which needs the first observations."""

    def __init__(self, config: Config, spec: Spec, device: torch.device, processes: Processes = SINGLE_PROCESS) -> None:
        collection = config.collection
        self.config, self.auxiliary = config, Auxiliary(config, processes)
        self._seed = processes.seed(config.seed)
        self.world = Lockstep(Acting(collection, spec), collection.environments, self._seed)
        number = len(self.world)
        capacity = collection.transitions // number * number
        batch_size = processes.local_batch_size(config.optimization.batch_size)
        super().__init__(
            _ring(self.world, collection.transitions, config, device),
            capacity,
            batch_size,
            self._seed,
            config.objective.horizon,
        )
        self.stride, self._capacity = number, capacity
        self.seen = Seen()
        self._taken: list[Values] = []
        self._rewards: list[NDArray[np.float64]] = []
        self._held = np.zeros(number, np.int64)  # steps for which a random action is held from now on
        self._frame = np.arange(number)  # of the current observations
        self._p: list[tuple[Any, bool]] = [(0.0, False)] * number  # of the current observations, where a step said so
        self._sources: list[NDArray[np.int64]] = []
        self._pairs = PairCounts(capacity) if config.optimization.sampling == "balanced" else None
        self._append_frames([each.step for each in self.world.running])
        self.collect_until(0)

    @property
    def transitions(self) -> int:
        """Steps of all environments since the start."""
        return len(self._taken) * len(self.world)

    def collect_until(self, update: int) -> None:
        """Step all environments until the transitions for `update`, counted from 1, are in the buffer."""
        collection = self.config.collection
        wanted = max(collection.initial_transitions, update * collection.steps_per_update)
        while self.transitions < wanted:
            self._step(self._choose())

    def measures(self) -> dict[str, float]:
        """Return environment steps, and return and success of the latest episodes, as ``metrics.csv`` has them."""
        total, success = self.world.means()
        return {
            "collection/environment_steps": self.transitions,
            "collection/episodes": self.world.episodes,
            "collection/return": total,
            "collection/success": success,
        }

    def dataset(self) -> TransitionDataset:
        """Return the transitions in the buffer by episode, with their frames."""
        rows: TensorDictBase = self.buffer[:].cpu()
        arrays: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in rows.items()}
        order = np.lexsort((arrays["number"], arrays["episode"]))
        arrays = {name: value[order] for name, value in arrays.items()}
        codes = self._codes(arrays["action"])
        return take_frames(
            dataset_of(arrays, self.frames, metadata=codes, **_stored_auxiliary(arrays, self.config.counting))
        )

    @property
    def latest(self) -> TransitionDataset:
        """The transitions that are there, with p: at the start those before the first update."""
        return self.dataset()

    def state_dict(self) -> dict[str, Tensor]:
        """Return all actions and rewards, and what else the next action depends on."""
        remembered = {} if self.actor is None else self.actor.state_dict()
        return {
            "actions": torch.from_numpy(np.stack(self._taken)),
            "rewards": torch.from_numpy(np.stack(self._rewards)),
            "held": torch.from_numpy(self._held.copy()),
            **{f"actor.{name}": value for name, value in remembered.items()},
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the saved actions again, in the environments that are at the start.

        Raises:
            DatasetError: the world then gives other rewards than it did.
        """
        actions, rewards = state["actions"].cpu().numpy(), state["rewards"].cpu().numpy()
        for values in actions[len(self._taken) :]:
            self._step(values)
        again = np.stack(self._rewards)
        if not np.array_equal(again, rewards):
            step = int(np.argmax((again != rewards).any(1)))
            raise DatasetError(
                f"{self.world.acting.name}: gives other rewards at step {step + 1} than when the run was saved, for "
                "the same seeds and actions, so the run cannot go on; let its reset with a seed fix all that happens"
            )
        self._held = state["held"].cpu().numpy().copy()
        if self.actor is not None:
            names = [name for name in state if name.startswith("actor.")]
            self.actor.load_state_dict({name.removeprefix("actor."): state[name] for name in names})

    def _draw(self) -> TensorDictBase:
        """Draw rows (B,), evenly or evenly over distinct pairs of observation and action."""
        if self._pairs is None:
            return super()._draw()
        return self._drawn(self._pairs.draw(self._batch_size, self.generator))

    def _choose(self) -> Values:
        """Choose the next actions: by the actor, or at random."""
        collection, step, number = self.config.collection, len(self._taken), len(self.world)
        fresh = self.world.fresh
        self._held[fresh] = 0
        draws = np.random.default_rng([self._seed, EXPLORATION, step]).random(number)
        starts = self.transitions < collection.initial_transitions or self.actor is None
        begins = (self._held == 0) & (starts | (draws < collection.epsilon))
        going_on = self._held > 0
        self._held[begins] = collection.action_repeat
        exploring = begins | going_on
        values = np.zeros((number, self.world.acting.actions.dim), np.float32)
        if begins.any():
            values[begins] = self._random(step)[begins]
        if going_on.any():
            values[going_on] = self._taken[-1][going_on]
        if self.actor is not None and not starts:
            planned = self.actor.act(self.world.observations, fresh, step, self.seen)
            values[~exploring] = planned[~exploring]
        self._held[exploring] -= 1
        return values

    def _random(self, step: int) -> Values:
        """Draw an action for every environment, as the random policy does."""
        acting = self.world.acting
        seed = np.random.SeedSequence([self._seed, ACTIONS, step]).generate_state(1)[0] >> 1
        acting.space.seed(int(seed))
        return acting.actions.values(np.stack([np.asarray(acting.space.sample()) for _ in self.world.running]))

    def _step(self, values: Values) -> None:
        """Take a step in every environment, and put it into the buffer."""
        sources = [each.step for each in self.world.running]
        episodes, steps = self.world.step(values)
        self._taken.append(np.asarray(values, np.float32))
        self._rewards.append(np.array([each.reward for each in steps]))
        self._look(steps)
        for name in [name for name in self.frames.labels if any(name not in each.labels for each in steps)]:
            del self.frames.labels[name]  # which a label of all observations cannot be
        first = self.frames.end
        successor = first + np.arange(len(steps))
        rows = self._rows(sources, steps, episodes, values)
        rows["source"], rows["successor"] = torch.from_numpy(self._frame), torch.from_numpy(successor)
        rows["number"] = torch.arange(len(steps)) + self.transitions - len(steps)
        self._sources.append(self._frame)
        begun = np.flatnonzero(self.world.fresh)
        self._append_frames([*steps, *(self.world.running[slot].step for slot in begun)])
        if self._pairs is not None:
            self._pairs.add([each.observation for each in sources], rows["code"].numpy())
        self.buffer.extend(rows.to(self.frames.device))
        self._frame = successor.copy()
        self._frame[begun] = first + len(steps) + np.arange(len(begun))

    def _look(self, steps: Sequence[Step]) -> None:
        rewarded = [each for each in steps if each.reward > 0]
        self.seen = Seen(
            self.seen.rewarded or bool(rewarded),
            self.seen.ends and all(each.terminated for each in rewarded),
            self.seen.within and all(0 <= each.reward <= 1 for each in steps),
        )

    def _rows(
        self, sources: Sequence[Step], steps: Sequence[Step], episodes: Sequence[Running], values: Values
    ) -> TensorDict:
        """Make the rows (n,) of a step, but for the numbers of their frames."""
        number, actions = len(steps), self.world.acting.actions
        every = [*sources, *steps]
        data = TransitionDataset(
            source=np.arange(number),
            successor=number + np.arange(number),
            action=actions.codes(actions.actions(values)),
            action_value=values,
            reward=np.array([each.reward for each in steps]),
            terminated=np.array([each.terminated for each in steps]),
            truncated=np.array([each.truncated for each in steps]),
            episode=np.array([each.number for each in episodes]),
            observation=np.stack([each.observation for each in every]),
            labels={name: np.array([each.labels[name] for each in every]) for name in self.frames.labels},
        )
        return rows_of(self.auxiliary.attach_trained(self._continued(self.auxiliary.attach(data), steps)))

    def _continued(self, data: TransitionDataset, steps: Sequence[Step]) -> TransitionDataset:
        """Take p of sources from the steps that led to them, which a step alone does not know."""
        if data.observation_auxiliary is None or data.observation_auxiliary_known is None:
            return data  # p is of the source itself
        values, number = stored_values(data), len(steps)
        value, known = values.value.copy(), values.known.copy()
        for slot, (said, is_known) in enumerate(self._p):
            if is_known:
                value[slot], known[slot] = said, True
        ended = [each.terminated or each.truncated for each in steps]
        self._p = [(value[number + slot], known[number + slot] and not ended[slot]) for slot in range(number)]
        return dataclasses.replace(data, observation_auxiliary=value, observation_auxiliary_known=known)

    def _append_frames(self, steps: Sequence[Step]) -> None:
        rows = self._capacity // self.stride
        oldest = self._sources[-rows:][0].min() if self._sources else 0
        labels = {name: np.array([each.labels[name] for each in steps]) for name in self.frames.labels}
        self.frames.append(self.frames.end, np.stack([each.observation for each in steps]), labels, int(oldest))

    def _codes(self, values: Values) -> dict[str, Any]:
        actions = self.world.acting.actions
        taken = actions.actions(values)
        return actions.metadata(np.asarray(taken)) if isinstance(actions, Numbers) else actions.metadata(taken)


def _ring(world: Lockstep, transitions: int, config: Config, device: torch.device) -> FrameRing:
    """Allocate a ring for the frames of so many transitions, which grows where episodes are short."""
    first = world.running[0].step
    length, observation = int(HEADROOM * transitions) + 2 * len(world), torch.from_numpy(first.observation)
    place = frames_device(config.compute.frame_storage, device, length * observation.nbytes)
    images = torch.zeros((length, *observation.shape), dtype=observation.dtype, device=place)
    # Of the counting world the label that its measures are of; of another the numbers that every reset names.
    names = {"count"} if config.counting else set.intersection(*(set(each.step.labels) for each in world.running))
    kind = np.int64 if config.counting else np.float64
    return FrameRing(images, device, {name: np.zeros(length, kind) for name in sorted(names)[:MOST_LABELS]})


def _stored_auxiliary(arrays: Mapping[str, NDArray[Any]], counting: bool) -> dict[str, Any]:
    """Return p as a dataset has it: of its rows in the counting world, else of every observation of known p."""
    if counting:
        return {"auxiliary": arrays["auxiliary"]}
    first, end = arrays["source"].min(), arrays["successor"].max() + 1
    value = np.zeros((end - first, *arrays["auxiliary"].shape[1:]), np.float32)
    known = np.zeros(end - first, bool)
    for frame, name in (("source", "auxiliary"), ("successor", "successor_auxiliary")):
        rows = arrays[f"{name}_known"]
        value[arrays[frame][rows] - first], known[arrays[frame][rows] - first] = arrays[name][rows], True
    return {"observation_auxiliary": value, "observation_auxiliary_known": known}
