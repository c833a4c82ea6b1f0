"""Keep each frame once, in a ring buffer on the host or on the device that trains."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from bisim_theory.data.transitions import Frames, chunks
from numpy.typing import NDArray
from torch import Tensor

from pjepa_agent.collection.disk_frames import DiskFrames, as_trained, on_disk, trained_bytes
from pjepa_agent.compute.memory import available_memory

FramePlacement = Literal["auto", "device", "host", "disk"]

MEMORY_SHARE = 1 / 8
"""Largest share of the available memory that frames of a file take. Of more, each batch reads its own."""

HEADROOM = 1.02
"""Length of a ring relative to the frames that it is expected, or known, to hold."""

PIECE = 1_000
"""Frames that are copied at a time when a ring grows, so that memory never holds all of them a third time."""


class FrameRing:
    """Hold frames that are numbered in the order of arrival; frame n is in slot n modulo the length.

    Args:
        images: memory of the ring, (F, H, W, C) uint8 or (F, k) float32, with the first frames or zeros.
        device: where `images_of` returns images.
        labels: memory of the labels per frame, (F, ...) each.
    """

    def __init__(self, images: Tensor, device: torch.device, labels: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.images, self.device = images, device
        self.labels = dict(labels or {})
        self.end = 0  # number of the frame after the newest

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self.images)

    @property
    def nbytes(self) -> int:
        """Return the bytes of images and labels."""
        return self.images.nbytes + sum(label.nbytes for label in self.labels.values())

    def images_of(self, numbers: Tensor) -> Tensor:
        """Gather the images (..., H, W, C), or vectors (..., k), of frame numbers (...)."""
        return self.images[(numbers % len(self)).to(self.images.device)].to(self.device)

    def append(
        self, first: int, images: NDArray[np.uint8] | Tensor, labels: Mapping[str, NDArray[Any]], oldest: int
    ) -> None:
        """Write consecutive frames, of which the first may be the newest already here.

        Args:
            first: number of the first frame.
            images: frames (n, ...). The device is not waited for where they are in its memory already.
            labels: labels (n, ...) per frame.
            oldest: number of the oldest frame that is still needed; older ones may be overwritten.
        """
        end = first + len(images)
        if end - oldest > len(self):
            self._grow(oldest, math.ceil(HEADROOM * (end - oldest)))
        self.end = end
        images = torch.as_tensor(images)
        start = first % len(self)
        before_wrap = min(len(images), len(self) - start)
        for slot, rows in ((start, slice(before_wrap)), (0, slice(before_wrap, len(images)))):
            piece = images[rows]
            self.images[slot : slot + len(piece)] = piece
            for name, label in self.labels.items():
                label[slot : slot + len(piece)] = labels[name][rows]

    def read(self, first: int, end: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """Copy the images and labels of frames `first` to `end` - 1 to the host."""
        slots = np.arange(first, end) % len(self)
        return self.images.cpu().numpy()[slots], {name: label[slots] for name, label in self.labels.items()}

    def _grow(self, oldest: int, length: int) -> None:
        """Move the frames from `oldest` on into a longer ring.

        A ring as long as the worst case, two frames a transition, would never grow. But every slot is written in
        time, so it would take nearly twice the memory.
        """
        kept = np.arange(oldest, self.end)
        images = self.images.new_zeros((length, *self.images.shape[1:]))
        for piece in np.array_split(kept, len(kept) // PIECE + 1):
            images[torch.from_numpy(piece % length)] = self.images[torch.from_numpy(piece % len(self))]
        for name, label in self.labels.items():
            self.labels[name] = np.zeros((length, *label.shape[1:]), label.dtype)
            self.labels[name][kept % length] = label[kept % len(self)]
        self.images = images


def hold_frames(
    frames: Frames, device: torch.device, placement: FramePlacement = "auto", unpacked: Path | None = None
) -> FrameRing | DiskFrames:
    """Hold all frames of a dataset where there is room, so that batches can be gathered.

    Args:
        frames: (F, H, W, C) uint8 or (F, k) numbers, in memory or in a file.
        device: of the batches.
        placement: ``device``, ``host``, ``disk``, or ``auto`` for the first of these with room to spare. Frames that
            are in memory already are not put on disk.
        unpacked: see `on_disk`.

    Raises:
        ConfigError: the frames are to stay on disk, and cannot.
    """
    if stays_on_disk(frames, device, placement):
        return on_disk(frames, device, unpacked)
    place = frames_device(placement, device, trained_bytes(frames))
    if isinstance(frames, np.ndarray):
        return FrameRing(torch.from_numpy(as_trained(frames)).to(place), device)
    dtype = torch.uint8 if frames.dtype == np.uint8 else torch.float32
    held = torch.empty(tuple(frames.shape), dtype=dtype, device=place)
    start = 0
    for piece in chunks(frames):
        held[start : start + len(piece)] = torch.from_numpy(as_trained(piece))
        start += len(piece)
    return FrameRing(held, device)


def stays_on_disk(frames: Frames, device: torch.device, placement: FramePlacement) -> bool:
    """Return whether each batch reads its own frames; see `hold_frames`."""
    if isinstance(frames, np.ndarray):
        return False
    size = trained_bytes(frames)
    on_host = placement == "auto" and frames_device(placement, device, size).type == "cpu"
    return placement == "disk" or (on_host and size > MEMORY_SHARE * available_memory())


def frames_device(placement: FramePlacement, device: torch.device, size: int) -> torch.device:
    """Choose the device that keeps the frames that memory holds.

    Args:
        placement: ``device``, ``host``, or ``auto`` for the device if they take at most half of its free memory.
        device: that trains.
        size: bytes of all frames.
    """
    host = torch.device("cpu")
    if placement in ("host", "disk"):
        return host
    if placement == "auto" and device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] / 2:
        return host
    return device
