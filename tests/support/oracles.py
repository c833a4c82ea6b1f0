"""Literal, slow implementations of the paper's definitions, and random datasets to compare the fast code on."""

import dataclasses
import itertools
from typing import Any, NamedTuple

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
    reached: int | None = None,
) -> TransitionDataset:
    """Draw deterministic transitions with cycles, duplicates, missing actions and successors that are never sources.

    Args:
        rng: source of randomness.
        frames, actions, values: numbers of observations, actions and values of p.
        coverage: probability that an action was observed.
        vector: components of p, 0 for one number.
        one_action: whether no source has two observed actions.
        reached: successors are among the first so many observations; None, among all.
    """
    successor = rng.integers(reached or frames, size=(frames, actions))
    p = rng.integers(values, size=(frames, vector) if vector else frames)
    seen = [(x, a) for x, a in itertools.product(range(frames), range(actions)) if rng.random() < coverage]
    if one_action:
        seen = list({x: (x, a) for x, a in rng.permutation(seen).tolist()}.values())
    seen = seen or [(0, 0)]
    seen += [seen[int(rng.integers(len(seen)))]]  # a duplicate row
    rng.shuffle(seen)
    source, action = np.array(seen).T
    return TransitionDataset(source, action, successor[source, action], p[source])


def partly_known_dataset(rng: np.random.Generator, unknown: float, initial: bool = False, **arguments):
    """Draw transitions with p of observations, so of leaves too, that is unknown of some.

    Args:
        rng: source of randomness.
        unknown: probability that p of an observation is unknown.
        initial: whether that happens only where no transition leads, nor to an episode's last observation.
        **arguments: as for `random_dataset`.
    """
    data = random_dataset(rng, **arguments)
    frames, vector = arguments.get("frames", 7), arguments.get("vector", 0)
    p = rng.integers(arguments.get("values", 2), size=(frames, vector) if vector else frames)
    known = rng.random(frames) >= unknown
    if initial:
        known[data.successor] = True
    known[data.source[0]] |= not known[data.source].any() and not known[data.successor].any()
    return dataclasses.replace(data, auxiliary=None, observation_auxiliary=p, observation_auxiliary_known=known)


class Told(NamedTuple):
    """What a dataset says of observations, in plain sets and dictionaries.

    Attributes:
        observations: ids of sources, and of what is reached and of known p.
        p: value as a tuple, of ids of which it is known.
        f: successor of each id and action.
        name: representative of each id.
    """

    observations: list[int]
    p: dict[int, Any]
    f: dict[tuple[int, int], int]
    name: list[int]


def told(data: TransitionDataset, names=None) -> Told:
    """Return what a dataset says of the representatives `names` (F,) of its observations; None folds nothing."""
    name = list(range(data.frames)) if names is None else np.asarray(names).tolist()
    rows = list(zip(data.source.tolist(), data.action.tolist(), data.successor.tolist(), strict=True))
    sources, reached = {x for x, _, _ in rows}, {y for _, _, y in rows}
    p = {}
    if data.auxiliary is not None:
        p |= {x: tuple(np.atleast_1d(v).tolist()) for x, v in zip(data.source.tolist(), data.auxiliary, strict=True)}
    if data.observation_auxiliary is not None:
        everything = enumerate(zip(data.observation_auxiliary, data.observation_auxiliary_known, strict=True))
        p |= {x: tuple(np.atleast_1d(v).tolist()) for x, (v, known) in everything if known and x in sources | reached}
    return Told(
        observations=sorted(sources | (reached & p.keys())),
        p={name[x]: value for x, value in p.items()},
        f={(name[x], a): name[y] for x, a, y in rows},
        name=name,
    )


def _between_observations(of: Told, found: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """Return for pairs of observations what was found for pairs of their representatives."""
    pairs = [(x, y, (of.name[x], of.name[y])) for x, y in itertools.product(of.observations, repeat=2)]
    return {(x, y): found[pair] for x, y, pair in pairs if pair in found}


def literal_levels(data: TransitionDataset, names=None) -> dict[tuple[int, int], int]:
    """Compute by Definition 4, word for word, the round at which each ordered pair of observations enters R.

    An unknown p differs from none.
    """
    of = told(data, names)
    p, f = of.p, of.f
    observed = sorted({of.name[x] for x in of.observations})
    actions = sorted(set(data.action.tolist()))

    def operator(relation: set[tuple[int, int]]) -> set[tuple[int, int]]:
        disagree = {(x, y) for x in observed for y in observed if x in p and y in p and p[x] != p[y]}
        follow = {
            (x, y)
            for x in observed
            for y in observed
            for a in actions
            if (x, a) in f and (y, a) in f and (f[x, a], f[y, a]) in relation
        }
        return disagree | follow

    level: dict[tuple[int, int], int] = {}
    relation: set[tuple[int, int]] = set()
    for number in itertools.count(1):
        larger = operator(relation)
        if larger == relation:
            return _between_observations(of, level)
        level |= dict.fromkeys(larger - relation, number)
        relation = larger
    raise AssertionError


def breadth_first_levels(data: TransitionDataset, names=None) -> dict[tuple[int, int], int]:
    """Compute levels as distances from the pairs that differ in p, against the transitions (SciPy)."""
    of = told(data, names)
    observed = sorted({of.name[x] for x in of.observations})
    number = {pair: i for i, pair in enumerate(itertools.product(observed, repeat=2))}
    start = len(number)
    edges = [(start, i) for (x, y), i in number.items() if len({of.p[z] for z in (x, y) if z in of.p}) == 2]
    for (x, y), i in number.items():
        for action in {a for u, a in of.f if u == x} & {a for u, a in of.f if u == y}:
            reached = number.get((of.f[x, action], of.f[y, action]))
            if reached is not None:
                edges.append((reached, i))
    if not edges:
        return {}
    tails, heads = np.array(edges).T
    graph = csr_array((np.ones(len(edges)), (tails, heads)), shape=(start + 1, start + 1))
    distance = dijkstra(graph, indices=start, unweighted=True)
    found = {pair: int(distance[i]) for pair, i in number.items() if np.isfinite(distance[i])}
    return _between_observations(of, found)


def datalog_relation(data: TransitionDataset, names=None) -> set[tuple[int, int]]:
    """Compute R_D* as the least model of Definition 4's two rules (clingo)."""
    of = told(data, names)
    values = sorted(set(of.p.values()))
    facts = [f"s({of.name[x]})." for x in of.observations]
    facts += [f"p({x},{values.index(value)})." for x, value in of.p.items()]
    facts += [f"f({x},{a},{y})." for (x, a), y in of.f.items()]
    control = clingo.Control(["--warn=none"])
    control.add("base", [], "".join(facts) + "r(X,Y) :- s(X), s(Y), p(X,V), p(Y,W), V != W."
                "r(X,Y) :- s(X), s(Y), f(X,A,U), f(Y,A,W), r(U,W).")  # fmt: skip
    control.ground([("base", [])])
    atoms = control.symbolic_atoms.by_signature("r", 2)
    found = {(a.symbol.arguments[0].number, a.symbol.arguments[1].number): 1 for a in atoms}
    return set(_between_observations(of, found))


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
    p = told(data).p
    if any(group(x) is group(y) and p[x] != p[y] for x, y in itertools.combinations(p, 2)):
        return None
    return groups


def fewest_embeddings(data: TransitionDataset) -> int:
    """Count the embeddings of the observations in a smallest well-trained model, by trying every partition."""
    of = told(data)
    frames = sorted(set(data.source.tolist()) | set(data.successor.tolist()))

    def allowed(block: dict[int, int]) -> bool:
        return not any(
            block[x] == block[y]
            and (
                (x in of.p and y in of.p and of.p[x] != of.p[y])
                or any(block[v] != block[of.f[y, a]] for (u, a), v in of.f.items() if u == x and (y, a) in of.f)
            )
            for x, y in itertools.combinations(frames, 2)
        )

    found = (block for block in _partitions(frames) if allowed(block))
    return min(len({block[x] for x in of.observations}) for block in found)


def _partitions(items: list[int]):
    """Yield every partition of the items, as the number of the block of each."""
    if not items:
        yield {}
        return
    for block in _partitions(items[1:]):
        for number in range(max(block.values(), default=-1) + 2):
            yield {items[0]: number, **block}
