"""Observations along the first axis, read in pieces where they are many."""

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.arrays import is_tensor
from bisim_theory.data.numbering import Integers, id_type
from bisim_theory.progress import ProgressCallback, silent

MOST_CHANNELS = 12
"""Most channels of an image: a stack of four in colour."""

FRAMES_AT_ONCE = 2048
"""Most frames in memory at a time while all are read."""

BYTES_AT_ONCE = 1 << 26
"""Most bytes of frames in memory at a time, unless a single frame has more."""


class Frames(Protocol):
    """Observations along the first axis, such as images: an array, or a file that is read in pieces."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, ...); for images (F, H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """A numeric type; for images uint8."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Return the frames of a slice."""


def piece_rows(frames: Frames) -> int:
    """Return the number of frames to hold in memory at a time."""
    size = frames.dtype.itemsize * int(np.prod([int(n) for n in frames.shape[1:]], dtype=object))
    return max(1, min(FRAMES_AT_ONCE, BYTES_AT_ONCE // max(size, 1)))


def chunks(frames: Frames, rows: int | None = None) -> Iterator[NDArray[Any]]:
    """Yield frames in order, in pieces of at most `rows`, by default `piece_rows`."""
    rows = piece_rows(frames) if rows is None else rows
    for start in range(0, frames.shape[0], rows):
        yield frames[start : start + rows]


def is_images(frames: Frames) -> bool:
    """Return whether frames are images: (F, H, W, C) uint8 of at most `MOST_CHANNELS` channels."""
    return len(frames.shape) == 4 and frames.dtype == np.uint8 and 1 <= frames.shape[3] <= MOST_CHANNELS


def is_read_in_pieces(frames: object) -> bool:
    """Return whether frames lie elsewhere than in an array in memory, of NumPy or another library."""
    in_memory = isinstance(frames, np.ndarray) or is_tensor(frames) or hasattr(frames, "__array_namespace__")
    return hasattr(frames, "shape") and not in_memory


def equal_frames(frames: Frames, progress: ProgressCallback = silent) -> Integers:
    """Compute (F,) ids that are equal for frames of equal content: the id of the first of them.

    Args:
        frames: the frames, of which a piece is in memory at a time.
        progress: called with the number of frames read.
    """
    number = frames.shape[0]
    # Nobody can find two images with one 256-bit digest, so bytes need not be compared.
    first: dict[bytes, int] = {}
    ids = np.empty(number, id_type(number))
    position = 0
    for piece in chunks(frames):
        same = piece + piece.dtype.type(0) if piece.dtype.kind == "f" else piece  # -0.0 equals 0.0
        for frame in np.ascontiguousarray(same).reshape(len(same), -1):
            digest = hashlib.blake2b(frame.data, digest_size=32).digest()
            ids[position] = first.setdefault(digest, position)
            position += 1
        progress(position, number)
    return ids
