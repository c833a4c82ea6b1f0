"""Measure other programs that compute R_D* or the coarsest partition, on the same inputs, with equal answers."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from bisim_theory import TransitionDataset, empirical_bisimulation
from bisim_theory.relation.graph import observed_graph
from bisim_theory.relation.refinement import refine_in_memory

from benchmarks.relation.inputs import HELD, Sizes, partial, total, trajectories
from benchmarks.relation.measuring import Figures, medians, row, seconds, table


class Peer(NamedTuple):
    """Describe a program that computes the same answer.

    Attributes:
        name: of the program.
        prepare: returns its input for a dataset.
        solve: returns its answer for its input.
        check: asserts that the answer equals the library's.
    """

    name: str
    prepare: Callable[[TransitionDataset], Any]
    solve: Callable[[Any], Any]
    check: Callable[[Any, TransitionDataset], None]


def oracles() -> ModuleType:
    """Load the literal transcriptions that the tests use; the tests are not a package."""
    path = Path(__file__).parents[2] / "tests" / "support" / "oracles.py"
    specification = importlib.util.spec_from_file_location("oracles", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def function_of(data: TransitionDataset) -> tuple[np.ndarray, np.ndarray]:
    """Return p (n,) of each source and the position (n, A) of its successor among the sources, -1 for none."""
    sources, first, place = np.unique(data.source, return_index=True, return_inverse=True)
    successor = np.full((len(sources), int(data.action.max()) + 1), -1)
    to = np.minimum(np.searchsorted(sources, data.successor), len(sources) - 1)
    successor[place, data.action] = np.where(sources[to] == data.successor, to, -1)
    return data.auxiliary[first].astype(np.int64), successor


def levels_of(data: TransitionDataset) -> np.ndarray:
    """Return the levels (n, n) of all pairs of sources, by the library."""
    relation = empirical_bisimulation(data)
    return relation.level(relation.sources[:, None], relation.sources)


def literal_peer() -> Peer:
    """Transcribe Definition 4: sets of pairs, the operator applied until nothing is added."""
    literal_levels = oracles().literal_levels

    def check(answer: dict[tuple[int, int], int], data: TransitionDataset) -> None:
        levels = levels_of(data)
        x, y = levels.nonzero()
        sources = np.unique(data.source)
        pairs = zip(sources[x].tolist(), sources[y].tolist(), strict=True)
        assert dict(zip(pairs, levels[x, y].tolist(), strict=True)) == answer

    return Peer("literal set of pairs", lambda data: data, literal_levels, check)


def search_peer() -> Peer:
    """Search breadth first in the graph of pairs x < y, from those that differ in p, against the transitions."""
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
    """Compute the least model of Definition 4's two rules: R_D* without levels."""
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
    """Refine Paige and Tarjan's partition, with a node (x, a) between x and f(x, a) and a first block per action."""
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
    """Minimise a deterministic Markov decision process whose choices match by position."""
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
    """Return the classes (n,) of the sources by refinement; under full coverage those of B_D*."""
    graph = observed_graph(data)
    return refine_in_memory(graph)


def with_counts(data: TransitionDataset) -> list[int]:
    """Compute the library's relation and return its pairs per level."""
    return empirical_bisimulation(data).distinguished_pairs_per_level


def peer_turn(peer: Peer, ours: Callable[[TransitionDataset], Any], data: TransitionDataset) -> Figures:
    """Time the library and a peer once each."""
    mine, _ = seconds(ours, data)
    prepare, prepared = seconds(peer.prepare, data)
    solve, _ = seconds(peer.solve, prepared)
    return {"ours": mine, "prepare": prepare, "solve": solve}


def peers(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the table of peers, each on the largest input that it solves in reasonable time; no requirements."""
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
