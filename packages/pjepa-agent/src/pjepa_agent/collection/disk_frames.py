"""Frames that stay on disk, and are gathered from there for every batch."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bisim_theory.data.transitions import Frames, chunks
from bisim_theory.files import atomic_write
from bisim_theory.formats.frames import PlainFrames, random_access
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from pjepa_agent.config.fields import ConfigError

logger = logging.getLogger("pjepa_agent")


class DiskFrames:
    """Gather frames by number from where they are stored, so that memory holds those of a batch alone.

    Args:
        frames: (F, H, W, C) uint8 or (F, k) numbers, whose rows can be read in any order.
        device: where `images_of` returns images.
    """

    def __init__(self, frames: Frames, device: torch.device) -> None:
        self._frames, self.device = frames, device

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._frames.shape[0]

    @property
    def nbytes(self) -> int:
        """Return the bytes in memory: none."""
        return 0

    def images_of(self, numbers: Tensor) -> Tensor:
        """Gather the images (..., H, W, C), or vectors (..., k), of frame numbers (...)."""
        # Each frame once, and in the order of the file.
        wanted, place = np.unique(numbers.cpu().numpy(), return_inverse=True)
        frames = as_trained(self._frames[wanted])  # type: ignore[index]  # stores take arrays too
        return torch.from_numpy(frames)[torch.from_numpy(place.reshape(numbers.shape))].to(self.device)


def as_trained(frames: NDArray[Any]) -> NDArray[Any]:
    """Return images as uint8 and vectors as float32."""
    return np.asarray(frames, np.uint8 if frames.dtype == np.uint8 else np.float32)


def trained_bytes(frames: Frames) -> int:
    """Return the bytes of all frames as `as_trained` makes them."""
    size = 1 if frames.dtype == np.uint8 else 4
    return size * int(np.prod([int(n) for n in frames.shape], dtype=object))


def on_disk(frames: Frames, device: torch.device, unpacked: Path | None) -> DiskFrames:
    """Gather frames from their file, or from an unpacked copy of it where they can only be read in order.

    Args:
        frames: from a file.
        device: of the batches.
        unpacked: where the copy is made, or was made by a run that is continued.

    Raises:
        ConfigError: there is no room for a copy.
    """
    if random_access(frames):
        logger.info("reading the frames of each batch from their file, since memory is short for %s", _size(frames))
        return DiskFrames(frames, device)
    if unpacked is None:
        raise ConfigError(
            f"the frames take {_size(frames)} of memory, and a compressed .npz file cannot be read at random; save it "
            "with numpy.savez, uncompressed"
        )
    return DiskFrames(_unpack(frames, unpacked), device)


def _unpack(frames: Frames, path: Path) -> PlainFrames:
    """Write frames to a ``.npy`` file, unless it is there."""
    shape = tuple(int(n) for n in frames.shape)
    header = {"descr": npy.dtype_to_descr(frames.dtype), "fortran_order": False, "shape": shape}
    if not _holds(path, frames.dtype, shape):
        _require_room(frames, path)
        logger.info(
            "unpacking %s of frames to %s, since a compressed .npz file cannot be read at random; delete it when the "
            "run is done",
            _size(frames),
            path,
        )
        with atomic_write(path) as file:
            npy.write_array_header_1_0(file, header)
            for piece in chunks(frames):
                file.write(np.ascontiguousarray(piece).data)
    return PlainFrames(path, frames.dtype, shape, os.path.getsize(path) - _stored_bytes(frames))


def _holds(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Return whether a ``.npy`` file holds an array of a type and shape."""
    try:
        found = npy.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return False
    return found.dtype == dtype and found.shape == shape


def _require_room(frames: Frames, path: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < _stored_bytes(frames) + (1 << 20):
        raise ConfigError(
            f"{path}: unpacking the frames takes {_size(frames)}, and {free / 1e9:.1f} GB are free there; give a "
            "--run-dir with more room, or save the dataset with numpy.savez, uncompressed"
        )


def _stored_bytes(frames: Frames) -> int:
    return frames.dtype.itemsize * int(np.prod([int(n) for n in frames.shape], dtype=object))


def _size(frames: Frames) -> str:
    return f"{_stored_bytes(frames) / 1e9:.1f} GB"
