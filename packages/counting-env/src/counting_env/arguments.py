"""Check the arguments of the environments; errors name the argument and the allowed values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counting_env import drawing

FINITE_COLORS = ((225, 60, 60), (60, 200, 90), (80, 120, 225))
"""Default colours of a finite world."""


def parse_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return the value as an int; raise `ValueError` unless it is an integer in `low`..`high`."""
    allowed = f"an integer >= {low}" if high is None else f"an integer in {low}..{high}"
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        raise ValueError(f"{name}={value!r}: must be {allowed}")
    return int(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and len(value) > 0


def parse_color(name: str, value: Any) -> NDArray[np.uint8]:
    """Return an RGB colour as (3,) uint8; raise `ValueError` unless it is three integers in 0..255, not all zero."""
    try:
        color = np.asarray(value)
    except ValueError:
        color = np.empty(0)
    fits = color.shape == (3,) and color.dtype.kind in "iu" and color.min() >= 0 and 0 < color.max() <= 255
    if not fits:
        raise ValueError(f"{name}={value!r}: must be three integers in 0..255, red, green and blue, and not black")
    return color.astype(np.uint8)


def parse_shape(name: str, value: Any, shapes: Sequence[str] = drawing.SHAPES) -> str:
    """Return the name of a shape; raise `ValueError` unless it is one of `shapes`."""
    if not isinstance(value, str) or value not in shapes:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(shapes)}")
    return value


@dataclass(frozen=True)
class Arguments:
    """Hold the arguments of `CountingEnv`, which describes them; raise `ValueError` for a value that is not allowed."""

    target: int = 4
    max_count: int = 8
    image_size: int = 64
    shapes: Sequence[str] = drawing.SHAPES
    colors: Sequence[Any] | None = None
    gap: int = 1
    reward: str = "sparse"
    discrete_actions: bool = False
    grace: bool = True
    layouts: int | None = None

    def __post_init__(self) -> None:
        parse_integer("max_count", self.max_count, 1)
        parse_integer("target", self.target, 0, self.max_count)
        parse_integer("image_size", self.image_size, drawing.SPRITE_SIZE, 2**14)
        parse_integer("gap", self.gap, 0)
        fits = drawing.most_objects(self.image_size, self.gap)
        if self.max_count > fits:
            raise ValueError(
                f"max_count={self.max_count}: at most {fits} objects are sure to fit into image_size="
                f"{self.image_size} with gap={self.gap}"
            )
        if not _is_list(self.shapes):
            raise ValueError(f"shapes={self.shapes!r}: must be a sequence of {', '.join(drawing.SHAPES)}")
        object.__setattr__(self, "shapes", tuple(parse_shape("shapes", shape) for shape in self.shapes))
        if self.colors is not None:
            if not _is_list(self.colors):
                raise ValueError(f"colors={self.colors!r}: must be None or a sequence of RGB colours")
            object.__setattr__(self, "colors", tuple(parse_color("colors", color) for color in self.colors))
        if self.reward not in ("sparse", "dense"):
            raise ValueError(f"reward={self.reward!r}: must be 'sparse' or 'dense'")
        for name in ("discrete_actions", "grace"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r}: must be True or False")
        if self.layouts is not None:
            self._check_finite()

    def _check_finite(self) -> None:
        # A quarter of all places of the first object: distinct layouts are then found quickly.
        most = max((self.image_size - drawing.SPRITE_SIZE + 1) ** 2 // 4, 1)
        parse_integer("layouts", self.layouts, 1, most)
        if self.colors is None:
            object.__setattr__(self, "colors", tuple(parse_color("colors", color) for color in FINITE_COLORS))
        assert self.colors is not None
        for name, values in (("shapes", self.shapes), ("colors", [tuple(color.tolist()) for color in self.colors])):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: must be different from each other in a finite world")


@dataclass(frozen=True)
class ResetOptions:
    """Hold what `reset(options=...)` fixes of the first observation; None is drawn at random."""

    count: int | None = None
    shape: str | None = None
    color: NDArray[np.uint8] | None = None
    corners: NDArray[np.int64] | None = None
    layout: int | None = None

    @classmethod
    def parse(cls, options: dict[str, Any] | None, arguments: Arguments) -> "ResetOptions":
        """Check the `options` of a reset; a `ValueError` names the option and the allowed values."""
        if not options:
            return cls()
        known = ("count", "shape", "color", "positions" if arguments.layouts is None else "layout")
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"options[{unknown[0]!r}]: known are {', '.join(known)}")
        count = shape = color = corners = layout = None
        if options.get("count") is not None:
            count = parse_integer("options['count']", options["count"], 0, arguments.max_count)
        if options.get("shape") is not None:
            known_shapes = drawing.SHAPES if arguments.layouts is None else tuple(arguments.shapes)
            shape = parse_shape("options['shape']", options["shape"], known_shapes)
        if options.get("color") is not None:
            color = parse_color("options['color']", options["color"])
            if arguments.layouts is not None and not any((color == each).all() for each in arguments.colors or ()):
                raise ValueError(f"options['color']={options['color']!r}: is none of the colours of this finite world")
        if options.get("layout") is not None:
            layout = parse_integer("options['layout']", options["layout"], 0, (arguments.layouts or 1) - 1)
        if options.get("positions") is not None:
            corners = _corners(options["positions"], arguments)
            if count is None:
                count = len(corners)
            elif count != len(corners):
                raise ValueError(f"options['positions'] has {len(corners)} rows and options['count'] is {count}")
        return cls(count, shape, color, corners, layout)


def _corners(positions: Any, arguments: Arguments) -> NDArray[np.int64]:
    """Convert centres (k, 2) to top left pixels. Drops rows of -1, with which `info` pads them."""
    low, high = drawing.RADIUS, arguments.image_size - 1 - drawing.RADIUS
    allowed = f"must be (k, 2) integers, row and column of each centre, each in {low}..{high}"
    try:
        centres = np.asarray(positions)
    except ValueError:
        centres = np.empty(0)
    if centres.size == 0:
        centres = np.empty((0, 2), np.int64)
    if centres.ndim != 2 or centres.shape[1] != 2 or centres.dtype.kind not in "iu":
        raise ValueError(f"options['positions'] {allowed}")
    centres = centres[(centres != -1).any(1)].astype(np.int64)
    if len(centres) > arguments.max_count:
        raise ValueError(f"options['positions'] has {len(centres)} rows: at most max_count={arguments.max_count}")
    if ((centres < low) | (centres > high)).any():
        raise ValueError(f"options['positions'] {allowed}")
    distance = abs(centres[:, None] - centres[None]).max(-1)
    apart = drawing.SPRITE_SIZE + arguments.gap
    if (distance[np.triu_indices(len(centres), 1)] < apart).any():
        raise ValueError(
            f"options['positions']: two centres must differ by at least {apart} pixels in row or column "
            f"(gap={arguments.gap})"
        )
    return centres - drawing.RADIUS
