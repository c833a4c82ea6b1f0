"""Draw pairs of observations along their witness, by the world's own frames, or in numbers where it has vectors."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from bisim_theory import Relation, Representation, Tolerance, check_theorem
from bisim_theory.outcome import Checked
from bisim_theory.report.tables import ends
from bisim_theory.report.witness_images import TransitionLookup, WitnessStrip, witness_strip
from bisim_theory.theorem.check import TheoremCheck
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes
from pjepa_agent.evaluation.theorem import PAIRS, represent
from pjepa_agent.model import PJEPA

EARLIER = 3
"""Most earlier frames of a stack that are drawn."""

HEADER, FOOTER, LEFT, STEP, GAP = 0.24, 0.17, 0.2, 0.3, 0.04
"""Inches of the line above a pair, of the distances below, of the names x and y, of an action, and between frames."""

NUMBERS = 6
"""Most components of a vector that are written."""


@dataclass(frozen=True)
class Strips:
    """Hold pairs of held-out observations, one of a level each, with their frames.

    Attributes:
        pairs: the pairs along their witnesses.
        frames: observations (...) by id.
        stack: observations of the environment that make up one, along the channels of images.
        images: whether observations are images.
        levels: number of levels of R_D*, of which `pairs` may leave out those in the middle.
    """

    pairs: list[WitnessStrip]
    frames: dict[int, NDArray[Any]]
    stack: int
    images: bool
    levels: int


def find_strips(held_out: HeldOutEpisodes, model: PJEPA, most: int) -> Strips:
    """Find the closest pair of every level, of at most so many levels: the first and the last ones."""
    representation = represent(held_out.data, model)
    check = check_theorem(held_out.relation, representation, Tolerance(sample=PAIRS), held_out.labels)
    frames: Any = held_out.data.observation
    return _closest(held_out.relation, representation, check, frames, most, held_out.config.collection.stack)


def strips_of(report: Checked, most: int, stack: int = 1) -> Strips:
    """Find the same pairs in the report of `bisim_theory.analyse` of observations and a model.

    Args:
        report: of data with observations.
        most: number of levels.
        stack: observations of the environment that make up one.
    """
    frames: Any = report.relation.data.observation
    return _closest(report.relation, report.representation, report.check, frames, most, stack)


def _closest(
    relation: Relation, representation: Representation, check: TheoremCheck, frames: Any, most: int, stack: int
) -> Strips:
    lookup, pairs = TransitionLookup(relation.data), []
    for place in ends(len(check.levels), most):
        level = check.levels[place]
        pair = level.closest_pair
        closest = "closest sampled" if level.sampled else "closest"
        title = f"Level {level.level}, the {closest} of {level.pairs:,} pair{'' if level.pairs == 1 else 's'}"
        witness = relation.witness(*pair) or []
        pairs.append(witness_strip(lookup, title, pair, level.level, witness, representation.embedding))
    ids = {path[step] for pair in pairs for path in (pair.x, pair.y) for step in pair.shown}
    shown = {each: np.asarray(frames[each]) for each in sorted(ids)}
    return Strips(pairs, shown, stack, len(frames.shape) == 4, len(check.levels))


def pictures_of(frame: NDArray[np.uint8], stack: int) -> list[NDArray[np.uint8]]:
    """Divide an image (H, W, C) into the frames of a stack, oldest first: (H, W), (H, W, 3) or (H, W, 4) each.

    Where a world says nothing of a stack, channels by the three are colours, four are one image with opacity if the
    last is opaque throughout, and all others are grey frames.

    Args:
        frame: the image.
        stack: number of frames, 1 where nothing is said.
    """
    channels = frame.shape[2]
    number = stack if channels % stack == 0 else 1
    if stack == 1:
        opaque = channels == 4 and bool((frame[..., 3] == 255).all())
        number = 1 if opaque else channels // 3 if channels % 3 == 0 else channels
    each = channels // number
    if each not in (1, 3, 4):
        number, each = channels, 1
    parts = [frame[..., start : start + each] for start in range(0, channels, each)]
    return [part[..., 0] if each == 1 else part for part in parts]


def draw_strips(axes: Axes, strips: Strips, size: tuple[float, float]) -> None:
    """Draw pairs below each other: the path of x above that of y, with actions between and distances below.

    A stack's earlier frames stand left of its latest one, which alone is drawn of later observations: their earlier
    ones are those before.

    Args:
        axes: axes of exactly that size.
        strips: the pairs.
        size: width and height in inches.
    """
    width, height = size
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    axes.set_title(_title(strips), fontsize=11)
    if not strips.pairs:
        return
    block = height / len(strips.pairs)
    for number, pair in enumerate(strips.pairs):
        axes.text(0, number * block + 0.1, _header(pair), fontsize=8, va="center", weight="bold")
        place = (number * block + HEADER, width, block - HEADER)
        if strips.images:
            _draw_images(axes, strips, pair, place)
        else:
            _write_numbers(axes, strips, pair, place)


def _title(strips: Strips) -> str:
    if not strips.pairs:
        return "No pair of observations is distinguished:\np protects nothing here."
    return _about(strips) + _left_out(strips)


def _left_out(strips: Strips) -> str:
    """Name the levels that no pair is shown of."""
    missing = sorted(set(range(1, strips.levels + 1)) - {pair.level for pair in strips.pairs})
    if not missing:
        return ""
    said = f"level {missing[0]}" if len(missing) == 1 else f"levels {missing[0]} to {missing[-1]}"
    return f"\nnot shown: {said} of {strips.levels}"


def _about(strips: Strips) -> str:
    if not strips.images:
        return "pairs of each level along their witness\n(vectors, so in numbers)"
    history = min(len(_first_pictures(strips)) - 1, EARLIER)
    if not history:
        return "pairs of each level along their witness:\nactions between frames, distances below"
    earlier = f"{history} earlier frame{'' if history == 1 else 's'} of the stack"
    return f"pairs of each level along their witness;\nleft of the line: {earlier}"


def _header(pair: WitnessStrip) -> str:
    steps = len(pair.witness)
    when = "at once" if not steps else f"after {steps} step{'' if steps == 1 else 's'}"
    said = pair.p_cells[-1]
    return f"{pair.title}: p is {said} {when}"


def _first_pictures(strips: Strips) -> list[NDArray[np.uint8]]:
    return pictures_of(strips.frames[strips.pairs[0].x[0]], strips.stack)


def _draw_images(axes: Axes, strips: Strips, pair: WitnessStrip, place: tuple[float, float, float]) -> None:
    """Draw two rows of frames of one pair at (top, width, height)."""
    top, width, height = place
    shown = pair.shown
    history = min(len(_first_pictures(strips)) - 1, EARLIER)
    side, tall = _size_of_frame(strips, width, height)
    for row, (name, path) in enumerate((("x", pair.x), ("y", pair.y))):
        above = top + row * (tall + GAP)
        axes.text(0, above + tall / 2, name, fontsize=9, va="center", style="italic")
        first = pictures_of(strips.frames[path[0]], strips.stack)[:-1][-history:] if history else []
        left = LEFT
        for picture in first:
            _draw_picture(axes, picture, (left, above, side, tall), alpha=0.75)
            left += side + GAP
        for number, step in enumerate(shown):
            picture = pictures_of(strips.frames[path[step]], strips.stack)[-1]
            _draw_picture(axes, picture, (left, above, side, tall))
            if row == 0:
                _write_step(axes, pair, number, (left, above, side, 2 * tall + GAP))
            left += side + STEP
    if history:
        line = LEFT + history * (side + GAP) - GAP / 2
        axes.plot([line, line], [top, top + 2 * tall + GAP], color="black", linewidth=1.2)


def _size_of_frame(strips: Strips, width: float, height: float) -> tuple[float, float]:
    """Return the size in inches of a frame: the longest path fits into the width, and two frames into the height."""
    history = min(len(_first_pictures(strips)) - 1, EARLIER)
    shown = max(len(each.shown) for each in strips.pairs)
    rows, wide = _first_pictures(strips)[-1].shape[:2]
    in_width = (width - 0.03 - LEFT - (shown - 1) * STEP - history * GAP) / (history + shown)
    side = min(in_width, (height - FOOTER - 2 * GAP) / 2 * wide / rows)
    return side, side * rows / wide


def _write_step(axes: Axes, pair: WitnessStrip, number: int, place: tuple[float, float, float, float]) -> None:
    """Write the distance below a column of frames, and the action that leads to the next."""
    left, above, side, tall = place
    if pair.shown_distances:
        axes.text(left + side / 2, above + tall + 0.03, pair.shown_distances[number], fontsize=7, ha="center", va="top")
    if number + 1 < len(pair.shown):
        step, following = pair.shown[number], pair.shown[number + 1]
        action = str(pair.witness[step]) if following == step + 1 else "\N{HORIZONTAL ELLIPSIS}"
        axes.text(
            left + side + STEP / 2, above + tall / 2, f"{action}\n\N{RIGHTWARDS ARROW}", fontsize=8, ha="center",
            va="center", linespacing=0.9,
        )  # fmt: skip


def _draw_picture(
    axes: Axes, picture: NDArray[np.uint8], place: tuple[float, float, float, float], alpha: float = 1.0
) -> None:
    left, above, wide, tall = place
    extent = (left, left + wide, above + tall, above)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto", alpha=alpha)
    x, y = [left, left + wide, left + wide, left, left], [above, above, above + tall, above + tall, above]
    axes.plot(x, y, color="grey", linewidth=0.4)


def _write_numbers(axes: Axes, strips: Strips, pair: WitnessStrip, place: tuple[float, float, float]) -> None:
    """Write the first and the last vectors of one pair, its actions and its distances at (top, width, height)."""
    top, _, height = place
    actions = ", ".join(str(action) for action in pair.witness[:NUMBERS])
    more = ", \N{HORIZONTAL ELLIPSIS}" if len(pair.witness) > NUMBERS else ""
    lines = [
        f"x  {_vector(strips.frames[pair.x[0]])}",
        f"y  {_vector(strips.frames[pair.y[0]])}",
        (f"actions {actions}{more}; " if actions else "") + f"distances {_joined(pair)}",
    ]
    for number, line in enumerate(lines):
        axes.text(0.1, top + (number + 0.5) * min(0.2, height / len(lines)), line, fontsize=7.5, va="center")


def _joined(pair: WitnessStrip) -> str:
    """Join the distances along a witness, of a longer one the first and the last."""
    shown, said = pair.shown, pair.shown_distances
    gaps = [following > step + 1 for step, following in itertools.pairwise(shown)]
    rest = (("\N{HORIZONTAL ELLIPSIS}, " if gap else "") + text for gap, text in zip(gaps, said[1:], strict=True))
    return ", ".join([said[0], *rest])


def _vector(values: NDArray[Any]) -> str:
    """Write a vector: a longer one that is one-hot by the place of the one, from 0, another by its first numbers."""
    number = len(values)
    if number > NUMBERS and np.count_nonzero(values) == 1 and values.max() == 1:
        return f"one-hot: number {int(values.argmax())} of 0 to {number - 1}"
    text = ", ".join(f"{value:.3g}" for value in values[:NUMBERS].tolist())
    more = f", \N{HORIZONTAL ELLIPSIS} {number - NUMBERS} more" if number > NUMBERS else ""
    return f"({text}{more})"
