"""Literal, slow transcriptions of the paper's definitions, and random data to hold the fast code against."""

import itertools

import numpy as np
from bisim_theory import TransitionDataset


def random_dataset(
    rng: np.random.Generator, frames: int = 7, actions: int = 2, values: int = 2, coverage: float = 0.6, vector: int = 0
) -> TransitionDataset:
    """Deterministic transitions with cycles, duplicates, missing actions and successors that are never sources."""
    successor = rng.integers(frames, size=(frames, actions))
    p = rng.integers(values, size=(frames, vector) if vector else frames)
    seen = [(x, a) for x, a in itertools.product(range(frames), range(actions)) if rng.random() < coverage]
    seen = seen or [(0, 0)]
    seen += [seen[int(rng.integers(len(seen)))]]  # a duplicate row
    rng.shuffle(seen)
    source, action = np.array(seen).T
    return TransitionDataset(source, action, successor[source, action], p[source])


def literal_levels(data: TransitionDataset) -> dict[tuple[int, int], int]:
    """Definition 4, word for word: the round at which each ordered pair enters R."""
    sources = sorted(set(data.source.tolist()))
    p = {x: np.asarray(value).tolist() for x, value in zip(data.source.tolist(), data.auxiliary, strict=True)}
    f = {(x, a): y for x, a, y in zip(data.source.tolist(), data.action.tolist(), data.successor.tolist(), strict=True)}
    actions = sorted(set(data.action.tolist()))

    def operator(relation: set[tuple[int, int]]) -> set[tuple[int, int]]:
        disagree = {(x, y) for x in sources for y in sources if p[x] != p[y]}
        follow = {
            (x, y)
            for x in sources
            for y in sources
            for a in actions
            if (x, a) in f and (y, a) in f and (f[x, a], f[y, a]) in relation
        }
        return disagree | follow

    level: dict[tuple[int, int], int] = {}
    relation: set[tuple[int, int]] = set()
    for number in itertools.count(1):
        larger = operator(relation)
        if larger == relation:
            return level
        level |= dict.fromkeys(larger - relation, number)
        relation = larger
    raise AssertionError


def literal_folding(data: TransitionDataset, merges=()) -> list[set[int]] | None:
    """Classes of observations that a well-trained model must give one embedding; None where p forbids it."""
    groups = [{x} for x in range(data.frames)]

    def group(x: int) -> set[int]:
        return next(g for g in groups if x in g)

    def merge(x: int, y: int) -> bool:
        a, b = group(x), group(y)
        if a is b:
            return False
        groups.remove(b)
        a |= b
        return True

    for x, y in merges:
        merge(x, y)
    rows = list(zip(data.source.tolist(), data.action.tolist(), data.successor.tolist(), strict=True))
    while any(merge(y, v) for (x, a, y), (u, b, v) in itertools.product(rows, rows) if a == b and group(x) is group(u)):
        pass
    values = [np.asarray(v).tolist() for v in data.auxiliary]
    for (i, x), (j, u) in itertools.combinations(enumerate(data.source.tolist()), 2):
        if group(x) is group(u) and values[i] != values[j]:
            return None
    return groups
