"""Lower bounds on distances of embeddings from residuals and Lipschitz constants: Theorem 3 made quantitative."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.relation.graph import ObservedGraph, observed_graph

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lipschitz:
    """Positive Lipschitz constants of P and of T(., a), for every a, on a convex set that holds the embeddings."""

    dynamics: float
    auxiliary: float


def distance_bounds(
    data: TransitionDataset,
    x: Ids,
    y: Ids,
    transition_residual: Floats,
    auxiliary_residual: Floats,
    lipschitz: Lipschitz,
    depth: int = 64,
    *,
    leaf_residual: Floats | None = None,
) -> Floats:
    """Compute (m,) lower bounds b(x, y) <= ||E(x) - E(y)|| for pairs of sources and leaves.

    b(x, y) is the largest of 0, (|p(x) - p(y)| - e_p(x) - e_p(y)) / L_P and, over the actions a observed from both with
    successors that are sources or leaves, (b(f(x, a), f(y, a)) - e_d(x, a) - e_d(y, a)) / L_T, by the triangle
    inequality and induction on the length of the path. With zero residuals it is positive exactly on R_D*, which is
    Theorem 3.

    Args:
        data: transitions, deterministic without folding: residuals do not bound distances of folded observations.
        x, y: (m,) ids of sources or leaves.
        transition_residual: (N,) e_d per transition, of a T that depends on the code of the action alone.
        auxiliary_residual: (N,) e_p per transition, at its source; infinite where p is not predicted.
        lipschitz: constants of T and P.
        depth: longest path that is followed; bounds from shorter paths are valid too.
        leaf_residual: (F,) e_p of leaves, infinite where p is not predicted; None predicts it of none.

    Raises:
        DatasetError: transitions are not deterministic.
    """
    e_p = np.full(data.frames, np.inf) if leaf_residual is None else leaf_residual.copy()
    e_p[data.source] = 0
    np.maximum.at(e_p, data.source, auxiliary_residual)
    walk = _Walk(observed_graph(data), data, transition_residual, e_p, lipschitz)
    bounds = np.zeros(len(x))
    state = walk.begin(np.asarray(x), np.asarray(y))
    # A constant to the power of a long path may overflow, or be zero. Such a path is not followed: bounds stay valid.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(depth):
            np.maximum.at(bounds, state.query, (walk.margin(state) - state.cost) / state.scale)
            state = walk.step(state, bounds)
            if not len(state.query):
                break
    return bounds


@dataclass
class _State:
    """Pairs of vertices (u, v) reached from a query, whose bound is at least (b(u, v) - cost) / scale."""

    query: Ids
    u: Ids
    v: Ids
    cost: Floats
    scale: Floats


class _Walk:
    def __init__(
        self,
        graph: ObservedGraph,
        data: TransitionDataset,
        transition_residual: Floats,
        auxiliary_residual: Floats,
        lipschitz: Lipschitz,
    ) -> None:
        self.graph, self.lipschitz = graph, lipschitz
        self.vertex = np.full(data.frames, -1)
        self.vertex[graph.observations] = graph.vertex_of
        source = self.vertex[data.source]
        action = np.searchsorted(graph.actions, data.action)
        # Of the residuals at one vertex the largest is an upper bound for all; what is unknown gives no bound.
        values, of_vertex = stored_values(data), graph.observations
        self.e_p = np.zeros(graph.edges.vertices)
        np.maximum.at(self.e_p, graph.vertex_of, np.where(values.known, auxiliary_residual, np.inf)[of_vertex])
        self.successor = np.full((len(graph.actions), graph.edges.vertices), -1)
        edges = graph.edges.listed
        self.successor[edges.action, edges.source] = edges.successor
        self.e_d = np.zeros(self.successor.shape)
        np.maximum.at(self.e_d, (action, source), transition_residual)
        self.value = np.zeros((graph.edges.vertices, int(np.prod(values.value.shape[1:]))))
        self.value[graph.vertex_of] = values.value[of_vertex].reshape(len(of_vertex), -1)

    def begin(self, x: Ids, y: Ids) -> _State:
        return _State(np.arange(len(x)), self.vertex[x], self.vertex[y], np.zeros(len(x)), np.ones(len(x)))

    def margin(self, state: _State) -> Floats:
        """Compute the bound from p alone: (|p(u) - p(v)| - e_p(u) - e_p(v)) / L_P."""
        apart = np.sqrt(np.square(self.value[state.u] - self.value[state.v]).sum(1))
        return np.asarray((apart - self.e_p[state.u] - self.e_p[state.v]) / self.lipschitz.auxiliary)

    def step(self, state: _State, bounds: Floats) -> _State:
        """Follow every action, and keep the cheapest of several paths to one pair."""
        parts = []
        for successor, e_d in zip(self.successor, self.e_d, strict=True):
            u, v = successor[state.u], successor[state.v]
            cost = self.lipschitz.dynamics * state.cost + e_d[state.u] + e_d[state.v]
            parts.append((state.query, u, v, cost, state.scale * self.lipschitz.dynamics))
        query, u, v, cost, scale = (np.concatenate(column) for column in zip(*parts, strict=True))
        # No bound exceeds the largest difference of p over L_P, so a path that costs more cannot improve one.
        most = (self._reach - cost) / scale
        useful = (u >= 0) & (v >= 0) & (u != v) & (scale > 0) & (most > bounds[query])
        order = np.flatnonzero(useful)[np.lexsort((cost[useful], v[useful], u[useful], query[useful]))]
        key = np.stack([query[order], u[order], v[order]])
        first = np.concatenate([[True], (key[:, 1:] != key[:, :-1]).any(0)]) if len(order) else np.empty(0, bool)
        kept = order[first]
        return _State(query[kept], u[kept], v[kept], cost[kept], scale[kept])

    @property
    def _reach(self) -> float:
        spread = self.value.max(0) - self.value.min(0)
        return float(np.sqrt(np.square(spread).sum()) / self.lipschitz.auxiliary)
