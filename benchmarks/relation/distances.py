"""Measure the search for the smallest distance over R_D*, by the library and by a masked product."""

import functools
import math
from typing import Any

import numpy as np
from bisim_theory import empirical_bisimulation
from bisim_theory.theorem.nearest import nearest_distinguished

from benchmarks.relation.inputs import DIMENSIONS, KINDS, Sizes, embeddings, threshold_of, trajectories
from benchmarks.relation.measuring import Figures, Stages, alone, medians, row, status_mb, table


def distance_case(kind: str, transitions: int, plain: bool) -> Figures:
    """Measure one search, by the library or by the masked product, with its ``answer`` and count of ``close`` pairs."""
    baseline = status_mb("VmRSS")
    data = trajectories(4, transitions)
    embedding = embeddings(kind, data)
    relation = empirical_bisimulation(data)
    relation.level(data.source[0], data.source[-1])
    threshold = threshold_of(embedding)
    stages = Stages(baseline)
    with stages.stage("total"):
        if plain:
            answer, close = masked_product(relation, embedding, threshold)
        else:
            found = nearest_distinguished(relation, embedding, threshold)
            answer, close = found.distance, found.close
    return stages.figures | {"answer": answer, "close": close, "peak": stages.figures["total: peak"]}


def masked_product(relation: Any, embedding: np.ndarray, threshold: float, rows: int = 1024) -> tuple[float, int]:
    """Find the smallest distance, and count the pairs within `threshold`, in masked blocks of squared distances."""
    order = relation.behaviour.order
    double = embedding[relation.observations[order]].astype(np.float64)
    double -= double.mean(0)
    norms = np.square(double).sum(1)
    class_of = relation.behaviour.class_of[order]
    every = np.arange(relation.behaviour.classes)
    apart = relation.apart(every, every)
    least, close = math.inf, 0
    for start in range(0, len(double), rows):
        here = slice(start, start + rows)
        squared = double[here] @ double[start:].T  # each pair in one block, or twice in one on the diagonal
        squared *= -2
        squared += norms[here, None]
        squared += norms[start:]
        squared[~apart[class_of[here]][:, class_of[start:]]] = math.inf
        least = min(least, float(squared.min()))
        near = squared <= threshold**2
        close += int(np.count_nonzero(near)) - int(np.count_nonzero(near[:, :rows])) // 2
    return math.sqrt(max(least, 0)), close


def smallest(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the table of the searches; return the requirements and the results."""
    keys = [(kind, size, plain) for kind in KINDS for size, plain in ((sizes.plain, False), (sizes.plain, True))]
    keys += [(kind, sizes.distances, False) for kind in KINDS]
    found = medians(rounds, {key: functools.partial(alone, distance_case, *key) for key in keys})
    once = KINDS[0], sizes.distances, True
    found[once] = alone(distance_case, *once)
    table("embedding", "sources x 256", "library, s", "peak, MB", "masked product, s", "peak, MB", "product / library")
    for kind in KINDS:
        for size in (sizes.plain, sizes.distances):
            ours, plain = found[kind, size, False], found.get((kind, size, True))
            if plain is None:
                row(kind, size, ours["total"], ours["peak"], "-", "-", "-")
                continue
            assert math.isclose(ours["answer"], plain["answer"], rel_tol=1e-6, abs_tol=1e-12), (ours, plain)
            assert ours["close"] == plain["close"], (ours, plain)
            times = ours["total"], ours["peak"], plain["total"], plain["peak"]
            row(kind, size, *times, plain["total"] / ours["total"])
    print(
        f"\nThe masked product of {sizes.distances:,} was measured once and for one kind: its work is the same for all."
    )
    slowest = max(found[kind, sizes.distances, False]["total"] for kind in KINDS)
    return [(f"{sizes.distances:,} x {DIMENSIONS} in under 30 s", f"{slowest:.1f} s, the slowest of four kinds")]
