"""Choose colours and markers that people with a colour vision deficiency tell apart too."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

DISTINCT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of few kinds (Okabe and Ito, 2008), without the yellow, which is too pale for lines."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Markers that classes take in turn, so that classes of similar colours have different ones."""

UNKNOWN = "#c8c8c8"
"""Colour of what has no class."""

ORDERED = "viridis"
"""Colour map of ordered classes: its lightness alone tells the order."""


def line_style(number: int) -> str:
    """Return the style of a line: lines in turn have different ones, which a print without colours shows too."""
    return ("-", "--", "-.", ":")[number % 4]


def ordered_colors(number: int) -> NDArray[Any]:
    """Return (number, 4) colours of ordered classes, from dark to light, without the palest ones."""
    return np.asarray(colormaps[ORDERED](np.linspace(0, 0.93, max(number, 1))))


def markers(number: int) -> list[str]:
    """Return the markers of classes."""
    return [MARKERS[each % len(MARKERS)] for each in range(number)]
