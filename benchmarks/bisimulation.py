"""R_D*: seconds, memory and growth of the exact algorithms, and their peers on the same inputs.

Run it with ``uv run benchmarks/bisimulation.py``; ``--quick`` takes small sizes and a few seconds. Whatever is compared
takes turns, and no time is printed unless the answers are asserted to be equal.
"""

import argparse
import contextlib
import functools
import gc
import importlib
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from bisim_theory import TransitionDataset, embeddings_needed, empirical_bisimulation
from bisim_theory.relation.graph import observed_graph
from bisim_theory.relation.refinement import refine_in_memory
from bisim_theory.theorem.nearest import nearest_distinguished

EPISODE, QUERIES, DIMENSIONS = 16, 100_000, 256
HELD, NOT_HELD = "actions held 4 steps", "actions not held"
CORRIDOR, CYCLE = "corridor, p at its end", "cycle, p at one place"
KINDS = ("clustered by count", "i.i.d. normal", "rank 6", "nearly one point")
Figures = dict[str, float]


class Sizes(NamedTuple):
    """How large the inputs are."""

    growth: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000, 1_000_000)
    deep: int = 1_000_000
    general: tuple[int, ...] = (1_000, 5_000, 10_000, 20_400)
    distances: int = 100_000
    plain: int = 20_000
    literal: int = 300
    search: int = 4_000
    datalog: int = 1_200
    paige_tarjan: tuple[int, ...] = (10_000, 50_000)
    storm: tuple[int, ...] = (10_000, 50_000, 500_000)


QUICK = Sizes((1_000, 3_000), 3_000, (200, 400), 2_000, 1_000, 30, 100, 60, (500,), (500,))


# Inputs


def trajectories(held: int, transitions: int) -> TransitionDataset:
    """A random policy on counts 0..8, episodes of 16 steps, every observation an occurrence, p = [count == 4]."""
    rng = np.random.default_rng(0)
    episodes = -(-transitions // EPISODE)
    action = np.repeat(rng.integers(2, size=(episodes, EPISODE // held)), held, axis=1)
    count = np.empty((episodes, EPISODE + 1), np.int64)
    count[:, 0] = rng.integers(9, size=episodes)
    for step in range(EPISODE):
        count[:, step + 1] = np.clip(count[:, step] + 2 * action[:, step] - 1, 0, 8)
    name = np.arange(count.size).reshape(count.shape)
    rows = [each.ravel()[:transitions] for each in (name[:, :-1], action, name[:, 1:], count[:, :-1] == 4)]
    return TransitionDataset(*rows, labels={"count": count.ravel()})


def deep(cycle: bool, transitions: int) -> TransitionDataset:
    """0 -> 1 -> ... -> n - 1, and back to 0 in a cycle; p is 1 at n - 1 only, so that there are n - 1 levels."""
    source = np.arange(transitions)
    successor = (source + 1) % transitions if cycle else source + 1
    labels = {"half": np.arange(transitions + 1) * 2 // transitions}
    return TransitionDataset(source, np.zeros_like(source), successor, source == transitions - 1, labels=labels)


def partial(sources: int, coverage: float = 0.8, actions: int = 2) -> TransitionDataset:
    """Random successors and a random binary p; an action is observed with probability `coverage`, one at least."""
    rng = np.random.default_rng(0)
    seen = rng.random((sources, actions)) < coverage
    seen[np.arange(sources), rng.integers(actions, size=sources)] |= ~seen.any(1)
    source, action = np.nonzero(seen)
    return TransitionDataset(
        source, action, rng.integers(sources, size=len(source)), rng.integers(2, size=sources)[source]
    )


def total(sources: int, behaviours: int, actions: int = 2) -> TransitionDataset:
    """Every action observed from every source: random members of the blocks of a random automaton with few states."""
    rng = np.random.default_rng(0)
    state = rng.permutation(np.arange(sources) % behaviours)
    leads, p = rng.integers(behaviours, size=(behaviours, actions)), rng.integers(2, size=behaviours)
    members, sizes = np.argsort(state, kind="stable"), np.bincount(state)
    to = leads[state]
    successor = members[(np.cumsum(sizes) - sizes)[to] + rng.integers(sizes[to])]
    source, action = (each.ravel() for each in np.indices((sources, actions)))
    return TransitionDataset(source, action, successor.ravel(), p[state[source]])


def embeddings(kind: str, data: TransitionDataset) -> np.ndarray:
    """(F, 256) float32."""
    rng = np.random.default_rng(1)
    shape = (data.frames, DIMENSIONS)
    if kind == "clustered by count":
        centres = rng.normal(size=(9, DIMENSIONS))[data.labels["count"]]
        return (centres + 0.1 * rng.normal(size=shape)).astype(np.float32)
    if kind == "rank 6":
        return (rng.normal(size=(data.frames, 6)) @ rng.normal(size=(6, DIMENSIONS))).astype(np.float32)
    noise = rng.normal(size=shape)
    return (1 + 1e-7 * noise if kind == "nearly one point" else noise).astype(np.float32)


def threshold_of(embedding: np.ndarray) -> float:
    """1e-3 of the median distance of random pairs, at least 1e-6 of the root mean square: where collapse begins."""
    x, y = np.random.default_rng(2).integers(len(embedding), size=(2, 10_000))
    double = embedding[x].astype(np.float64)
    median = float(np.median(np.sqrt(np.square(double - embedding[y]).sum(1))))
    return max(1e-3 * median, 1e-6 * math.sqrt(np.square(double).sum(1).mean()))


# Time and memory


def status_mb(field: str) -> float:
    """A size from the kernel's account of this process, in MB of 10^6 bytes; NaN where there is no such account."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    return math.nan


class Stages:
    """Seconds of named stages, and the peak of the resident memory since the inputs were there."""

    def __init__(self, baseline: float) -> None:
        self.baseline = baseline
        self.figures: Figures = {}
        with contextlib.suppress(OSError):  # so that what made the inputs does not count, the inputs themselves do
            Path("/proc/self/clear_refs").write_text("5")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a piece of work."""
        started = time.perf_counter()
        yield
        self.figures[name] = time.perf_counter() - started
        self.figures[f"{name}: peak"] = status_mb("VmHWM") - self.baseline


def alone(case: Callable[..., Figures], *arguments: Any) -> Figures:
    """Run a case in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(case, *arguments).result()


def medians(rounds: int, cases: dict[Any, Callable[[], Figures]]) -> dict[Any, Figures]:
    """The median of every figure of every case; the cases take turns, `rounds` times."""
    found: dict[Any, list[Figures]] = {key: [] for key in cases}
    for _ in range(rounds):
        for key, case in cases.items():
            found[key].append(case())
    return {
        key: {name: statistics.median(each[name] for each in all_) for name in all_[0]} for key, all_ in found.items()
    }


def table(*columns: str) -> None:
    """Print the head of a table."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    """Print a row of a table; numbers with a point to three digits."""
    print(f"| {' | '.join(show(cell) for cell in cells)} |", flush=True)


def show(cell: object) -> str:
    """A cell as text."""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if not math.isfinite(cell):
        return str(cell)
    if abs(cell) < 1e-5:
        return "0"
    return f"{cell:,.{max(0, 2 - math.floor(math.log10(abs(cell))))}f}"


# 1. One action a source


def growth_case(kind: str, transitions: int) -> Figures:
    """All that is asked of trajectories."""
    baseline = status_mb("VmRSS")
    is_deep = kind in (CORRIDOR, CYCLE)
    data = deep(kind == CYCLE, transitions) if is_deep else trajectories(4 if kind == HELD else 1, transitions)
    x, y = np.random.default_rng(3).choice(np.unique(data.source), size=(2, QUERIES))
    labels = next(iter(data.labels.values()))
    stages = Stages(baseline)
    with stages.stage("relation"):
        relation = empirical_bisimulation(data)
        per_level = relation.distinguished_pairs_per_level
    with stages.stage("queries"):
        levels = relation.level(x, y)
    with stages.stage("share"):
        share = relation.certified_share(labels)
    with stages.stage("clique"):
        clique = relation.clique()
    figures = stages.figures | {"classes": relation.behaviour.classes, "levels": len(per_level), "codes": len(clique)}
    if is_deep:
        assert per_level == list(range(transitions - 1, 0, -1))
        assert (levels == np.where(x == y, 0, transitions - np.maximum(x, y))).all()
    else:
        assert (levels == walked(data, x, y)).all()
    stage_names = ("relation", "queries", "share", "clique")
    together = sum(figures[name] for name in stage_names)
    growing = together - figures["queries"]
    known = {"share found": float(share or 0), "total": together, "growing": growing, "peak": figures["clique: peak"]}
    return figures | known


def walked(data: TransitionDataset, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Levels of pairs in trajectories, by walking along both, one step at a time for all pairs."""
    p, action, successor = (np.full(data.frames, -1) for _ in range(3))
    p[data.source], action[data.source], successor[data.source] = data.auxiliary, data.action, data.successor
    levels, alive = np.zeros(len(x), np.int64), np.ones(len(x), bool)
    for level in range(1, EPISODE + 1):
        levels[alive & (p[x] != p[y])] = level
        alive &= (p[x] == p[y]) & (action[x] == action[y])
        x, y = np.where(alive, successor[x], x), np.where(alive, successor[y], y)
        alive &= (action[x] >= 0) & (action[y] >= 0)  # both are sources
    return levels


def growth(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the growth on trajectories; what was asked for, and what was found."""
    keys = [(kind, size) for kind in (HELD, NOT_HELD) for size in sizes.growth]
    keys += [(kind, sizes.deep) for kind in (CORRIDOR, CYCLE)]
    found = medians(rounds, {key: functools.partial(alone, growth_case, *key) for key in keys})
    columns = (
        "relation + counts, s",
        f"{QUERIES:,} levels, s",
        "certified share, s",
        "clique, s",
        "together, s",
        "peak, MB",
    )
    table("input", "transitions", "classes", "levels", "share", "codes", *columns, "s / (n log n), of smallest")
    worst = 0.0
    for (kind, size), figures in found.items():
        times = [figures[name] for name in ("relation", "queries", "share", "clique", "total", "peak")]
        relative = "-"
        if (kind, sizes.growth[0]) in found:
            first = sizes.growth[0]
            growth_of_time = figures["growing"] / found[kind, first]["growing"]
            growth_of_work = size * math.log2(size) / (first * math.log2(first))
            relative = f"{growth_of_time / growth_of_work:.2f}"
            worst = max(worst, growth_of_time / growth_of_work)
        known = (
            int(figures["classes"]),
            int(figures["levels"]),
            f"{figures['share found']:.2f}",
            int(figures["codes"]),
        )
        row(kind, size, *known, *times, relative)
    print("\nThe last column leaves the levels out, of which as many are asked at every size.")
    largest = [found[kind, max(sizes.growth)] for kind in (HELD, NOT_HELD)]
    extreme = [found[kind, sizes.deep] for kind in (CORRIDOR, CYCLE)]
    return [
        (f"{max(sizes.growth):,} transitions in under 10 s and 1 GB", most(largest)),
        ("seconds no faster than n log n", f"at most {worst:.2f} of the smallest size's seconds / (n log n)"),
        (f"a corridor and a cycle of {sizes.deep:,}, as above", most(extreme)),
    ]


def most(figures: list[Figures]) -> str:
    """The most seconds and the highest peak."""
    return f"{max(f['total'] for f in figures):.1f} s, {max(f['peak'] for f in figures):,.0f} MB"


# 2. Several actions a source


def general_case(sources: int) -> Figures:
    """All that is asked of data with several actions a source."""
    baseline = status_mb("VmRSS")
    data = partial(sources)
    np.unique(data.source)  # the first one imports parts of NumPy
    stages = Stages(baseline)
    with stages.stage("relation"):
        relation = empirical_bisimulation(data)
    with stages.stage("counts"):
        per_level = relation.distinguished_pairs_per_level
    with stages.stage("triple"):
        triple = relation.intransitive_triple
    peak = status_mb("VmHWM") - baseline
    with stages.stage("codes"):
        codes = embeddings_needed(relation)
    if triple is not None:
        x, y, z = triple
        assert relation.level([x, y, x], [y, z, z]).astype(bool).tolist() == [False, False, True]
    figures = stages.figures
    together = figures["relation"] + figures["counts"] + figures["triple"]
    known = {"classes": relation.behaviour.classes, "levels": len(per_level), "at least": codes.at_least}
    known["constructed"] = codes.constructed or 0
    return figures | known | {"total": together, "peak": peak}


def general(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the general case; what was asked for, and what was found."""
    found = medians(rounds, {size: functools.partial(alone, general_case, size) for size in sizes.general})
    names = "relation, s", "counts, s", "intransitive triple, s", "together, s", "peak, MB"
    table(
        "sources", "classes", "levels", *names, "codes forced, s", "peak with codes, MB", "codes: at least, constructed"
    )
    for size, figures in found.items():
        times = [figures[name] for name in ("relation", "counts", "triple", "total", "peak", "codes", "codes: peak")]
        constructed = int(figures["constructed"]) or "given up"
        row(size, int(figures["classes"]), int(figures["levels"]), *times, f"{figures['at least']:.0f}, {constructed}")
    last = found[sizes.general[-1]]
    asked = f"{int(last['classes']):,} classes in under 20 s and 1 GB"
    return [(asked, most([last])), ("the same with codes forced", f"{last['total'] + last['codes']:.1f} s")]


# 3. The smallest distance over R_D*


def distance_case(kind: str, transitions: int, plain: bool) -> Figures:
    """The smallest distance over R_D*, by the library or by the masked product; `answer` and `close` are the same."""
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
    """The plain way: blocks of squared distances in double precision, those outside R_D* masked."""
    order = relation.behaviour.order
    double = embedding[relation.sources[order]].astype(np.float64)
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
    """Print the search for the smallest distance; what was asked for, and what was found."""
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


# 4. Peers


class Peer(NamedTuple):
    """Somebody else's way to an answer.

    Attributes:
        name: who.
        prepare: makes its input from a dataset.
        solve: makes its answer from its input.
        check: asserts that the answer is the library's.
    """

    name: str
    prepare: Callable[[TransitionDataset], Any]
    solve: Callable[[Any], Any]
    check: Callable[[Any, TransitionDataset], None]


def oracles() -> ModuleType:
    """The literal transcriptions that the tests use."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    try:
        return importlib.import_module("support.oracles")
    finally:
        sys.path.pop(0)


def function_of(data: TransitionDataset) -> tuple[np.ndarray, np.ndarray]:
    """(n,) p of every source and (n, A) position of its successor among the sources, -1 where there is none."""
    sources, first, place = np.unique(data.source, return_index=True, return_inverse=True)
    successor = np.full((len(sources), int(data.action.max()) + 1), -1)
    to = np.minimum(np.searchsorted(sources, data.successor), len(sources) - 1)
    successor[place, data.action] = np.where(sources[to] == data.successor, to, -1)
    return data.auxiliary[first].astype(np.int64), successor


def levels_of(data: TransitionDataset) -> np.ndarray:
    """(n, n) levels of all pairs of sources, by the library."""
    relation = empirical_bisimulation(data)
    return relation.level(relation.sources[:, None], relation.sources)


def literal_peer() -> Peer:
    """Definition 4 word for word: sets of pairs, the operator applied until nothing is added."""
    literal_levels = oracles().literal_levels

    def check(answer: dict[tuple[int, int], int], data: TransitionDataset) -> None:
        levels = levels_of(data)
        x, y = levels.nonzero()
        sources = np.unique(data.source)
        pairs = zip(sources[x].tolist(), sources[y].tolist(), strict=True)
        assert dict(zip(pairs, levels[x, y].tolist(), strict=True)) == answer

    return Peer("literal set of pairs", lambda data: data, literal_levels, check)


def search_peer() -> Peer:
    """Breadth-first search in the graph of pairs x < y, from those that differ in p, against the transitions."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    def prepare(data: TransitionDataset) -> Any:
        p, successor = function_of(data)
        n = len(p)
        x, y = (each.astype(np.int32) for each in np.triu_indices(n, 1))
        differ = p[x] != p[y]
        heads, tails = [x[differ] * n + y[differ]], [np.full(int(differ.sum()), n * n, np.int32)]
        for to in successor.T.astype(np.int32):
            u, v = to[x], to[y]
            edge = (u >= 0) & (v >= 0) & (u != v)
            tails.append(np.minimum(u[edge], v[edge]) * n + np.maximum(u[edge], v[edge]))
            heads.append(x[edge] * n + y[edge])
        tail, head = np.concatenate(tails), np.concatenate(heads)
        return coo_array((np.ones(len(tail)), (tail, head)), shape=(n * n + 1, n * n + 1)).tocsr(), n

    def solve(prepared: Any) -> np.ndarray:
        graph, n = prepared
        order, before = breadth_first_order(graph, n * n)
        place = np.empty(n * n + 1, np.int64)
        place[order] = np.arange(len(order))
        parent = place[before[order[1:]]]  # in the order of the search, so sorted: a level ends where its children do
        ends, level = [0, 1], np.zeros(n * n + 1, np.int32)
        while ends[-1] < len(order):
            ends.append(1 + int(np.searchsorted(parent, ends[-1])))
            level[order[ends[-2] : ends[-1]]] = len(ends) - 2
        square = level[:-1].reshape(n, n)
        return square + square.T

    def check(answer: np.ndarray, data: TransitionDataset) -> None:
        assert (answer == levels_of(data)).all()

    return Peer("SciPy, search on pairs", prepare, solve, check)


def datalog_peer() -> Peer:
    """The least model of Definition 4's two rules: R_D* without levels."""
    import clingo

    rules = "r(X,Y) :- p(X,V), p(Y,W), V != W. r(X,Y) :- r(U,W), f(X,A,U), f(Y,A,W)."

    def prepare(data: TransitionDataset) -> str:
        p, successor = function_of(data)
        facts = [f"p({x},{value})." for x, value in enumerate(p.tolist())]
        facts += [f"f({x},{a},{successor[x, a]})." for x, a in np.argwhere(successor >= 0).tolist()]
        return "".join(facts) + rules

    def solve(program: str) -> Any:
        control = clingo.Control(["--warn=none"])
        control.add("base", [], program)
        control.ground([("base", [])])
        return control

    def check(control: Any, data: TransitionDataset) -> None:
        related = levels_of(data) != 0
        atoms = [atom.symbol.arguments for atom in control.symbolic_atoms.by_signature("r", 2)]
        x, y = np.array([[each.number for each in pair] for pair in atoms]).T
        assert len(x) == np.count_nonzero(related)
        assert related[x, y].all()

    return Peer("clingo, two rules", prepare, solve, check)


def paige_tarjan_peer() -> Peer:
    """Paige and Tarjan's partition; a node (x, a) on the way from x to f(x, a), the actions told apart at first."""
    import networkx
    from bispy import paige_tarjan

    def prepare(data: TransitionDataset) -> Any:
        p, successor = function_of(data)
        n, actions = successor.shape
        between = n + np.arange(n * actions)
        graph = networkx.DiGraph()
        graph.add_nodes_from(range(n + n * actions))
        graph.add_edges_from(zip(np.repeat(np.arange(n), actions).tolist(), between.tolist(), strict=True))
        graph.add_edges_from(zip(between.tolist(), successor.ravel().tolist(), strict=True))
        blocks = [np.flatnonzero(p == value).tolist() for value in np.unique(p)]
        return graph, blocks + [between[action::actions].tolist() for action in range(actions)], n

    def solve(prepared: Any) -> Any:
        graph, blocks, n = prepared
        return paige_tarjan(graph, blocks, is_integer_graph=True), n

    def check(answer: Any, data: TransitionDataset) -> None:
        blocks, n = answer
        ours = quotient(data)
        mine = [block for block in blocks if block[0] < n]
        assert len(mine) == ours.max() + 1
        assert all((ours[list(block)] == ours[block[0]]).all() for block in mine)

    return Peer("BisPy, Paige-Tarjan", prepare, solve, check)


def storm_peer() -> Peer:
    """Minimisation of a decision process whose choices are certain, with matching choices at equal positions."""
    from stormpy import datastructures, models, transformations

    def prepare(data: TransitionDataset) -> Any:
        p, successor = function_of(data)
        n, actions = successor.shape
        rows = n * actions
        builder = datastructures.SparseMatrixBuilder[float](rows, n, rows, True, True, n)
        begins = list(range(0, rows, actions))
        builder.add_next_values(list(range(rows)), successor.ravel().tolist(), [1.0] * rows, begins)
        labels = models.StateLabeling(n)
        for value in np.unique(p).tolist():
            labels.add_label(f"p{value}")
            labels.set_states(f"p{value}", datastructures.BitVector(n, np.flatnonzero(p == value).tolist()))
        labels.add_label("init")  # required; it does not split a class
        labels.set_states("init", datastructures.BitVector(n, [0]))
        parts = models.SparseModelComponents[float](transition_matrix=builder.build(), state_labeling=labels)
        return models.SparseMdp[float](parts)

    def solve(model: Any) -> Any:
        options = transformations.BisimulationOptions()
        options.action_sensitive = True
        options.state_label_preservation = transformations.StateLabelPreservation.ALL
        return transformations.perform_bisimulation(model, [], options=options)

    def check(small: Any, data: TransitionDataset) -> None:
        # It does not say which state is in which class: compare the numbers of classes, for each p.
        p, _ = function_of(data)
        ours = quotient(data)
        assert small.nr_states == ours.max() + 1
        for value in np.unique(p).tolist():
            assert small.labeling.get_states(f"p{value}").get_number_of_set_bits() == len(np.unique(ours[p == value]))

    return Peer("stormpy, minimisation", prepare, solve, check)


def quotient(data: TransitionDataset) -> np.ndarray:
    """(n,) classes of the sources by refinement: under full coverage, those of B_D*."""
    graph = observed_graph(data)
    return refine_in_memory(graph)


def with_counts(data: TransitionDataset) -> list[int]:
    """The library's relation and its pairs per level."""
    return empirical_bisimulation(data).distinguished_pairs_per_level


def seconds(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Time a call; its result."""
    gc.collect()  # what others left behind is not this one's to clear
    started = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - started, result


def peer_turn(peer: Peer, ours: Callable[[TransitionDataset], Any], data: TransitionDataset) -> Figures:
    """One turn of the library and a peer."""
    mine, _ = seconds(ours, data)
    prepare, prepared = seconds(peer.prepare, data)
    solve, _ = seconds(peer.solve, prepared)
    return {"ours": mine, "prepare": prepare, "solve": solve}


def peers(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the peers, each on the largest input that it does in reasonable time; nothing was asked for."""
    makers = {literal_peer: sizes.literal, search_peer: sizes.search, datalog_peer: sizes.datalog}
    plan = [
        (maker, with_counts, f"trajectories, {HELD}", functools.partial(trajectories, 4, size))
        for maker, size in makers.items()
    ]
    plan += [
        (maker, with_counts, "2 actions, coverage 0.8", functools.partial(partial, size))
        for maker, size in makers.items()
    ]
    for maker, several in ((paige_tarjan_peer, sizes.paige_tarjan), (storm_peer, sizes.storm)):
        for name, share in (("tenfold", 10), ("mostly different", 1)):
            plan += [
                (maker, quotient, f"full coverage, {name}", functools.partial(total, size, size // share))
                for size in several
            ]
    cases, missing = {}, []
    for maker, ours, name, make in plan:
        try:
            peer = maker()
        except ImportError as error:
            missing.append((maker, name, error.name))
            continue
        data = make()
        key = peer.name, name, len(np.unique(data.source))
        peer.check(peer.solve(peer.prepare(data)), data)
        cases[key] = functools.partial(peer_turn, peer, ours, data)
    table(
        "peer", "input", "sources", "its input, s", "its answer, s", "library, s", "answer / library", "both / library"
    )
    for (peer_name, name, size), figures in medians(rounds, cases).items():
        both = figures["prepare"] + figures["solve"]
        times = figures["prepare"], figures["solve"], figures["ours"]
        row(peer_name, name, size, *times, figures["solve"] / figures["ours"], both / figures["ours"])
    for maker, name, module in missing:
        row(maker.__name__.removesuffix("_peer"), name, f"not installed: {module}", *"-----")
    return []


PARTS = {
    "growth": ("Trajectories: one observed action a source", growth),
    "general": ("Two actions a source, coverage 0.8, random successors and p", general),
    "distances": ("The smallest distance over R_D*", smallest),
    "peers": ("Peers", peers),
}


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: that everything runs")
    parser.add_argument("--rounds", type=int, help="turns that medians are of (3, quick 1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which tables (all)")
    arguments = parser.parse_args()
    sizes, rounds = (QUICK, 1) if arguments.quick else (Sizes(), 3)
    rounds = arguments.rounds or rounds
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores; medians of {rounds}.")
    asked = []
    for name, (title, part) in PARTS.items():
        if name in arguments.parts:
            print(f"\n## {title}", flush=True)
            asked += part(rounds, sizes)
    if asked:
        print("\n## Asked for and found")
        table("asked for", "found")
    for each in asked:
        row(*each)


if __name__ == "__main__":
    main()
