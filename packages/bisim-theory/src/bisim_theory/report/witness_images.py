"""Pairs of observations as pictures: the frames that both go through along the actions that tell them apart."""

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.analysis import Checked, Impossible, RelationOnly, Report
from bisim_theory.data.transitions import Frames, TransitionDataset, piece_rows
from bisim_theory.report.markup import Markup, ends, escaped, image, join, section, tag
from bisim_theory.theorem.nearest import distances

LEVELS = 8
"""Levels of which a pair is shown."""

STEPS = 6
"""Frames of an observation that are shown; of a longer witness, those at its beginning and at its end."""

ACTIONS = 24
"""Actions of a witness that are named in a sentence."""

SIDE = 96
"""Pixels of a picture's longer side; larger frames are made smaller."""


@dataclass(frozen=True)
class Strip:
    """Two observations along a witness.

    Attributes:
        title: what the pair is an example of.
        level: round in which the pair enters R_D*; 0 where it is not in it.
        witness: the actions.
        x, y: ids gone through, as far as both can be followed; equal in length.
        distances: of the embeddings of each two frames; None without a representation.
        p: auxiliary values of the last two frames; None of an observation that is never a source.
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
        """Whether the frames lead to the end of the witness."""
        return len(self.x) == len(self.witness) + 1

    @property
    def shown(self) -> list[int]:
        """The steps that are shown."""
        return ends(len(self.x), STEPS)


class Steps:
    """The observed transitions, to be followed one by one."""

    def __init__(self, data: TransitionDataset) -> None:
        order = np.lexsort((data.action, data.source))
        self._source, self._action = data.source[order], data.action[order]
        self._successor, self._p = data.successor[order], data.p[order]

    def along(self, start: int, actions: Iterable[int]) -> list[int]:
        """Ids from `start` on, one more for every action as long as there is a transition of that very observation.

        Where data was folded an observation may have to be left for one that it was merged with; the path ends there.
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
        """The auxiliary value of an observation as plain numbers, None where it is never a source."""
        row = int(np.searchsorted(self._source, observation))
        found = row < len(self._source) and self._source[row] == observation
        return self._p[row].tolist() if found else None


def make_strips(report: Report) -> list[Strip]:
    """The closest pair of all and that of each level; without a model some pair of each level.

    Where no well-trained model exists, the two observations that would need one embedding and have different p.
    """
    steps = Steps(report.data)
    if isinstance(report, Impossible):
        x, y = report.contradiction.pair
        return [] if x == y else [_strip(report, steps, "One embedding, different p", (x, y), 0)]
    strips = []
    closest = report.check.closest if isinstance(report, Checked) else None
    if isinstance(report, Checked) and closest is not None:
        title = "The closest distinguished pair" + ("" if report.check.exact else " of those sampled")
        strips.append(_strip(report, steps, title, closest.pair, closest.level))
    for level in ends(len(report.relation.distinguished_pairs_per_level), LEVELS):
        title, pair = _example(report, level + 1)
        if pair is not None and not (strips and {strips[0].x[0], strips[0].y[0]} == set(pair)):
            strips.append(_strip(report, steps, title, pair, level + 1))
    return strips


def _example(report: RelationOnly | Checked, level: int) -> tuple[str, tuple[int, int] | None]:
    if isinstance(report, RelationOnly):
        x, y, _ = report.relation.sample_pairs(level, 1, np.random.default_rng([0, level]))
        return f"A pair of level {level}", (int(x[0]), int(y[0])) if len(x) else None
    title = f"The closest pair of level {level}"
    checked = next((each for each in report.check.levels if each.level == level), None)
    if checked is None:  # no pair of the level is in the sample
        return title, None
    return title + (f" among {len(checked.x):,} sampled ones" if checked.sampled else ""), checked.closest_pair


def _strip(report: Report, steps: Steps, title: str, pair: tuple[int, int], level: int) -> Strip:
    witness = [] if isinstance(report, Impossible) else report.relation.witness(*pair) or []
    x, y = (steps.along(each, witness) for each in pair)
    both = min(len(x), len(y))
    x, y = x[:both], y[:both]
    apart = None
    if not isinstance(report, RelationOnly) and report.representation is not None:
        apart = distances(report.representation.embedding, np.array(x), np.array(y)).tolist()
    return Strip(title, level, witness, x, y, apart, (steps.p(x[-1]), steps.p(y[-1])))


def read_pictures(frames: Frames, ids: Iterable[int]) -> dict[int, str]:
    """Frames as ``data:`` addresses by id, in one pass over the observations, which may be in a compressed file."""
    wanted = np.unique(np.fromiter(ids, np.int64))
    rows, pictures = piece_rows(frames), {}
    last = int(wanted.max(initial=-1))
    for start in range(0, last + 1, rows):  # without gaps: a file would be opened again at each
        piece = frames[start : start + rows]
        for each in wanted[(wanted >= start) & (wanted < start + rows)].tolist():
            pictures[each] = "data:image/png;base64," + base64.b64encode(png(smaller(piece[each - start]))).decode()
    return pictures


def smaller(image: NDArray[Any]) -> NDArray[Any]:
    """(H, W, C) uint8 at most `SIDE` on each side, by the mean over blocks of pixels."""
    height, width, channels = image.shape
    block = -(-max(height, width) // SIDE)
    if block == 1:
        return image
    down, across = min(block, height), min(block, width)
    whole = image[: height // down * down, : width // across * across]
    blocks = whole.reshape(height // down, down, width // across, across, channels)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def png(image: NDArray[Any]) -> bytes:
    """(H, W, C) uint8 of 1, 3 or 4 channels in the format PNG."""
    height, width, channels = image.shape
    kind = {1: 0, 3: 2, 4: 6}[channels]  # grey, colour, colour with transparency
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # every line begins with 0: it is not filtered
    lines[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def picture_strips(report: Report) -> Markup:
    """The section of the page; nothing where there is no pair to show. The dataset has images."""
    strips = make_strips(report)
    if not strips:
        return Markup("")
    ids = {path[step] for strip in strips for path in (strip.x, strip.y) for step in strip.shown}
    assert report.data.observation is not None
    pictures = read_pictures(report.data.observation, ids)
    title = "The closest pairs along their witness" if isinstance(report, Checked) else "Pairs along their witness"
    if isinstance(report, Impossible):
        title = "The two observations"
    return section(title, tag("div", *(_article(report, each, pictures) for each in strips), class_="strips"))


def _article(report: Report, strip: Strip, pictures: dict[int, str]) -> Markup:
    level = f"Level {strip.level}: p differs {after(strip.witness)}." if strip.level else ""
    if not strip.complete:
        level += (
            f" Frames are shown for {len(strip.x) - 1} of {len(strip.witness)} actions: from there the path goes on "
            "from an observation that one of these was merged with."
        )
    rows = [_frames(report, strip, name, path, pictures) for name, path in (("x", strip.x), ("y", strip.y))]
    if strip.distances is not None:
        rows.append(_under(strip, "distance", [f"{strip.distances[step]:.4g}" for step in strip.shown]))
    equal = ["equal"] * (len(strip.shown) - 1)  # for a witness is shortest
    rows.append(_under(strip, "p of x, p of y", [*equal, _both(*strip.p)]))
    inner = tag("table", tag("tbody", "\n", join(rows)))
    return tag(
        "article",
        tag("h3", f"{strip.title}: {strip.x[0]} and {strip.y[0]}"),
        tag("p", level, class_="soft"),
        tag("div", inner, class_="scroll strip", tabindex=0, role="region", **{"aria-label": strip.title}),
    )


def _both(p: Any, q: Any) -> str:
    """The values of the last frames; of vectors, the first component in which they differ."""
    if p is None or q is None:  # it stands for a source that it was merged with
        return "not observed of both"
    if p == q:  # where the strip ends too early
        return "equal"
    if isinstance(p, list):
        place = next(i for i, (a, b) in enumerate(zip(p, q, strict=True)) if a != b)
        return f"component {place}: {_both(p[place], q[place])}"
    a, b = (f"{each:.4g}" for each in (p, q))
    return f"{a} \N{NOT EQUAL TO} {b}" if a != b else f"{p} \N{NOT EQUAL TO} {q}"


def _frames(report: Report, strip: Strip, name: str, path: Sequence[int], pictures: dict[int, str]) -> Markup:
    cells: list[Markup] = []
    shown = strip.shown
    assert report.data.observation is not None
    sharp = 2 * max(report.data.observation.shape[1:3]) <= SIDE
    for place, step in enumerate(shown):
        if place:
            between = range(shown[place - 1], step)
            cells.append(_arrow(strip.witness[shown[place - 1]], len(between)))
        said = f"observation {path[step]}"
        if report.labels is not None:
            said += f", {report.label} {report.labels[path[step]]}"
        picture = image(pictures[path[step]], f"{name} after {step} actions: {said}", SIDE, sharp)
        cells.append(tag("td", picture, *(tag("small", part) for part in said.split(", ", 1))))
    return tag("tr", tag("th", name, scope="row"), *cells)


def _arrow(action: int, steps: int) -> Markup:
    arrow = "\N{RIGHTWARDS ARROW}"
    said = f"action {action} {arrow}" if steps == 1 else f"{steps} actions {arrow}"
    return tag("td", said, class_="action")


def _under(strip: Strip, name: str, values: Sequence[str]) -> Markup:
    empty = tag("td", "")
    cells = [cell for value in values for cell in (empty, tag("td", escaped(value)))][1:]
    return tag("tr", tag("th", name, scope="row"), *cells)


def after(witness: Sequence[int]) -> str:
    """When p differs, in words."""
    if not witness:
        return "at once"
    shown = ends(len(witness), ACTIONS)
    actions = [str(witness[i]) for i in shown]
    if len(shown) < len(witness):
        actions.insert(ACTIONS - ACTIONS // 2, "\N{HORIZONTAL ELLIPSIS}")
    return f"after action{'s' if len(witness) > 1 else ''} {', '.join(actions)}"
