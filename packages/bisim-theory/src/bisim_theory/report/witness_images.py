"""Show pairs of observations as images: the frames that both pass through along their witness."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.transitions import Frames, TransitionDataset, piece_rows
from bisim_theory.outcome import Checked, Impossible, RelationOnly, Report
from bisim_theory.report.tables import ends
from bisim_theory.theorem.nearest import distances

MAX_LEVELS_SHOWN = 8
"""Largest number of levels of which a pair is shown."""

MAX_FRAMES_SHOWN = 6
"""Largest number of frames of an observation; of a longer witness the first and the last ones are shown."""

MAX_SIDE = 96
"""Largest width and height of an image in pixels; larger frames are reduced."""


@dataclass(frozen=True)
class WitnessStrip:
    """Describe two observations along a witness.

    Attributes:
        title: what the pair is an example of.
        level: level at which the pair enters R_D*; 0 in B_D*.
        witness: the actions.
        x, y: ids of the frames from each observation on, equal in number; shorter than the witness where a path leaves
            for an observation that was merged.
        distances: distances of the embeddings of x[i] and y[i]; None without a model.
        p: p of the last two frames; None where it is unknown.
    """

    title: str
    level: int
    witness: Sequence[int]
    x: Sequence[int]
    y: Sequence[int]
    distances: Sequence[float] | None
    p: tuple[Any, Any]

    @property
    def complete(self) -> bool:
        """Return whether the frames reach the end of the witness."""
        return len(self.x) == len(self.witness) + 1

    @property
    def shown(self) -> list[int]:
        """Return the indices into `x` and `y` of the frames that are shown."""
        return ends(len(self.x), MAX_FRAMES_SHOWN)

    @property
    def shown_distances(self) -> list[str]:
        """Return the distances of the shown frames as text, or nothing without a model."""
        return [] if self.distances is None else [f"{self.distances[step]:.4g}" for step in self.shown]

    @property
    def p_cells(self) -> list[str]:
        """Compare p of the shown frames. Before the last it is equal, as a witness is shortest."""
        return [*["equal"] * (len(self.shown) - 1), _p_values_cell(*self.p)]


def _p_values_cell(p: Any, q: Any) -> str:
    """Compare two values of p as text; of vectors, the first component that differs."""
    if p is None or q is None:  # of an observation that was merged with one of known p
        return "not observed of both"
    if p == q:  # the frames end before the witness does
        return "equal"
    if isinstance(p, list):
        place = next(i for i, (a, b) in enumerate(zip(p, q, strict=True)) if a != b)
        return f"component {place}: {_p_values_cell(p[place], q[place])}"
    a, b = (f"{each:.4g}" for each in (p, q))
    return f"{a} \N{NOT EQUAL TO} {b}" if a != b else f"{p} \N{NOT EQUAL TO} {q}"


class TransitionLookup:
    """Look up observed transitions by source and action.

    Args:
        data: the transitions.
    """

    def __init__(self, data: TransitionDataset) -> None:
        order = np.lexsort((data.action, data.source))
        self._source, self._action = data.source[order], data.action[order]
        self._successor = data.successor[order]
        self._values = None if data.observation_auxiliary is None else stored_values(data)

    def along(self, start: int, actions: Iterable[int]) -> list[int]:
        """Return the ids from `start` along `actions`, up to the first action that was not observed from an id.

        In folded data that happens where the witness goes on from an observation that was merged with this one.
        """
        path = [start]
        for action in actions:
            begin, end = np.searchsorted(self._source, [path[-1], path[-1] + 1]).tolist()
            row = begin + int(np.searchsorted(self._action[begin:end], action))
            if row == end or self._action[row] != action:
                break
            path.append(int(self._successor[row]))
        return path

    def p(self, observation: int) -> Any:
        """Return p of an observation as Python numbers, or None if it is unknown."""
        values = self._values
        return values.value[observation].tolist() if values is not None and values.known[observation] else None


def witness_images(report: Report) -> dict[str, Any]:
    """Return the values of the page's section of images: strips, pictures by id, and how to show them.

    Raises:
        DatasetError: the frames cannot be read.
    """
    frames = report.data.observation
    if frames is None or not report.data.images:
        return {"strips": []}
    strips, shown = witness_strips(report), shown_channels(report.data)
    ids = {path[step] for strip in strips for path in (strip.x, strip.y) for step in strip.shown}
    return {
        "strips": strips,
        "pictures": encode_frames(frames, ids, shown),
        "channels_shown": _describe_channels(frames.shape[3], shown),
        "picture_side": MAX_SIDE,
        "sharp": 2 * max(frames.shape[1:3]) <= MAX_SIDE,  # enlarged pixels stay squares
    }


def witness_strips(report: Report) -> list[WitnessStrip]:
    """Choose the pairs to show.

    Returns:
        Without a well-trained model, the two observations that must share an embedding and differ in p. Else the
        closest pair of all and of each level; where no model was given, some pair of each level.
    """
    lookup = TransitionLookup(report.data)
    if isinstance(report, Impossible):
        x, y = report.contradiction.pair
        if x == y:
            return []
        strip = _strip(report, lookup, "One embedding, different p", (x, y), 0)
        return [replace(strip, p=report.contradiction.values)]  # where p is no function, the data has none
    strips = []
    closest = report.check.closest if isinstance(report, Checked) else None
    if isinstance(report, Checked) and closest is not None:
        title = "The closest distinguished pair" + ("" if report.check.exact else " of those sampled")
        strips.append(_strip(report, lookup, title, closest.pair, closest.level))
    for level in ends(len(report.relation.distinguished_pairs_per_level), MAX_LEVELS_SHOWN):
        title, pair = _example(report, level + 1)
        if pair is not None and not (strips and {strips[0].x[0], strips[0].y[0]} == set(pair)):
            strips.append(_strip(report, lookup, title, pair, level + 1))
    return strips


def _example(report: RelationOnly | Checked, level: int) -> tuple[str, tuple[int, int] | None]:
    """Return title and pair of a level, or None if no pair of it was sampled."""
    if isinstance(report, RelationOnly):
        x, y, _ = report.relation.sample_pairs(level, 1, np.random.default_rng([0, level]))
        return f"A pair of level {level}", (int(x[0]), int(y[0])) if len(x) else None
    title = f"The closest pair of level {level}"
    checked = next((each for each in report.check.levels if each.level == level), None)
    if checked is None:
        return title, None
    return title + (f" among {len(checked.x):,} sampled ones" if checked.sampled else ""), checked.closest_pair


def _strip(report: Report, lookup: TransitionLookup, title: str, pair: tuple[int, int], level: int) -> WitnessStrip:
    witness = [] if isinstance(report, Impossible) else report.relation.witness(*pair) or []
    model = None if isinstance(report, RelationOnly) else report.representation
    return witness_strip(lookup, title, pair, level, witness, None if model is None else model.embedding)


def witness_strip(
    lookup: TransitionLookup,
    title: str,
    pair: tuple[int, int],
    level: int,
    witness: Sequence[int],
    embedding: NDArray[Any] | None,
) -> WitnessStrip:
    """Follow two observations along a witness.

    Args:
        lookup: the transitions.
        title: what the pair is an example of.
        pair: ids of the observations.
        level: level at which the pair enters R_D*; 0 in B_D*.
        witness: the actions.
        embedding: (F, d) embeddings, of which the distances are; None without a model.
    """
    x, y = (lookup.along(each, witness) for each in pair)
    both = min(len(x), len(y))
    x, y = x[:both], y[:both]
    apart = None if embedding is None else distances(embedding, np.array(x), np.array(y)).tolist()
    return WitnessStrip(title, level, witness, x, y, apart, (lookup.p(x[-1]), lookup.p(y[-1])))


def shown_channels(data: TransitionDataset) -> int:
    """Return how many of the last channels of images are shown: all of 1, 3 or 4, else the newest image of a stack.

    Four channels are colour and transparency, unless the metadata says that images are stacked.
    """
    frames = data.observation
    assert frames is not None
    channels = int(frames.shape[3])
    if channels in (1, 3) or (channels == 4 and "stack" not in data.metadata):
        return channels
    return 3 if channels % 3 == 0 else 1


def _describe_channels(channels: int, shown: int) -> str:
    """Say which channels are shown, where these are not all; nothing where they are."""
    if shown == channels:
        return ""
    return f"The last {shown if shown > 1 else 'one'} of {channels} channels, where the newest image of a stack lies."


def encode_frames(frames: Frames, ids: Iterable[int], channels: int | None = None) -> dict[int, str]:
    """Return frames as ``data:`` addresses by id, read in one pass, as they may lie in a compressed file.

    Args:
        frames: (F, H, W, C) uint8.
        ids: of the frames.
        channels: how many of the last ones are shown; None shows all.
    """
    first = 0 if channels is None else frames.shape[3] - channels
    wanted = np.unique(np.fromiter(ids, np.int64))
    rows, images = piece_rows(frames), {}
    last = int(wanted.max(initial=-1))
    for start in range(0, last + 1, rows):  # without gaps, at which a compressed file would be opened again
        piece = frames[start : start + rows]
        for each in wanted[(wanted >= start) & (wanted < start + rows)].tolist():
            encoded = base64.b64encode(encode_png(piece[each - start][..., first:])).decode()
            images[each] = f"data:image/png;base64,{encoded}"
    return images


def encode_png(frame: NDArray[Any]) -> bytes:
    """Encode (H, W, C) uint8 of 1, 3 or 4 channels as PNG, reduced to at most `MAX_SIDE` pixels a side."""
    from PIL import Image

    image = Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame)
    block = -(-max(image.size) // MAX_SIDE)
    if block > 1:
        image = image.reduce(block)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
