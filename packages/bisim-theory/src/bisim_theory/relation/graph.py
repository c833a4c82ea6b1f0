"""The graph of observations, their p and their observed transitions, and its quotient by behaviour."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.auxiliary import auxiliary_codes, stored_values
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import find_conflicts
from bisim_theory.data.numbering import (
    blocks,
    compress,
    count,
    distinct,
    first_positions,
    id_type,
    ids,
    increases,
    number,
    order_of,
    pair_key,
    positions,
)
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset

UNKNOWN = -1
"""Code of an unknown p. It matches every value: Definition 4's first round needs two known ones."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Labelled transitions between V vertices, no two of them with one source and one action.

    Integers are of the shortest type that holds them; products of them overflow.

    Attributes:
        vertices: V.
        source, action, successor: (E,) vertex, code of the action 0..A-1, and vertex; sorted by source, then action.
    """

    vertices: int
    source: Ids
    action: Ids
    successor: Ids

    @property
    def single(self) -> bool:
        """Return whether no vertex has two edges."""
        return increases(self.source)

    @property
    def listed(self) -> "Edges":
        """The edges as a list, which they are."""
        return self

    def of_vertices(self, vertices: Ids) -> tuple[Ids, Ids, Ids]:
        """Return how many edges some vertices have, and actions and successors, those of each vertex together."""
        begin = np.searchsorted(self.source, vertices)
        degree = np.searchsorted(self.source, vertices, side="right") - begin
        rows = ranges(begin, degree)
        return degree, self.action[rows], self.successor[rows]

    @functools.cached_property
    def degree(self) -> Ids:
        """(V,) number of edges that start at each vertex."""
        return count(self.source, self.vertices).astype(id_type(len(self.source)))

    @functools.cached_property
    def start(self) -> Ids:
        """(V,) position of the first edge of each vertex."""
        return np.cumsum(self.degree, dtype=self.degree.dtype) - self.degree

    @functools.cached_property
    def by_successor(self) -> tuple[Ids, Ids, Ids]:
        """Edges sorted by successor; per vertex the position of the first edge to it, and the number of those."""
        counts = count(self.successor, self.vertices).astype(id_type(len(self.source)))
        return order_of(self.successor, self.vertices), np.cumsum(counts, dtype=counts.dtype) - counts, counts

    def of(self, vertex: int) -> tuple[Ids, Ids]:
        """Return the actions (sorted) and successors of one vertex."""
        rows = slice(int(self.start[vertex]), int(self.start[vertex]) + int(self.degree[vertex]))
        return self.action[rows], self.successor[rows]

    def predecessors(self, vertices: Ids) -> Ids:
        """Return the vertices, once each, that have an edge to any of `vertices`, which are all different."""
        order, start, counts = self.by_successor
        found = self.source[order[ranges(start[vertices], counts[vertices])]]
        return found[number(found, self.vertices)[1]]


@dataclass(frozen=True, eq=False)
class SingleEdges:
    """Labelled transitions between vertices, at most one from each, which take less memory by vertex than as a list.

    Attributes:
        action_of: (V,) code of the action 0..A-1 of the edge from each vertex, -1 without one.
        successor_of: (V,) vertex to which it leads, -1 without one.
    """

    action_of: Ids
    successor_of: Ids

    @classmethod
    def of(cls, edges: Edges) -> "SingleEdges":
        """Take the edges of a list in which no vertex has two."""
        action: Ids = np.full(edges.vertices, -1, edges.action.dtype)
        successor: Ids = np.full(edges.vertices, -1, id_type(edges.vertices))
        action[edges.source], successor[edges.source] = edges.action, edges.successor
        return cls(action, successor)

    @property
    def vertices(self) -> int:
        """V."""
        return len(self.successor_of)

    @property
    def single(self) -> bool:
        """Return True: no vertex has two edges."""
        return True

    @property
    def successor(self) -> Ids:
        """(E,) the vertices to which edges lead."""
        return self.successor_of[self.successor_of >= 0]

    @functools.cached_property
    def listed(self) -> Edges:
        """The edges as a list."""
        source = positions(self.successor_of >= 0)
        return Edges(self.vertices, source, self.action_of[source], self.successor_of[source])

    def of_vertices(self, vertices: Ids) -> tuple[Ids, Ids, Ids]:
        """Return how many edges some vertices have, and actions and successors, those of each vertex together."""
        successor = self.successor_of[vertices]
        has = successor >= 0
        return has.astype(np.int64), self.action_of[vertices][has], successor[has]


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
        representative: (F,) id of the observation that each was folded into; None where nothing was folded.
        observations: (n,) ids of sources and leaves, sorted.
        is_source: (n,) whether each is a source.
        folded_vertex_of: (n,) vertex of each, which observations that were folded into one share; None where each is
            a vertex, in their order.
        auxiliary: (V,) code of p per vertex, `UNKNOWN` where it is not known.
        actions: (A,) the action codes that occur in the data, sorted.
        edges: transitions between vertices.
    """

    data: TransitionDataset
    representative: Ids | None
    observations: Ids
    is_source: NDArray[np.bool_]
    folded_vertex_of: Ids | None
    auxiliary: Ids
    actions: Ids
    edges: Edges | SingleEdges

    @property
    def vertex_of(self) -> Ids:
        """(n,) vertex of each observation."""
        return ids(len(self.observations)) if self.folded_vertex_of is None else self.folded_vertex_of


def observed_graph(data: TransitionDataset, representative: Ids | None = None) -> ObservedGraph:
    """Build the graph of a dataset.

    Args:
        data: transitions, deterministic once observations are replaced by their representatives.
        representative: (F,) from `bisim_theory.fold`; None folds nothing.

    Raises:
        DatasetError: an observation has several successors under one action, or the dataset has no auxiliary.
        NoWellTrainedModelError: an observation has several values of p.
    """
    codes = auxiliary_codes(data)
    is_source, observed = np.zeros(data.frames, bool), codes >= 0
    is_source[data.source] = True
    observed |= is_source
    everything = bool(observed.all())
    observations = _observations(data, observed)
    actions, action_of_row = distinct(data.action)
    vertices = _Vertices.of(data.frames, observations, representative)
    return ObservedGraph(
        data=data,
        representative=representative,
        observations=observations,
        is_source=is_source if everything else is_source[observations],
        folded_vertex_of=vertices.of_observation,
        auxiliary=_codes_of_vertices(data, codes, observations, vertices),
        actions=actions,
        edges=_edges(data, vertices, action_of_row, len(actions)),
    )


def _observations(data: TransitionDataset, observed: NDArray[np.bool_]) -> Ids:
    """Return the ids at which a mask is True; where they are those of the sources in their order, without a copy."""
    number = np.count_nonzero(observed)
    if number == data.frames:
        return ids(data.frames)
    if number == len(data) and increases(data.source):
        return data.source.astype(id_type(data.frames), copy=False)
    return positions(observed)


@dataclass(frozen=True, eq=False)
class _Vertices:
    """Which vertex each observation is.

    Attributes:
        number: V.
        representative: (F,) id of the observation that each was folded into; None where nothing was folded.
        of_observation: (n,) vertex of each source and leaf; None where it is its position.
        of_frame: (F,) vertex of every observation, -1 of those that are none; None where each is its own.
    """

    number: int
    representative: Ids | None
    of_observation: Ids | None
    of_frame: Ids | None

    @classmethod
    def of(cls, frames: int, observations: Ids, representative: Ids | None) -> "_Vertices":
        if representative is None and len(observations) == frames:
            return cls(frames, None, None, None)
        of_frame = np.full(frames, -1, id_type(frames))
        if representative is None:
            of_frame[observations] = ids(len(observations))
            return cls(len(observations), None, None, of_frame)
        vertices, of_observation = np.unique(representative[observations], return_inverse=True)
        of_frame[vertices] = ids(len(vertices))
        of_frame = of_frame[representative]  # of a frame that was folded into an observation, too
        return cls(len(vertices), representative, of_observation.astype(of_frame.dtype), of_frame)

    def at(self, frames: Ids) -> Ids:
        """Return the vertices of ids of observations."""
        return frames.astype(id_type(self.number), copy=False) if self.of_frame is None else self.of_frame[frames]

    def names(self, frames: Ids) -> Ids:
        """Return the ids that observations were folded into."""
        return frames if self.representative is None else self.representative[frames]


def _single_edges(data: TransitionDataset, vertices: _Vertices, action: Ids) -> SingleEdges:
    """Build the edges of transitions of which each has a source of its own, in their order; `action` may change."""
    if vertices.number == len(data):
        of_action, of_successor = action, vertices.at(data.successor)
    else:
        of_action = np.full(vertices.number, -1, action.dtype)
        of_successor = np.full(vertices.number, -1, id_type(vertices.number))
        for block in blocks(len(data)):
            at = vertices.at(data.source[block])
            of_action[at], of_successor[at] = action[block], vertices.at(data.successor[block])
    for block in blocks(vertices.number):
        of_action[block][of_successor[block] < 0] = -1
    return SingleEdges(of_action, of_successor)


def _edges(data: TransitionDataset, vertices: _Vertices, action: Ids, actions: int) -> Edges | SingleEdges:
    """Build the edges between vertices; `action` (N,) holds codes 0..`actions` - 1."""
    if vertices.representative is None and increases(data.source):
        return _single_edges(data, vertices, action)
    source, successor = vertices.at(data.source), vertices.at(data.successor)
    if increases(source, action):
        rows = None
    else:
        key = pair_key(source, action, actions)
        code, rows = number(key, vertices.number * actions)
        for block in blocks(len(code)):
            name = vertices.names(data.successor[block])
            if (vertices.names(data.successor[rows[code[block]]]) != name).any():
                raise DatasetError(f"successor: transitions are not deterministic (conflicts: {find_conflicts(data)})")
        del code
        rows = rows[np.argsort(key[rows], kind="stable")]
    if rows is not None:
        source, action, successor = source[rows], action[rows], successor[rows]
    if (successor < 0).any():  # so they were copied, and need not be again
        source, action, successor = compress(successor >= 0, source, action, successor)
    return Edges(vertices.number, source, action, successor)


def _codes_of_vertices(data: TransitionDataset, codes: Ids, observations: Ids, vertices: _Vertices) -> Ids:
    """Return (V,) the code of p of each vertex: that of any of its observations of which p is known."""
    if vertices.of_frame is None:
        return codes
    if vertices.of_observation is None:
        return codes[observations]
    found, stated_by = np.full(vertices.number, UNKNOWN, codes.dtype), np.zeros(vertices.number, np.int64)
    known = codes[observations] >= 0
    stating, at = observations[known], vertices.of_observation[known]
    found[at], stated_by[at] = codes[stating], stating
    wrong = np.flatnonzero(found[at] != codes[stating])
    if len(wrong):
        pair = (int(stated_by[at[wrong[0]]]), int(stating[wrong[0]]))
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
        representative: (F,) id of the observation that each was folded into; None where nothing was folded.
        observations: (n,) ids of sources and leaves, sorted.
        is_source: (n,) whether each is a source.
        class_of: (n,) class of each, 0..C-1.
        auxiliary: (C,) code of p per class, `UNKNOWN` where it is not known.
        actions: (A,) the action codes that occur, sorted.
        edges: transitions between the C classes.
    """

    data: TransitionDataset
    representative: Ids | None
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
        return count(self.class_of, self.classes)

    @functools.cached_property
    def first(self) -> Ids:
        """(C,) id of the first observation of each class, all of which have one."""
        return self.observations[first_positions(self.class_of, self.classes)]

    @functools.cached_property
    def order(self) -> Ids:
        """(n,) positions of the observations, sorted by class."""
        return order_of(self.class_of, self.classes)

    @functools.cached_property
    def ends(self) -> Ids:
        """(C,) position in `order` behind the last observation of each class."""
        return np.cumsum(self.sizes)

    @property
    def class_of_frames(self) -> Ids:
        """(F,) class of every observation in the data, also of one that was folded into another; -1 without one."""
        found = np.full(self.data.frames, -1)
        if self.representative is None:
            found[self.observations] = self.class_of
            return found
        found[self.representative[self.observations]] = self.class_of
        return found[self.representative]

    def members(self, of_class: int) -> Ids:
        """Return the ids of the observations of a class."""
        end = int(self.ends[of_class])
        return self.observations[self.order[end - int(self.sizes[of_class]) : end]]
