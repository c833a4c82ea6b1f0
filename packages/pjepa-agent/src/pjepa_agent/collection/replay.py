"""Batches of transitions: of a dataset collected before training, or of the latest while training collects."""

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import torch
from bisim_theory import TransitionDataset
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.policy import RandomPolicy
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config

BLOCK = 1_000
"""Transitions that are collected at a time online, and released as updates come to them."""


SPARE = 1.02
"""Length of the rings of frames over what is expected, or known to be needed."""

Frames = Literal["auto", "device", "host"]


class Sampler:
    """Batches of transitions: a TorchRL buffer of their indices beside the frames, each of which is kept once.

    Args:
        data: transitions with images and action values.
        batch_size: transitions per batch, drawn with replacement.
        seed: fixes the draws.
        device: where the batches are made.
        horizon: consecutive transitions of an episode in a row of a batch.
        frames: where the frames are kept, see `frames_device`.
    """

    def __init__(
        self,
        data: TransitionDataset,
        batch_size: int,
        seed: int,
        device: torch.device,
        horizon: int = 1,
        frames: Frames = "auto",
    ) -> None:
        assert data.observation is not None
        self.horizon, self.device = horizon, device
        images = torch.from_numpy(data.observation[: data.frames])
        self.frames = images.to(frames_device(frames, device, images.nbytes))
        self.generator = torch.Generator(device).manual_seed(seed)
        self.buffer = _buffer(len(data), batch_size, self.generator)
        self.buffer.extend(_rows(data).to(device))

    def sample(self) -> TensorDictBase:
        """A batch with ``source_image``, ``successor_image`` (B, H, W, 3), ``action`` (B, A) and ``auxiliary``.

        And ``reward`` and ``terminated`` (B,) where the data has them. With a horizon h above 1 also the h - 1
        transitions that follow in the episode: ``later_action`` (B, h - 1, A), ``later_image`` (B, h - 1, H, W, 3),
        what they lead to, and ``later_present`` (B, h - 1), False beyond the episode's end.
        """
        batch: TensorDictBase = self.buffer.sample()
        batch["source_image"] = self._images(batch["source"])
        batch["successor_image"] = self._images(batch["successor"])
        if self.horizon > 1:
            self._follow(batch)
        return batch

    def _images(self, frame: Tensor) -> Tensor:
        return self.frames[(frame % len(self.frames)).to(self.frames.device)].to(self.device)

    def _follow(self, batch: TensorDictBase) -> None:
        """Put in the transitions that follow those of a batch; where an episode ends, its last again, not `present`."""
        place, successor = batch["index"], batch["successor"]
        present = torch.ones_like(place, dtype=torch.bool)
        actions, images, there = [], [], []
        for _ in range(self.horizon - 1):
            following = (place + 1) % len(self.buffer)
            rows = self.buffer[following]
            present = present & (rows["source"] == successor)
            place = torch.where(present, following, place)
            successor = torch.where(present, rows["successor"], successor)
            actions.append(rows["action"])
            images.append(self._images(successor))
            there.append(present)
        batch["later_action"], batch["later_image"] = torch.stack(actions, 1), torch.stack(images, 1)
        batch["later_present"] = torch.stack(there, 1)

    def observations(self, count: int) -> Tensor:
        """Images (count, H, W, 3) of both ends of transitions, evenly spread over those that are there."""
        rows = self.buffer[torch.arange((count + 1) // 2) * len(self.buffer) // ((count + 1) // 2)]
        return self._images(torch.stack([rows["source"], rows["successor"]], 1).flatten()[:count])

    def advance(self, update: int) -> None:
        """Have what is there at an update, counted from 1; a dataset is there from the first."""


class RecentTransitions(Sampler):
    """The latest transitions of the random policy, which goes on as training does (paper Appendix D).

    The policy does not look at the model, so the seed fixes all that it will ever do: a resumed run advances a new
    buffer to its update and has the very same transitions, with nothing saved but the state of the draws.

    Args:
        config: how much is kept, what is there at first, and how many steps an update takes.
        device: where the batches are made.
        processes: the processes that train together, each with a policy and a buffer of its own.
    """

    def __init__(self, config: Config, device: torch.device, processes: Processes = SINGLE_PROCESS) -> None:
        self.config, self.horizon, self.device = config, config.objective.horizon, device
        self.auxiliary = Auxiliary(config, processes)
        self._policy = RandomPolicy(config.collection, processes.seed(config.seed))
        self._block: TransitionDataset | None = None  # what is collected; of it, `_released` rows are in the buffer
        self._released = 0
        self._first_frame = 0  # of the block, in the count of all frames ever
        self._seen = 0  # frames that ever were in the ring
        self.transitions = 0
        self.generator = torch.Generator(device).manual_seed(processes.seed(config.seed))
        most = config.collection.transitions
        self.buffer = _buffer(most, processes.local_batch_size(config.optimization.batch_size), self.generator)
        self._next_block()
        assert self._block is not None
        assert self._block.observation is not None
        # Of the transitions in the buffer, as numbers of all frames ever.
        self._sources: NDArray[np.int64] = np.zeros(most, np.int64)
        # Frames and labels are in rings, which grow should episodes become so short that these are too small.
        length = expected_frames(self._block, most)
        images = self._block.observation
        place = frames_device(config.compute.frames, device, length * images[0].nbytes)
        self.frames = torch.zeros((length, *images.shape[1:]), dtype=torch.uint8, device=place)
        self._labels: dict[str, NDArray[Any]] = {
            name: np.zeros((length, *label.shape[1:]), label.dtype) for name, label in self._block.labels.items()
        }

    def advance(self, update: int) -> None:
        """Act until all transitions of an update are there, the update counted from 1."""
        collection = self.config.collection
        wanted = max(collection.initial, update * collection.steps_per_update)
        while self.transitions < wanted:
            assert self._block is not None
            if self._released == len(self._block):
                self._next_block()
            self._release(min(wanted - self.transitions, len(self._block) - self._released))

    def dataset(self) -> TransitionDataset:
        """The transitions that are in the buffer, oldest first, with their frames."""
        rows: TensorDictBase = self.buffer[:].cpu()
        rows = rows[rows["number"].argsort()]
        arrays: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in rows.items()}
        first, last = arrays["source"].min(), arrays["successor"].max()
        kept = np.arange(first, last + 1) % len(self.frames)
        return TransitionDataset(
            source=arrays["source"] - first,
            successor=arrays["successor"] - first,
            action=arrays["code"],
            action_value=arrays["action"],
            auxiliary=arrays["auxiliary"],
            reward=arrays["reward"],
            terminated=arrays["terminated"],
            truncated=arrays["truncated"],
            episode=arrays["episode"],
            observation=self.frames.cpu().numpy()[kept],
            labels={name: label[kept] for name, label in self._labels.items()},
        )

    def _next_block(self) -> None:
        if self._block is not None:
            # A frame in the middle of an episode ends one block and begins the next, and is one frame.
            self._first_frame += self._block.frames - self._policy.in_episode
        block = self._policy.collect(max(BLOCK, self.config.collection.initial))
        assert block.observation is not None
        values = self.auxiliary(block.observation, block.labels)
        self._block, self._released = dataclasses.replace(block, auxiliary=values[block.source]), 0
        # All rows at once: they are released one by one.
        rows = _rows(self._block)
        for name in ("source", "successor"):
            rows[name] = rows[name] + self._first_frame
        rows["number"] = torch.arange(len(block)) + self.transitions
        self._rows = rows.to(self.device)

    def _release(self, count: int) -> None:
        """Put the next transitions of the block into the buffer, and their frames into the ring."""
        assert self._block is not None
        assert self._block.observation is not None
        # In pieces that the ring holds, so that no frame is written over by one of its own piece.
        count = min(count, len(self._sources))
        rows = slice(self._released, self._released + count)
        first, last = self._block.source[rows].min(), self._block.successor[rows].max()
        numbers = np.arange(self.transitions, self.transitions + count)
        self._sources[numbers % len(self._sources)] = self._block.source[rows] + self._first_frame
        oldest = self._sources[max(numbers[-1] + 1 - len(self._sources), 0) % len(self._sources)]
        self._fit(oldest, last + self._first_frame)
        self._seen = int(last) + self._first_frame + 1
        places = np.arange(first, last + 1) + self._first_frame
        places %= len(self.frames)
        images = torch.from_numpy(self._block.observation[first : last + 1])
        self.frames[torch.from_numpy(places).to(self.frames.device)] = images.to(self.frames.device)
        for name, label in self._labels.items():
            label[places] = self._block.labels[name][first : last + 1]
        self.buffer.extend(self._rows[rows])
        self._released += count
        self.transitions += count

    def _fit(self, oldest: int, newest: int) -> None:
        """Have the rings hold all frames from one number to another, of which some are in them already."""
        if newest - oldest < len(self.frames):
            return
        length = math.ceil(SPARE * (newest - oldest + 1))
        kept = np.arange(oldest, self._seen)
        frames = self.frames.new_zeros((length, *self.frames.shape[1:]))
        for piece in np.array_split(kept, len(kept) // BLOCK + 1):  # so that not all of them are there a third time
            frames[torch.from_numpy(piece % length)] = self.frames[torch.from_numpy(piece % len(self.frames))]
        for name, label in self._labels.items():
            self._labels[name] = np.zeros((length, *label.shape[1:]), label.dtype)
            self._labels[name][kept % length] = label[kept % len(self.frames)]
        self.frames = frames


def expected_frames(block: TransitionDataset, transitions: int) -> int:
    """How many frames so many transitions have, going by some of them, with a few to spare."""
    return math.ceil(SPARE * transitions * block.frames / len(block))


def frames_device(wanted: Frames, device: torch.device, size: int) -> torch.device:
    """Where frames of so many bytes are kept: on the device that trains, or in the memory of the host.

    Args:
        wanted: ``device``, ``host``, or ``auto`` for the device if they take at most half of what is free there.
        device: that trains.
        size: bytes of all frames.
    """
    host = torch.device("cpu")
    if wanted == "host":
        return host
    if wanted == "auto" and device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] / 2:
        return host
    return device


def _buffer(size: int, batch_size: int, generator: torch.Generator) -> TensorDictReplayBuffer:
    storage = LazyTensorStorage(size, device=generator.device)
    return TensorDictReplayBuffer(storage=storage, batch_size=batch_size, generator=generator)


def _rows(data: TransitionDataset) -> TensorDict:
    """All of a dataset but its frames: a row a transition."""
    columns = {
        "source": data.source,
        "successor": data.successor,
        "code": data.action,
        "action": np.asarray(data.action_value, np.float32),
        "auxiliary": np.asarray(data.auxiliary, np.float32),
        "reward": data.reward,
        "terminated": data.terminated,
        "truncated": data.truncated,
        "episode": data.episode,
    }
    return TensorDict(
        {name: torch.from_numpy(value) for name, value in columns.items() if value is not None}, batch_size=[len(data)]
    )
