"""The graph of observations, their p and their observed transitions, and its quotient by behaviour."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import auxiliary_codes, stored_values
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import find_conflicts
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset

UNKNOWN = -1
"""Code of an unknown p. It matches every value: Definition 4's first round needs two known ones."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Labelled transitions between V vertices, no two of them with one source and one action.

    Attributes:
        vertices: V.
        source, action, successor: (E,) vertex, code of the action 0..A-1, and vertex; sorted by source, then action.
    """

    vertices: int
    source: Ids
    action: Ids
    successor: Ids

    @functools.cached_property
    def degree(self) -> Ids:
        """(V,) number of edges that start at each vertex."""
        return np.bincount(self.source, minlength=self.vertices)

    @functools.cached_property
    def start(self) -> Ids:
        """(V,) position of the first edge of each vertex."""
        return np.cumsum(self.degree) - self.degree

    @functools.cached_property
    def by_successor(self) -> tuple[Ids, Ids, Ids]:
        """Edges sorted by successor; per vertex the position of the first edge to it, and the number of those."""
        order = np.argsort(self.successor, kind="stable")
        counts = np.bincount(self.successor, minlength=self.vertices)
        return order, np.cumsum(counts) - counts, counts

    def of(self, vertex: int) -> tuple[Ids, Ids]:
        """Return the actions (sorted) and successors of one vertex."""
        rows = slice(int(self.start[vertex]), int(self.start[vertex] + self.degree[vertex]))
        return self.action[rows], self.successor[rows]

    def predecessors(self, vertices: Ids) -> Ids:
        """Return the vertices, once each, that have an edge to any of `vertices`, which are all different."""
        order, start, counts = self.by_successor
        return np.unique(self.source[order[ranges(start[vertices], counts[vertices])]])


def ranges(start: Ids, length: Ids) -> Ids:
    """Concatenate integer ranges: start[0], start[0] + 1, ..., start[1], start[1] + 1, ..."""
    ends = np.cumsum(length)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(start - ends + length, length)


@dataclass(frozen=True, eq=False)
class ObservedGraph:
    """Observations of which the data says something, their p, and the transitions between them: Definition 4's input.

    These are the sources, and the leaves: observations that are reached, never acted from, and of known p. Of any other
    observation that is reached nothing is known. A transition to one is left out: for R_D* it is as if the action had
    not been observed.

    Attributes:
        data: the transitions.
        representative: (F,) id of the observation that each was folded into; its own where nothing was folded.
        observations: (n,) ids of sources and leaves, sorted.
        is_source: (n,) whether each is a source.
        vertex_of: (n,) vertex of each; observations that were folded into one share a vertex.
        auxiliary: (V,) code of p per vertex, `UNKNOWN` where it is not known.
        actions: (A,) the action codes that occur in the data, sorted.
        edges: transitions between vertices.
    """

    data: TransitionDataset
    representative: Ids
    observations: Ids
    is_source: NDArray[np.bool_]
    vertex_of: Ids
    auxiliary: Ids
    actions: Ids
    edges: Edges


def observed_graph(data: TransitionDataset, representative: Ids | None = None) -> ObservedGraph:
    """Build the graph of a dataset.

    Args:
        data: transitions, deterministic once observations are replaced by their representatives.
        representative: (F,) from `bisim_theory.fold`; None folds nothing.

    Raises:
        DatasetError: an observation has several successors under one action, or the dataset has no auxiliary.
        NoWellTrainedModelError: an observation has several values of p.
    """
    names = np.arange(data.frames) if representative is None else representative
    codes = auxiliary_codes(data)
    is_source, observed = np.zeros(data.frames, bool), codes >= 0
    is_source[data.source] = True
    observed |= is_source
    observations = np.flatnonzero(observed)
    vertices, vertex_of = np.unique(names[observations], return_inverse=True)
    vertex = np.full(data.frames, -1)
    vertex[vertices] = np.arange(len(vertices))
    vertex = vertex[names]  # of a frame that was folded into an observation, too
    actions, action_of_row = np.unique(data.action, return_inverse=True)
    return ObservedGraph(
        data=data,
        representative=names,
        observations=observations,
        is_source=is_source[observations],
        vertex_of=vertex_of,
        auxiliary=_codes_of_vertices(data, codes, observations, vertex_of, len(vertices)),
        actions=actions,
        edges=_edges(data, vertex, names[data.successor], action_of_row, len(vertices)),
    )


def _edges(data: TransitionDataset, vertex: Ids, successor_name: Ids, action: Ids, vertices: int) -> Edges:
    """Build the edges between vertices; `vertex` (F,) is -1 of observations that are no vertex."""
    order = np.lexsort((successor_name, action, vertex[data.source]))
    source, action, name = vertex[data.source][order], action[order], successor_name[order]
    same = (source[1:] == source[:-1]) & (action[1:] == action[:-1])
    if (same & (name[1:] != name[:-1])).any():
        raise DatasetError(f"successor: transitions are not deterministic (conflicts: {find_conflicts(data)})")
    successor = vertex[name]
    kept = np.concatenate([[True], ~same]) & (successor >= 0)
    return Edges(vertices, source[kept], action[kept], successor[kept])


def _codes_of_vertices(data: TransitionDataset, codes: Ids, observations: Ids, vertex_of: Ids, vertices: int) -> Ids:
    """Return (V,) the code of p of each vertex: that of any of its observations of which p is known."""
    found, stated_by = np.full(vertices, UNKNOWN), np.zeros(vertices, np.int64)
    known = codes[observations] >= 0
    ids, at = observations[known], vertex_of[known]
    found[at], stated_by[at] = codes[ids], ids
    wrong = np.flatnonzero(found[at] != codes[ids])
    if len(wrong):
        pair = (int(stated_by[at[wrong[0]]]), int(ids[wrong[0]]))
        value = stored_values(data).value
        raise NoWellTrainedModelError(pair, (value[pair[0]].tolist(), value[pair[1]].tolist()), [])
    return found


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Observations grouped into classes of identical observed behaviour.

    Two observations share a class iff they have equal p (or both an unknown one), the same actions whose successors are
    sources or leaves, and successors of one class under each of them. All observations of a class then have equal rows
    of levels in R_D*.

    Attributes:
        data: the transitions.
        representative: (F,) id of the observation that each was folded into; its own where nothing was folded.
        observations: (n,) ids of sources and leaves, sorted.
        is_source: (n,) whether each is a source.
        class_of: (n,) class of each, 0..C-1.
        auxiliary: (C,) code of p per class, `UNKNOWN` where it is not known.
        actions: (A,) the action codes that occur, sorted.
        edges: transitions between the C classes.
    """

    data: TransitionDataset
    representative: Ids
    observations: Ids
    is_source: NDArray[np.bool_]
    class_of: Ids
    auxiliary: Ids
    actions: Ids
    edges: Edges

    @property
    def classes(self) -> int:
        """Number of different observed behaviours, C."""
        return len(self.auxiliary)

    @functools.cached_property
    def sources(self) -> Ids:
        """Ids of the observations that are sources, sorted."""
        return self.observations[self.is_source]

    @functools.cached_property
    def sizes(self) -> Ids:
        """(C,) number of observations in each class."""
        return np.bincount(self.class_of, minlength=self.classes)

    @functools.cached_property
    def order(self) -> Ids:
        """(n,) positions of the observations, sorted by class."""
        return np.argsort(self.class_of, kind="stable")

    @functools.cached_property
    def ends(self) -> Ids:
        """(C,) position in `order` behind the last observation of each class."""
        return np.cumsum(self.sizes)

    def members(self, of_class: int) -> Ids:
        """Return the ids of the observations of a class."""
        end = int(self.ends[of_class])
        return self.observations[self.order[end - int(self.sizes[of_class]) : end]]
