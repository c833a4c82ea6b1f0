"""Replay buffers: of a dataset collected before training, or of the latest transitions while training collects."""

import abc
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from bisim_theory import TransitionDataset
from bisim_theory.data.parts import take_frames, take_rows
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.disk_frames import DiskFrames
from pjepa_agent.collection.distinct import BalancedDraw, find_distinct
from pjepa_agent.collection.frames import (
    HEADROOM,
    FramePlacement,
    FrameRing,
    frames_device,
    hold_frames,
    stays_on_disk,
)
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.registry import make_domain

logger = logging.getLogger("pjepa_agent")

Sampling = Literal["uniform", "balanced"]

BLOCK = 1_000
"""Transitions that are collected at a time online, and appended to the buffer as updates need them."""

PER_STEP = frozenset({"action", "code", "reward", "terminated"})
"""Keys of a batch with a value for every transition of a sequence, where the data has them."""


class Replay(abc.ABC):
    """Draw batches of transitions from a TorchRL buffer of frame numbers, actions and values, and a ring of frames.

    Args:
        frames: the frames that the transitions point to.
        capacity: largest number of transitions.
        batch_size: transitions per batch, drawn with replacement.
        seed: of the draws.
        horizon: length of the rollout that follows each transition of a batch, itself included.
    """

    frames: FrameRing | DiskFrames
    stride: int = 1
    """Rows of the buffer from a transition to the next one of its episode."""
    shared: Tensor | None = None
    """(F,) number of the frame that holds each observation, where equal observations are held once."""

    def __init__(
        self, frames: FrameRing | DiskFrames, capacity: int, batch_size: int, seed: int, horizon: int = 1
    ) -> None:
        self.frames, self.horizon = frames, horizon
        self.generator = torch.Generator(frames.device).manual_seed(seed)
        storage = LazyTensorStorage(capacity, device=frames.device)
        self.buffer = TensorDictReplayBuffer(storage=storage, batch_size=batch_size, generator=self.generator)
        self._batch_size = batch_size

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a run needs to go on with the same transitions, besides its configuration: nothing by default."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - most have no state
        """Go on from a state of this rank. Does nothing by default."""

    def measures(self) -> dict[str, float]:
        """Return measures of what was collected, as ``metrics.csv`` has them: none by default."""
        return {}

    @abc.abstractmethod
    def collect_until(self, update: int) -> None:
        """Collect until the transitions for `update`, counted from 1, are available."""

    def sample(self) -> TensorDictBase:
        """Draw a batch of B sequences of h transitions; h is the horizon.

        - ``observation`` (B, h + 1, ...): images (H, W, C) uint8 or vectors (k,) float32, the source first.
        - ``action`` (B, h, A) and ``code`` (B, h); ``reward`` and ``terminated`` (B, h) where the data has them.
        - ``present`` (B, h): False beyond the end of the episode. Observations there repeat the last of the episode;
          nothing else there has a meaning.
        - ``auxiliary`` (B, 1, ...), p of the sources; where p belongs to observations (B, h + 1, ...), with
          ``auxiliary_known`` (B, h + 1). Unknown values are 0, and those beyond the end count as unknown.
        - ``content`` (B, h + 1) where equal observations are held once: which of them each observation is.
        """
        batch = self._draw()
        steps, numbers, present = self._following(batch)
        # Gathered step by step, so that all observations are one batch for an encoder without being copied.
        of_steps = self._contents(torch.stack(numbers))
        batch["observation"] = self.frames.images_of(of_steps).transpose(0, 1)
        if self.shared is not None:
            batch["content"] = of_steps.transpose(0, 1)
        if "successor_auxiliary" in batch:
            _join_auxiliary(batch, steps, present)
        else:
            batch["auxiliary"] = batch["auxiliary"].unsqueeze(1)
        for name in PER_STEP & set(batch.keys()):
            batch[name] = torch.stack([rows[name] for rows in steps], 1)
        batch["present"] = torch.stack(present, 1)
        return batch

    def _draw(self) -> TensorDictBase:
        """Draw rows (B,) of the buffer evenly, the very ones of its own sampler, with their ``index``."""
        place = self.generator.device
        index = torch.randint(len(self.buffer), (self._batch_size,), generator=self.generator, device=place)
        return self._drawn(index)

    def _drawn(self, index: Tensor) -> TensorDictBase:
        """Return rows (B,) of the storage. The buffer would wait for the device, as it takes numbers to the host."""
        rows: TensorDictBase = self.buffer.storage[index]
        rows["index"] = index
        return rows

    def _spread(self, count: int) -> Tensor:
        """Return the numbers (count,) of rows that are spread evenly over what batches are drawn evenly from."""
        return torch.arange(count) * len(self.buffer) // count

    def _contents(self, numbers: Tensor) -> Tensor:
        """Turn numbers of observations into numbers of the frames that hold them."""
        return numbers if self.shared is None else self.shared[numbers]

    def _following(self, batch: TensorDictBase) -> tuple[list[TensorDictBase], list[Tensor], list[Tensor]]:
        """Return rows (B,) of h transitions, numbers of h + 1 observations, and whether the transitions are present."""
        index, numbers = batch["index"], [batch["source"], batch["successor"]]
        steps, present = [batch.clone(recurse=False)], [torch.ones_like(index, dtype=torch.bool)]
        for _ in range(self.horizon - 1):
            following = (index + self.stride) % len(self.buffer)
            rows = self.buffer.storage[following]
            there = present[-1] & (rows["source"] == numbers[-1])
            index = torch.where(there, following, index)
            numbers.append(torch.where(there, rows["successor"], numbers[-1]))
            steps.append(rows)
            present.append(there)
        return steps, numbers, present

    def observations(self, count: int) -> Tensor:
        """Gather observations (count, ...) as they occur in batches.

        They are of sources and successors, spread evenly over the transitions, or over what batches are drawn evenly
        from. Where equal observations are held once, they are spread evenly over these, of which there may be fewer.
        """
        if self.shared is not None:
            number = len(self.frames)
            return self.frames.images_of(torch.arange(min(count, number)) * number // min(count, number))
        rows = self.buffer[self._spread((count + 1) // 2)]
        return self.frames.images_of(torch.stack([rows["source"], rows["successor"]], 1).flatten()[:count])


def _join_auxiliary(batch: TensorDictBase, steps: list[TensorDictBase], present: list[Tensor]) -> None:
    """Join p of the sources and of all observations that follow, where p belongs to observations."""
    values, known = [batch["auxiliary"]], [batch["auxiliary_known"]]
    for rows, there in zip(steps, present, strict=True):
        values.append(rows["successor_auxiliary"])
        known.append(rows["successor_auxiliary_known"] & there)
    batch["auxiliary"], batch["auxiliary_known"] = torch.stack(values, 1), torch.stack(known, 1)
    for name in ("successor_auxiliary", "successor_auxiliary_known"):
        del batch[name]


class DatasetReplay(Replay):
    """Draw batches from a dataset.

    Args:
        data: transitions with images and action values.
        batch_size: transitions per batch, drawn with replacement.
        seed: of the draws.
        device: of the batches.
        horizon: length of the rollout that follows each transition of a batch, itself included.
        placement: where the frames are kept, see `hold_frames`.
        unpacked: where frames are unpacked to that have to stay on disk and can only be read in order.
        sampling: ``uniform``, or ``balanced`` over distinct observations and actions; see `BalancedDraw`.
        share: hold equal observations once where they are many. Frames that stay on disk are not compared.
    """

    def __init__(
        self,
        data: TransitionDataset,
        batch_size: int,
        seed: int,
        device: torch.device,
        horizon: int = 1,
        placement: FramePlacement = "auto",
        unpacked: Path | None = None,
        sampling: Sampling = "uniform",
        share: bool = False,
    ) -> None:
        assert data.observation is not None
        on_disk = stays_on_disk(data.observation, device, placement)
        distinct = None if on_disk or not (share or sampling == "balanced") else find_distinct(data)
        images: Any = data.observation
        number: NDArray[np.int64] | None = None
        if share and distinct is not None and distinct.few:
            images, number = np.asarray(images[distinct.frames]), distinct.number
        frames = hold_frames(images, device, placement, unpacked)
        super().__init__(frames, len(data), batch_size, seed, horizon)
        self.buffer.extend(rows_of(data).to(device))
        if number is not None:
            self.shared = torch.from_numpy(number).to(frames.device)
        self._balanced: BalancedDraw | None = None
        if sampling == "balanced":
            if distinct is None:
                logger.info("draws transitions evenly, since frames that stay on disk are not compared")
            else:
                self._balanced = BalancedDraw(data, distinct, frames.device)

    def _draw(self) -> TensorDictBase:
        """Draw rows (B,), evenly or balanced."""
        if self._balanced is None:
            return super()._draw()
        return self._drawn(self._balanced(self._batch_size, self.generator))

    def _spread(self, count: int) -> Tensor:
        """Return the numbers (count,) of rows that are spread evenly over transitions, or over distinct pairs."""
        return super()._spread(count) if self._balanced is None else self._balanced.spread(count)

    def collect_until(self, update: int) -> None:
        """Do nothing: a dataset is complete from the start."""


class OnlineReplay(Replay):
    """Draw batches from the latest transitions of a random policy that acts during training (paper Appendix D).

    The policy ignores the model, so the seed fixes all that it collects. A resumed run collects again until its
    update, and only the state of the draws is saved.

    Args:
        config: capacity, transitions collected before the first update, and steps per update.
        device: of the batches.
        processes: the processes that train together, each with its own policy and buffer.
    """

    frames: FrameRing

    def __init__(self, config: Config, device: torch.device, processes: Processes = SINGLE_PROCESS) -> None:
        self.config, self.auxiliary = config, Auxiliary(config, processes)
        self._collector = make_domain(config.collection).collector(processes.seed(config.seed))
        self.transitions = 0  # appended to the buffer since the start
        self._block = self._collect_block(first_frame=0, device=device)
        self._appended = 0  # transitions of the block
        capacity = config.collection.transitions
        # Sources of the transitions in the buffer, as frame numbers: the oldest tells which frames are needed.
        self._sources: NDArray[np.int64] = np.zeros(capacity, np.int64)
        super().__init__(
            _empty_ring(config, self._block.data, device),
            capacity,
            processes.local_batch_size(config.optimization.batch_size),
            processes.seed(config.seed),
            config.objective.horizon,
        )
        self._block = self._placed(self._block)

    def collect_until(self, update: int) -> None:
        """Collect until the transitions for `update`, counted from 1, are in the buffer."""
        collection = self.config.collection
        wanted = max(collection.initial_transitions, update * collection.steps_per_update)
        while self.transitions < wanted:
            if self._appended == len(self._block.data):
                # A frame in the middle of an episode ends one block and begins the next, and has one number.
                first_frame = self._block.first_frame + self._block.data.frames - self._collector.in_episode
                self._block, self._appended = self._placed(self._collect_block(first_frame, self.frames.device)), 0
            self._append(min(wanted - self.transitions, len(self._block.data) - self._appended))

    def dataset(self) -> TransitionDataset:
        """Return the transitions in the buffer, oldest first, with their frames."""
        rows: TensorDictBase = self.buffer[:].cpu()
        rows = rows[rows["number"].argsort()]
        arrays: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in rows.items()}
        return dataset_of(arrays, self.frames, auxiliary=arrays["auxiliary"])

    @property
    def latest(self) -> TransitionDataset:
        """The first transitions of the last block, with p: at the start those before the first update."""
        count = max(self.config.collection.initial_transitions, self.config.collection.steps_per_update)
        return take_frames(take_rows(self._block.data, np.arange(min(count, len(self._block.data)))))

    def _collect_block(self, first_frame: int, device: torch.device) -> "_Block":
        """Collect transitions and compute p; rows are made for all of them at once."""
        data = self._collector.collect(max(BLOCK, self.config.collection.initial_transitions))
        data = self.auxiliary.attach(data)
        rows = rows_of(self.auxiliary.attach_trained(data))
        for name in ("source", "successor"):
            rows[name] = rows[name] + first_frame
        rows["number"] = torch.arange(len(data)) + self.transitions
        return _Block(data, torch.from_numpy(data.observation), rows.to(device), first_frame)

    def _placed(self, block: "_Block") -> "_Block":
        """Copy the frames of a block where the ring is, all at once: a copy from the host waits for the device."""
        return block._replace(images=block.images.to(self.frames.images.device))

    def _append(self, count: int) -> None:
        """Append at most `count` transitions of the block to the buffer, and their frames to the ring."""
        data, images, block_rows, first_frame = self._block
        # At most the capacity at a time, so that the ring need not hold frames whose transitions are overwritten.
        count = min(count, len(self._sources))
        rows = slice(self._appended, self._appended + count)
        first, last = data.source[rows].min(), data.successor[rows].max()
        numbers = np.arange(self.transitions, self.transitions + count)
        self._sources[numbers % len(self._sources)] = data.source[rows] + first_frame
        oldest = self._sources[max(numbers[-1] + 1 - len(self._sources), 0) % len(self._sources)]
        frames = slice(first, last + 1)
        labels = {name: label[frames] for name, label in data.labels.items()}
        self.frames.append(int(first) + first_frame, images[frames], labels, int(oldest))
        self.buffer.extend(block_rows[rows])
        self._appended += count
        self.transitions += count


class _Block(NamedTuple):
    """Transitions collected at a time.

    Attributes:
        data: with p of the sources, its frames numbered from 0.
        images: its frames, where the ring is.
        rows: the same for the buffer, with frames and transitions numbered since the start.
        first_frame: number of frame 0 since the start.
    """

    data: TransitionDataset
    images: Tensor
    rows: TensorDict
    first_frame: int


def expected_frames(data: TransitionDataset, transitions: int) -> int:
    """Estimate the frames of `transitions` from the ratio in `data`, with 2 % to spare."""
    return math.ceil(HEADROOM * transitions * data.frames / len(data))


def _empty_ring(config: Config, data: TransitionDataset, device: torch.device) -> FrameRing:
    """Allocate a ring for frames and labels like those of `data`, which grows if episodes become shorter."""
    assert data.observation is not None
    length, image = expected_frames(data, config.collection.transitions), data.observation[:1]
    place = frames_device(config.compute.frame_storage, device, length * image.nbytes)
    images = torch.zeros((length, *image.shape[1:]), dtype=torch.uint8, device=place)
    labels = {name: np.zeros((length, *label.shape[1:]), label.dtype) for name, label in data.labels.items()}
    return FrameRing(images, device, labels)


def dataset_of(arrays: Mapping[str, NDArray[Any]], frames: FrameRing, **more: Any) -> TransitionDataset:
    """Make a dataset of rows of a buffer, and of all frames from their first to their last."""
    first = arrays["source"].min()
    images, labels = frames.read(first, arrays["successor"].max() + 1)
    return TransitionDataset(
        source=arrays["source"] - first,
        successor=arrays["successor"] - first,
        action=arrays["code"],
        action_value=arrays["action"],
        reward=arrays["reward"],
        terminated=arrays["terminated"],
        truncated=arrays["truncated"],
        episode=arrays["episode"],
        observation=images,
        labels=labels,
        **more,
    )


def rows_of(data: TransitionDataset) -> TensorDict:
    """Put all but the frames of a dataset into a TensorDict (N,). See `Replay.sample` for the names."""
    columns: dict[str, NDArray[Any] | None] = {
        "source": np.asarray(data.source, np.int64),
        "successor": np.asarray(data.successor, np.int64),
        "code": np.asarray(data.action, np.int64),
        "action": np.asarray(data.action_value, np.float32),
        **_auxiliary_columns(data),
        "reward": data.reward,
        "terminated": data.terminated,
        "truncated": data.truncated,
        "episode": None if data.episode is None else np.asarray(data.episode, np.int64),
    }
    return TensorDict(
        {name: torch.from_numpy(value) for name, value in columns.items() if value is not None}, batch_size=[len(data)]
    )


def _auxiliary_columns(data: TransitionDataset) -> dict[str, NDArray[Any]]:
    """Return p of the sources, as it is stored by transition, or p of sources and successors, where known."""
    if data.auxiliary is not None:
        return {"auxiliary": np.asarray(data.auxiliary, np.float32)}
    assert data.observation_auxiliary is not None
    assert data.observation_auxiliary_known is not None
    value, known = np.asarray(data.observation_auxiliary, np.float32), data.observation_auxiliary_known
    return {
        "auxiliary": value[data.source],
        "auxiliary_known": known[data.source],
        "successor_auxiliary": value[data.successor],
        "successor_auxiliary_known": known[data.successor],
    }
