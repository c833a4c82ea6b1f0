"""Draw charts as inline SVG with unique ids and no external references."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bisim_theory.relation.comparison import Candidate, Comparison
from bisim_theory.report.tables import ends
from bisim_theory.theorem.check import LevelCheck, TheoremCheck
from bisim_theory.theorem.nearest import Floats

ACCENT, PALE, GREY, INK = "#1f5a8c", "#c9d9e8", "#a9b0b6", "#24292e"

UNDISTINGUISHED = "#f0f1f2"
"""Fill of the pairs that are not told apart, lighter than every level."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bisim_theory",
    "text.parse_math": False,  # a user's name may hold two dollar signs
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
}

MAX_BARS = 20
"""Largest number of bars; beyond it each stands for several levels."""

MAX_LEVELS_DRAWN = 8
"""Largest number of levels with a histogram; beyond it the first and the last ones are drawn."""

BINS = 48
"""Bins of a histogram."""

SHADES = 6
"""Levels with a colour of their own in the comparison."""

Axes = Any
Draw = Callable[[Any], None]


@dataclass(frozen=True)
class Chart:
    """Hold an SVG drawing.

    Attributes:
        body: everything within the element ``svg``.
        alt: description for those who do not see it.
        size: width and height in inches.
    """

    body: str
    alt: str
    size: tuple[float, float]

    @property
    def points(self) -> list[str]:
        """Return width and height in points, the unit of `body`."""
        return [f"{72 * each:g}" for each in self.size]

    @property
    def pixels(self) -> str:
        """Return the largest width on a screen."""
        return f"{96 * self.size[0]:.0f}"


def short(number: float) -> str:
    """Format a count in a few characters, such as 418 M."""
    for unit, name in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:g}"


def level_histogram(pairs_per_level: Sequence[int], bisimilar: int) -> Chart:
    """Draw a bar of the pairs of each level, and one of the bisimilar pairs."""
    counts, names = list(pairs_per_level), [str(level + 1) for level in range(len(pairs_per_level))]
    if len(counts) > MAX_BARS:
        width = -(-len(counts) // MAX_BARS)
        starts = range(0, len(counts), width)
        names = [f"{start + 1}\N{EN DASH}{min(start + width, len(counts))}" for start in starts]
        counts = [sum(counts[start : start + width]) for start in starts]
    heights = [*counts, bisimilar]
    positive = [each for each in heights if each > 0]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = [*range(len(counts)), len(counts) + 0.5]
        bars = axes.bar(places, heights, color=[*[ACCENT] * len(counts), GREY], width=0.72)
        if len(counts) <= 10:
            axes.bar_label(bars, [short(each) for each in heights], padding=2, fontsize=8)
        upright = len(counts) > 12
        rest = "not told apart" if upright else "not told\napart"
        axes.set_xticks(places, [*names, rest], rotation=90 if upright else 0)
        axes.set_xlabel("level")
        axes.set_ylabel("pairs of observations")
        if positive and max(positive) > 100 * min(positive):
            axes.set_yscale("log")
            axes.set_ylim(bottom=min(positive) / 3)
        _plain(axes.yaxis, short)
        axes.margins(y=0.12)

    said = ", ".join(f"level {name}: {count:,}" for name, count in zip(names, counts, strict=True))
    return _svg(draw, (4.5, 2.9), "levels", f"Bar chart of pairs per level. {said}; not told apart: {bisimilar:,}")


def distances_against_residual(check: TheoremCheck) -> Chart:
    """Draw median and 5-95 % band of the distances of every level, and twice the median transition residual."""
    levels = [check.levels[i] for i in np.unique(np.linspace(0, len(check.levels) - 1, 200).round().astype(int))]
    levels = [each for each in levels if len(each.distances)]
    x = np.array([each.level for each in levels])
    low, middle, high = np.array([np.quantile(each.distances, (0.05, 0.5, 0.95)) for each in levels]).T
    residual = 2 * check.transition_residual[0]
    witness = np.array([np.nan if each.witness_residual is None else each.witness_residual for each in levels])
    seen = np.concatenate([low, middle, high, [residual], witness])
    seen = seen[np.isfinite(seen) & (seen > 0)]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        if len(seen):
            axes.set_ylim(seen.min() / 1.6, seen.max() * 1.8)
            _logarithmic(axes.yaxis)
        else:
            axes.set_ylim(-0.05, 1)
        floor = axes.get_ylim()[0] if len(seen) else 0.0
        if len(x) <= MAX_BARS:
            band = {"color": PALE, "linewidth": 9, "label": "distances, 5\N{EN DASH}95%"}
            axes.vlines(x, np.maximum(low, floor), np.maximum(high, floor), **band)
            axes.plot(x, np.maximum(middle, floor), "o", color=ACCENT, markersize=5, label="median distance")
        else:
            band = {"color": PALE, "linewidth": 0, "label": "distances, 5\N{EN DASH}95%"}
            axes.fill_between(x, np.maximum(low, floor), np.maximum(high, floor), **band)
            axes.plot(x, np.maximum(middle, floor), color=ACCENT, label="median distance")
        name = "2 median e_d" + (", all transitions" if residual else " = 0")
        axes.axhline(max(residual, floor), color=INK, linestyle="--", linewidth=1, label=name)
        if (witness > 0).any():
            marks = {"marker": "_", "color": INK, "s": 90, "linewidth": 1.2, "label": "e_d(x, a) + e_d(y, a), median"}
            axes.scatter(x, witness, zorder=3, **marks)
        axes.set_xlim(x[0] - 0.6, x[-1] + 0.6)
        _whole(axes.xaxis)
        axes.set_xlabel("level")
        axes.set_ylabel("Euclidean distance of embeddings")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.17), ncols=2, borderaxespad=0, handlelength=1.6)

    said = "; ".join(f"level {each.level}: {each.median_distance:.4g}" for each in levels[:MAX_BARS])
    return _svg(
        draw, (4.5, 3.5), "residual", f"Median distances against 2 median e_d, which is {residual:.4g}. Medians: {said}"
    )


def margins(ratio: Floats, share: float) -> Chart:
    """Draw a histogram of (e_p(x) + e_p(y)) / |p(x) - p(y)| of the level-1 pairs.

    Args:
        ratio: (m,) the values, of which some are positive and finite.
        share: the share of them below 1.
    """
    ratio = ratio[np.isfinite(ratio)]
    low, high = ratio[ratio > 0].min(), ratio.max()
    edges = np.geomspace(max(low, high * 1e-12) / 1.05, max(high * 1.05, 2.0), BINS + 1)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        counts = np.histogram(np.clip(ratio, edges[0], None), edges)[0] / max(len(ratio), 1)
        axes.stairs(counts, edges, fill=True, color=ACCENT)
        axes.axvline(1, color=INK, linestyle="--", linewidth=1)
        axes.set_xlim(edges[0], edges[-1])
        _logarithmic(axes.xaxis)
        axes.set_title(f"left of 1: {share:.2%}", loc="right", fontsize=9)
        _plain(axes.yaxis, _percent)
        axes.set_xlabel("(e_p(x) + e_p(y)) / |p(x) \N{MINUS SIGN} p(y)|")
        axes.set_ylabel("share of level-1 pairs")

    return _svg(
        draw, (4.5, 3.5), "margins", f"Histogram of auxiliary residuals over margins; {share:.2%} of pairs are below 1"
    )


def distance_histograms(check: TheoremCheck, label: str | None) -> list[Chart]:
    """Draw for each level a histogram of its distances and of those of pairs with equal labels, on equal bins."""
    levels = [check.levels[i] for i in ends(len(check.levels), MAX_LEVELS_DRAWN) if len(check.levels[i].distances)]
    same = check.same_label_distances
    samples = [each.distances for each in levels] + ([] if same is None else [same])
    edges, log = _edges(np.concatenate(samples))
    top = max(_bin_shares(each, edges).max() for each in samples)
    return [_distance_histogram(each, same, label, edges, log, top) for each in levels]


def _bin_shares(values: Floats, edges: Floats) -> Floats:
    """Return the share of the values in each bin; the first bin also counts what is nearer."""
    return np.histogram(np.maximum(values, edges[0]), edges)[0] / len(values)


def _edges(values: Floats) -> tuple[Floats, bool]:
    """Return bin edges and whether they are logarithmic, as they are where the values spread far."""
    low, middle, high = np.quantile(values[values > 0], (0.001, 0.1, 1.0)) if (values > 0).any() else (0.0, 0.0, 1.0)
    if middle > 0 and high > 20 * middle:
        return np.geomspace(low, high * 1.0001, BINS + 1), True
    return np.linspace(0, high * 1.0001, BINS + 1), False


def _distance_histogram(
    level: LevelCheck, same: Floats | None, label: str | None, edges: Floats, log: bool, top: float
) -> Chart:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for values, color, alpha in ((same, GREY, 0.75), (level.distances, ACCENT, 0.85)):
            if values is not None:
                axes.stairs(_bin_shares(values, edges), edges, fill=True, color=color, alpha=alpha, linewidth=0)
        axes.set_xlim(edges[0], edges[-1])
        if log:
            _logarithmic(axes.xaxis)
        axes.set_ylim(0, top * 1.05)
        axes.set_title(f"level {level.level}", fontweight="bold")
        if level.separation is not None:
            axes.set_title(f"separation {level.separation:.4f}", loc="right", fontsize=8)
        _plain(axes.yaxis, _percent)
        axes.set_xlabel("distance")

    alt = f"Distances of level {level.level}, median {level.median_distance:.4g}"
    if same is not None:
        alt += f", against pairs of equal {label}, median {np.median(same):.4g}"
    if level.separation is not None:
        alt += f"; separation {level.separation:.5f}"
    return _svg(draw, (2.35, 1.75), f"distance{level.level}", alt)


def comparison(found: Comparison) -> Chart:
    """Draw for every candidate the share of pairs by level, the embeddings needed and the certified share."""
    candidates = found.candidates
    certified = any(each.certified_share is not None for each in candidates)
    embeddings = [0 if each.embeddings is None else each.embeddings.at_least for each in candidates]

    def draw(figure: Any) -> None:
        ratios = [5, 2, 2] if certified else [5, 2]
        panels = figure.subplots(1, len(ratios), sharey=True, width_ratios=ratios)
        deepest = max(len(each.pairs_per_level) for each in candidates)
        for row, each in enumerate(candidates):
            _shares(panels[0], row, each, max(each.pairs, 1))
            _number(panels[1], row, _needed(each), embeddings[row])
            if certified:
                share = each.certified_share
                _number(panels[2], row, "\N{EN DASH}" if share is None else f"{share:.3f}", share or 0)
        panels[0].set_yticks(range(len(candidates)), [each.name for each in candidates])
        panels[0].set_ylim(len(candidates) - 0.5, -0.5)
        panels[0].set_xlim(0, 1)
        _plain(panels[0].xaxis, _percent)
        panels[0].set_title("pairs told apart, by level")
        panels[1].set_title("embeddings needed")
        if certified:
            panels[2].set_title("certified share")
            panels[2].set_xlim(0, 1.5)
        panels[1].set_xlim(0, 1.6 * max(1, *embeddings))
        for axes in panels[1:]:
            axes.set_xticks([])
            axes.spines.bottom.set_visible(False)
        for axes in panels:
            axes.tick_params(axis="y", length=0)
        figure.legend(
            handles=_legend(deepest), loc="outside lower left", ncols=SHADES + 2, handlelength=1, columnspacing=1.2
        )

    said = "; ".join(f"{each.name}: {_spoken(each)}" for each in candidates)
    return _svg(draw, (8.6, 1.35 + 0.36 * len(candidates)), "comparison", f"Auxiliary functions compared. {said}")


def _spoken(candidate: Candidate) -> str:
    if candidate.contradiction is not None:
        return "no well-trained model exists"
    share = sum(candidate.pairs_per_level) / max(candidate.pairs, 1)
    return f"{share:.1%} of pairs told apart, embeddings needed: {_needed(candidate)}"


def _needed(candidate: Candidate) -> str:
    needed = candidate.embeddings
    if needed is None:
        return "no model"
    return ("" if needed.exact else "\N{GREATER-THAN OR EQUAL TO} ") + f"{needed.at_least:,}"


def _shade(level: int) -> str:
    """Return the colour of a level from 1 on, from the accent to a pale tone that all deep levels share."""
    weight = min(level - 1, SHADES - 1) / (SHADES - 1)
    first, last = ([int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in (ACCENT, PALE))
    return "#" + "".join(f"{round(a + weight * (b - a)):02x}" for a, b in zip(first, last, strict=True))


def _shares(axes: Axes, row: int, candidate: Candidate, pairs: int) -> None:
    if candidate.contradiction is not None:
        axes.text(0.01, row, "no well-trained model exists", va="center", fontsize=8)
        return
    axes.barh(row, 1, color=UNDISTINGUISHED, edgecolor=GREY, linewidth=0.5, height=0.62)
    shallow, deep = candidate.pairs_per_level[: SHADES - 1], candidate.pairs_per_level[SHADES - 1 :]
    left = 0.0
    for level, number in enumerate([*shallow, sum(deep)], start=1):
        axes.barh(row, number / pairs, left=left, color=_shade(level), edgecolor="white", linewidth=0.5, height=0.62)
        left += number / pairs


def _number(axes: Axes, row: int, text: str, value: float) -> None:
    axes.barh(row, value, color=ACCENT, height=0.28)
    axes.annotate(text, (value, row), (4, 0), textcoords="offset points", va="center", fontsize=8)


def _legend(deepest: int) -> list[Any]:
    from matplotlib.patches import Patch

    levels = range(1, min(deepest, SHADES) + 1)
    names = [f"level {each}" + (" and deeper" if each == SHADES < deepest else "") for each in levels]
    shades = [Patch(color=_shade(each), label=name) for each, name in zip(levels, names, strict=True)]
    return [*shades, Patch(facecolor=UNDISTINGUISHED, edgecolor=GREY, linewidth=0.5, label="not told apart")]


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _plain(axis: Any, write: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_formatter(NullFormatter())


def _logarithmic(axis: Any) -> None:
    from matplotlib.ticker import LogLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,)))
    _plain(axis, "{:g}".format)


def _whole(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


_SYMBOL = r'<tspan font-style="italic">e</tspan><tspan dy="2" font-size="75%">\1</tspan><tspan dy="-2">\2</tspan>'


def _svg(draw: Draw, size: tuple[float, float], name: str, alt: str) -> Chart:
    """Draw on a new figure with the settings of this module, whatever the caller's are."""
    import matplotlib
    from matplotlib import style
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with style.context("default"), matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font that measures lacks letters that browsers have
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Chart(_inline(buffer.getvalue(), name), alt, size)


def _inline(svg: str, name: str) -> str:
    """Return the content of the ``svg`` element; ids that are referred to get the prefix `name`, others go."""
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.S)
    body = body[body.index(">") + 1 :]
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))

    def clean(match: re.Match[str]) -> str:
        tag = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", match[0])
        return re.sub(r'(url\(#|href="#)', rf"\1{name}-", tag.replace("xlink:href", "href"))

    body = re.sub(r"<[^>]*>", clean, body)  # in tags only: text between them may be a user's name for something
    if name in ("residual", "margins"):  # without users' names: e_d and e_p are symbols here
        body = re.sub("e_([dp])([^<]?)", _SYMBOL, body)
    return body[: body.rindex("</svg>")]
