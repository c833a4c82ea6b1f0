"""Draw sprites, place them without overlap, and blit them onto a black image."""

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RADIUS = 3
"""Half the side of a sprite in pixels: an object is drawn inside the 7x7 box around its centre."""

SPRITE_SIZE = 2 * RADIUS + 1

DARKEST, BRIGHTEST = 30, 225
"""Inclusive bounds of every colour channel, so that every object differs from the black background."""

_ROW = np.dtype((np.void, 3 * SPRITE_SIZE))  # a row of a sprite as one item: a blit then copies 7 items and not 147


@functools.cache
def _row_offsets(size: int) -> NDArray[np.int64]:
    """Return the offsets (7,) in pixels of a sprite's rows from its first pixel, in an image of width `size`."""
    return np.arange(SPRITE_SIZE) * size


def _masks() -> dict[str, NDArray[np.bool_]]:
    row, column = np.indices((SPRITE_SIZE, SPRITE_SIZE)) - RADIUS
    return {
        "triangle": 2 * abs(column) <= row + RADIUS,
        "disk": row**2 + column**2 <= (RADIUS + 0.5) ** 2,
        "square": np.ones((SPRITE_SIZE, SPRITE_SIZE), bool),
        "bar": abs(row) <= 1,
    }


MASKS = _masks()
"""Shape name -> (7, 7) bool: which pixels of its box an object of that shape covers."""

SHAPES = tuple(MASKS)
"""Names of the shapes, in the order of the paper."""


_STACKED = np.stack(list(MASKS.values()))[..., None]


def sprites(shapes: NDArray[np.int64], colors: NDArray[np.uint8]) -> NDArray[np.void]:
    """Draw objects of shapes (n,), indices into `SHAPES`, in colours (n, 3) uint8 on black: (n, 7) rows of pixels."""
    return (_STACKED[shapes] * colors[:, None, None]).reshape(-1, SPRITE_SIZE, 3 * SPRITE_SIZE).view(_ROW)[..., 0]


def black(size: int, *batch: int) -> NDArray[np.uint8]:
    """Make black images (*batch, size, size, 3) uint8."""
    return np.zeros((*batch, size, size, 3), np.uint8)


def first_pixels(corners: NDArray[np.integer[Any]], size: int) -> NDArray[np.int64]:
    """Number the top left pixels (..., 2) of objects along the rows of an image: (...,)."""
    return corners[..., 0] * np.int64(size) + corners[..., 1]


def blit(images: NDArray[np.uint8], first: NDArray[np.int64], rows: NDArray[np.void]) -> None:
    """Copy objects into images.

    The whole 7x7 box is copied, its black part too; boxes never overlap, so no object is overwritten.

    Args:
        images: (..., size, size, 3) uint8 in C order, written to.
        first: (m,) top left pixels, counted along the rows of all images.
        rows: (7,) rows of one sprite, or (m, 7) of one for each object.
    """
    size = images.shape[-2]
    pixels = images.size // 3 - SPRITE_SIZE + 1
    starts = np.ndarray((pixels,), _ROW, images, strides=(3,))  # the row of a sprite that begins at each pixel
    starts[first[:, None] + _row_offsets(size)] = rows


def most_objects(size: int, gap: int) -> int:
    """Return how many objects fit into an image at least `gap` pixels apart, wherever the earlier ones are.

    Each placed object forbids at most (2 (7 + gap) - 1)^2 corners to the next, so below this number sequential
    placement cannot get stuck.
    """
    corners = (size - SPRITE_SIZE + 1) ** 2 if size >= SPRITE_SIZE else 0
    forbidden = (2 * (SPRITE_SIZE + gap) - 1) ** 2
    return -(-corners // forbidden)


def sample_placements(rng: np.random.Generator, number: int, objects: int, size: int, gap: int) -> NDArray[np.int16]:
    """Sample `number` independent placements: (number, objects, 2) row and column of each object's top left pixel.

    The objects of a placement are placed one after the other, each uniformly on what the earlier ones leave free, so
    the first k of them are a valid sample of k. Any two boxes of a placement lie at least `gap` pixels apart.
    `objects` must not exceed `most_objects(size, gap)`.
    """
    apart, places = SPRITE_SIZE + gap, size - SPRITE_SIZE + 1
    # Objects first and small integers: the comparisons then run along memory, many to an instruction.
    placed = np.zeros((objects, 2, number), np.int16)
    for index in range(objects):
        placed[index] = rng.integers(places, size=(2, number), dtype=np.int16)
        pending = np.flatnonzero(_blocked(placed[:index], placed[index], apart))
        while pending.size:
            candidate = rng.integers(places, size=(2, pending.size), dtype=np.int16)
            placed[index][:, pending] = candidate
            pending = pending[_blocked(placed[:index, :, pending], candidate, apart)]
    return np.ascontiguousarray(placed.transpose(2, 0, 1))


def _blocked(earlier: NDArray[np.int16], candidate: NDArray[np.int16], apart: int) -> NDArray[np.bool_]:
    """Tell which candidates (2, n) are closer than `apart` in row and column to an earlier object (k, 2, n)."""
    near = abs(earlier - candidate) < apart
    return np.asarray((near[:, 0] & near[:, 1]).any(0))


class Placement(NamedTuple):
    """Hold the positions of objects: `centres` (..., k, 2), row and column, and their `first_pixels` (..., k)."""

    centres: NDArray[np.int64]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, corners: NDArray[np.integer[Any]], size: int) -> "Placement":
        """Make the placement of top left pixels (..., k, 2)."""
        return cls(corners.astype(np.int64) + RADIUS, first_pixels(corners, size))


class PlacementStream:
    """Stream placements from one generator, sampled in growing blocks, which is faster than one by one.

    Args:
        objects: objects per placement.
        size: side of the image in pixels.
        gap: least distance between two boxes in pixels.
    """

    FIRST_BLOCK, LARGEST_BLOCK = 16, 2048

    def __init__(self, objects: int, size: int, gap: int) -> None:
        self.objects, self.size, self.gap = objects, size, gap
        self.restart()

    def restart(self) -> None:
        """Discard the placements sampled ahead, so that the next one depends on the generator alone."""
        self._block = np.empty((0, self.objects, 2), np.int16)
        self._cursor = 0
        self._generator: np.random.Generator | None = None

    def next_block(self, rng: np.random.Generator) -> NDArray[np.int16]:
        """Sample the next placements, (n, objects, 2) corners, read-only. n doubles from block to block."""
        number = min(max(2 * len(self._block), self.FIRST_BLOCK), self.LARGEST_BLOCK)
        self._block = sample_placements(rng, number, self.objects, self.size, self.gap)
        self._cursor = 0
        self._generator = rng
        return self._block

    def take(self, rng: np.random.Generator) -> "Placement":
        """Return the next placement, read-only. Those sampled ahead by another generator are discarded."""
        if rng is not self._generator:
            self.restart()
        if self._cursor == len(self._block):
            self._whole = Placement.of(self.next_block(rng), self.size)
        self._cursor += 1
        return Placement(self._whole.centres[self._cursor - 1], self._whole.first[self._cursor - 1])

    def state(self) -> tuple[NDArray[np.int16], int]:
        """Return the placements sampled ahead and the number of used ones, for `set_state`."""
        return self._block, self._cursor  # blocks are replaced and never written to, so no copy is needed

    def set_state(self, state: tuple[NDArray[np.int16], int], rng: np.random.Generator) -> None:
        """Restore an earlier `state`, to be continued by a generator."""
        self._block, self._cursor = state
        self._generator = rng
        self._whole = Placement.of(self._block, self.size)
