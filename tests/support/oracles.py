"""Literal, slow implementations of the paper's definitions, and random datasets to compare the fast code on."""

import itertools

import clingo
import numpy as np
from bisim_theory import TransitionDataset
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra


def random_dataset(
    rng: np.random.Generator,
    frames: int = 7,
    actions: int = 2,
    values: int = 2,
    coverage: float = 0.6,
    vector: int = 0,
    one_action: bool = False,
) -> TransitionDataset:
    """Draw deterministic transitions with cycles, duplicates, missing actions and successors that are never sources."""
    successor = rng.integers(frames, size=(frames, actions))
    p = rng.integers(values, size=(frames, vector) if vector else frames)
    seen = [(x, a) for x, a in itertools.product(range(frames), range(actions)) if rng.random() < coverage]
    if one_action:
        seen = list({x: (x, a) for x, a in rng.permutation(seen).tolist()}.values())
    seen = seen or [(0, 0)]
    seen += [seen[int(rng.integers(len(seen)))]]  # a duplicate row
    rng.shuffle(seen)
    source, action = np.array(seen).T
    return TransitionDataset(source, action, successor[source, action], p[source])


def literal_levels(data: TransitionDataset) -> dict[tuple[int, int], int]:
    """Compute by Definition 4, word for word, the round at which each ordered pair enters R."""
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


def _tables(data: TransitionDataset):
    """Return the sources, their p as tuples, and the successor of each (source, action)."""
    p = {x: tuple(np.atleast_1d(value).tolist()) for x, value in zip(data.source.tolist(), data.auxiliary, strict=True)}
    f = {(x, a): y for x, a, y in zip(data.source.tolist(), data.action.tolist(), data.successor.tolist(), strict=True)}
    return sorted(p), p, f


def breadth_first_levels(data: TransitionDataset) -> dict[tuple[int, int], int]:
    """Compute levels as distances from the pairs that differ in p, against the transitions (SciPy)."""
    sources, p, f = _tables(data)
    number = {pair: i for i, pair in enumerate(itertools.product(sources, repeat=2))}
    start = len(number)
    edges = [(start, i) for (x, y), i in number.items() if p[x] != p[y]]
    for (x, y), i in number.items():
        for action in {a for u, a in f if u == x} & {a for u, a in f if u == y}:
            reached = number.get((f[x, action], f[y, action]))
            if reached is not None:
                edges.append((reached, i))
    if not edges:
        return {}
    tails, heads = np.array(edges).T
    graph = csr_array((np.ones(len(edges)), (tails, heads)), shape=(start + 1, start + 1))
    distance = dijkstra(graph, indices=start, unweighted=True)
    return {pair: int(distance[i]) for pair, i in number.items() if np.isfinite(distance[i])}


def datalog_relation(data: TransitionDataset) -> set[tuple[int, int]]:
    """Compute R_D* as the least model of Definition 4's two rules (clingo)."""
    _, p, f = _tables(data)
    values = sorted(set(p.values()))
    facts = [f"p({x},{values.index(value)})." for x, value in p.items()]
    facts += [f"f({x},{a},{y})." for (x, a), y in f.items()]
    control = clingo.Control(["--warn=none"])
    control.add("base", [], "".join(facts) + "r(X,Y) :- p(X,V), p(Y,W), V != W. s(X) :- p(X,_)."
                "r(X,Y) :- s(X), s(Y), f(X,A,U), f(Y,A,W), r(U,W).")  # fmt: skip
    control.ground([("base", [])])
    atoms = control.symbolic_atoms.by_signature("r", 2)
    return {(a.symbol.arguments[0].number, a.symbol.arguments[1].number) for a in atoms}


def literal_folding(data: TransitionDataset, merges=()) -> list[set[int]] | None:
    """Merge the observations that need one embedding, one pair at a time; return None if p forbids it."""
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
