"""Arrange held-out observations of any world to be drawn: which class each is of, and in which order they stand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.labels import label_values
from numpy.typing import NDArray

from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes
from pjepa_agent.figures.run import POINTS
from pjepa_agent.model import PJEPA

MOST_CLASSES = 256
"""Most values of p that are classes; of more, p is a scale."""

LEVELS = "order of levels of R_D*"
"""What observations are coloured by where they have no labels, and p is no single number."""


@dataclass(frozen=True)
class Arrangement:
    """Hold held-out observations as they are drawn.

    Attributes:
        embedding: (n, d).
        kind: what the observations are coloured by: the name of a label, ``class of B_D*``, p or `LEVELS`.
        value: (n,) the class 0, 1, ... of each where `names` has their names, else a number; NaN where it has none.
        names: names of the classes, in order; empty where the values are a scale.
        levels: (n, n) the level of every pair in R_D*, 0 where it is in B_D*.
        order: (n,) the observations as rows of a heatmap.
        every: number of held-out observations, of which these are all or a sample.
    """

    embedding: NDArray[np.float32]
    kind: str
    value: NDArray[np.float64]
    names: tuple[str, ...]
    levels: NDArray[np.int64]
    order: NDArray[np.int64]
    every: int


def arrange(held_out: HeldOutEpisodes, model: PJEPA) -> Arrangement:
    """Arrange at most 256 observations of the relation, coloured by label, else class of B_D*, else p.

    A label stands in the order of its values. All else stands in the order of levels: observations that R_D* tells
    apart late, or never, stand side by side, so that those with different p are furthest.
    """
    every = held_out.relation.observations
    ids = np.sort(every[np.random.default_rng(0).permutation(len(every))[:POINTS]])
    frames: Any = held_out.data.observation
    levels = held_out.relation.level(ids[:, None], ids)
    by_level = order_by_levels(levels)
    rank = np.argsort(by_level)
    kind, value, names = _classes(held_out, ids, rank)
    order = np.lexsort((rank, value)) if held_out.label is not None else by_level
    embedding = model.encode(frames[ids]).numpy()
    return Arrangement(embedding, kind, value, names, levels, order, len(every))


def order_by_levels(levels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n,) an order of observations in which those told apart late stand side by side, by average linkage.

    Where B_D* is an equivalence, so are the relations of all rounds, and every class of each stands in one piece.

    Args:
        levels: (n, n) the level of every pair, 0 where it is never told apart.
    """
    from sklearn.cluster import AgglomerativeClustering  # takes a second to import

    if len(levels) < 2:
        return np.arange(len(levels))
    apart = np.divide(1, levels, out=np.zeros(levels.shape), where=levels > 0)
    tree = AgglomerativeClustering(1, metric="precomputed", linkage="average", compute_full_tree=True).fit(apart)
    pieces = [[number] for number in range(len(levels))]
    for one, other in tree.children_.tolist():
        pieces.append(pieces[one] + pieces[other])
    return np.array(pieces[-1])


def _classes(
    held_out: HeldOutEpisodes, ids: NDArray[np.int64], rank: NDArray[np.int64]
) -> tuple[str, NDArray[np.float64], tuple[str, ...]]:
    """Return what the observations are coloured by, their values, and the names of classes."""
    if held_out.label is not None:
        found, code = np.unique(label_values(held_out.data, held_out.label)[ids], return_inverse=True)
        return held_out.label, code.reshape(-1).astype(np.float64), tuple(map(_text, found.tolist()))
    if held_out.labels is not None:
        number = _renumber(held_out.labels[ids], rank)
        return str(held_out.label_name), number, tuple(str(each + 1) for each in range(int(number.max()) + 1))
    p = stored_values(held_out.relation.data)
    name = f"p ({held_out.config.objective.auxiliary})"
    if p.value.ndim > 1:
        return LEVELS, rank.astype(np.float64), ()
    value, known = p.value[ids].astype(np.float64), p.known[ids]
    found, code = np.unique(value[known], return_inverse=True)
    if not 0 < len(found) <= MOST_CLASSES:
        return name, np.where(known, value, np.nan), ()
    classes = np.full(len(ids), np.nan)
    classes[known] = code.reshape(-1)
    return name, classes, tuple(map(_text, found.tolist()))


def _renumber(labels: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """Number classes 0, 1, ... in the order in which they first stand."""
    found, code = np.unique(labels, return_inverse=True)
    code = code.reshape(-1)
    first = np.full(len(found), len(rank))
    np.minimum.at(first, code, rank)
    return np.argsort(np.argsort(first))[code].astype(np.float64)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
