"""Sprites, their placement without overlap, and blitting them onto a black image."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

RADIUS = 3
"""Half the side of a sprite in pixels: an object is drawn inside the 7x7 box around its centre."""

SPRITE_SIZE = 2 * RADIUS + 1

DARKEST, BRIGHTEST = 30, 225
"""Inclusive bounds of every colour channel, so that no object melts into the black background."""

_PIXEL = np.dtype("V3")  # one RGB pixel as one item: a blit then copies 49 items and not 147


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


def sprite(shape: str, color: NDArray[np.uint8]) -> NDArray[np.void]:
    """The (7, 7) pixels of an object: `color` (3,) uint8 on black."""
    pixels = MASKS[shape][..., None] * np.asarray(color, np.uint8)
    return np.ascontiguousarray(pixels).view(_PIXEL)[..., 0]


def black(size: int, *batch: int) -> NDArray[np.uint8]:
    """A new black image, (*batch, size, size, 3) uint8."""
    return np.zeros((*batch, size, size, 3), np.uint8)


def as_pixels(image: NDArray[np.uint8]) -> NDArray[np.void]:
    """The same memory as (..., H, W) items of one pixel each; writes go through to `image`."""
    return image.view(_PIXEL)[..., 0]


def blit(pixels: NDArray[np.void], sprite_pixels: NDArray[np.void], corners: Iterable[tuple[int, int]]) -> None:
    """Copy the sprite to every corner (row, column of its top left pixel) of an (H, W) view from `as_pixels`.

    The whole box is copied, its black part too: boxes never overlap, so nothing is ever painted over.
    """
    for row, column in corners:
        pixels[row : row + SPRITE_SIZE, column : column + SPRITE_SIZE] = sprite_pixels


def most_objects(size: int, gap: int) -> int:
    """How many objects fit into a size x size image at least `gap` pixels apart, however the earlier ones lie.

    Each placed object forbids at most (2 (7 + gap) - 1)^2 corners to the next, so below this number sequential
    placement cannot get stuck.
    """
    corners = (size - SPRITE_SIZE + 1) ** 2 if size >= SPRITE_SIZE else 0
    forbidden = (2 * (SPRITE_SIZE + gap) - 1) ** 2
    return -(-corners // forbidden)


def sample_placements(rng: np.random.Generator, number: int, objects: int, size: int, gap: int) -> NDArray[np.int64]:
    """Sample `number` independent placements: (number, objects, 2) row and column of each object's top left pixel.

    The objects of a placement are placed one after the other, each uniformly on what the earlier ones leave free, so
    the first k of them are a valid sample of k. Any two boxes of a placement lie at least `gap` pixels apart.
    `objects` must not exceed `most_objects(size, gap)`.
    """
    apart = SPRITE_SIZE + gap
    placed = np.zeros((objects, 2, number), np.int64)  # objects first: the comparisons below then run along memory
    for index in range(objects):
        pending = np.arange(number)
        while pending.size:
            candidate = rng.integers(size - SPRITE_SIZE + 1, size=(2, pending.size))
            distance = abs(placed[:index, :, pending] - candidate)
            free = (distance >= apart).any(1).all(0)
            placed[index][:, pending[free]] = candidate[:, free]
            pending = pending[~free]
    return np.ascontiguousarray(placed.transpose(2, 0, 1))


class PlacementStream:
    """An endless stream of placements from one generator, sampled in growing blocks because a block is cheaper.

    Args:
        objects: objects per placement.
        size: side of the image in pixels.
        gap: least distance between two boxes in pixels.
    """

    FIRST_BLOCK, LARGEST_BLOCK = 16, 1024

    def __init__(self, objects: int, size: int, gap: int) -> None:
        self.objects, self.size, self.gap = objects, size, gap
        self.restart()

    def restart(self) -> None:
        """Forget what was sampled ahead, so that the next placement depends on the generator alone."""
        self._block = np.empty((0, self.objects, 2), np.int64)
        self._cursor = 0

    def take(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The next placement, (objects, 2) corners; the caller must not write to it."""
        if self._cursor == len(self._block):
            number = min(max(2 * len(self._block), self.FIRST_BLOCK), self.LARGEST_BLOCK)
            self._block = sample_placements(rng, number, self.objects, self.size, self.gap)
            self._cursor = 0
        self._cursor += 1
        return self._block[self._cursor - 1]

    def state(self) -> tuple[NDArray[np.int64], int]:
        """What was sampled ahead and how much of it was used; `set_state` takes it back."""
        return self._block, self._cursor  # blocks are replaced and never written to, so no copy is needed

    def set_state(self, state: tuple[NDArray[np.int64], int]) -> None:
        """Return to an earlier `state`."""
        self._block, self._cursor = state
