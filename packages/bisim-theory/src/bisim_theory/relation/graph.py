"""The graph of sources, their p and their observed transitions, and its quotient by behaviour."""

import functools
from dataclasses import dataclass

import numpy as np

from bisim_theory.data.folding import NoWellTrainedModelError, auxiliary_codes, find_conflicts
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset


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
    """Sources, their p, and the transitions from source to source: the input of Definition 4.

    A transition whose successor is never a source is left out: for R_D* it is as if the action had not been observed.

    Attributes:
        data: the transitions.
        representative: (F,) id of the observation that each was folded into; its own where nothing was folded.
        sources: (n,) ids of the observations that act as sources, sorted.
        vertex_of: (n,) vertex of each; sources that were folded into one share a vertex.
        auxiliary: (V,) code of p per vertex.
        actions: (A,) the action codes that occur in the data, sorted.
        edges: transitions between vertices.
    """

    data: TransitionDataset
    representative: Ids
    sources: Ids
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
        DatasetError: an observation has several successors under one action.
        NoWellTrainedModelError: an observation has several values of p.
    """
    named_source, named_successor = data.source, data.successor
    if representative is not None:
        named_source, named_successor = representative[data.source], representative[data.successor]
    names, first_row, vertex_of_row = np.unique(named_source, return_index=True, return_inverse=True)
    codes = auxiliary_codes(data)
    _require_function(data, codes, vertex_of_row, codes[first_row])

    actions, action_of_row = np.unique(data.action, return_inverse=True)
    order = np.lexsort((named_successor, action_of_row, vertex_of_row))
    source, action, successor = vertex_of_row[order], action_of_row[order], named_successor[order]
    same = (source[1:] == source[:-1]) & (action[1:] == action[:-1])
    if (same & (successor[1:] != successor[:-1])).any():
        raise DatasetError(f"successor: transitions are not deterministic (conflicts: {find_conflicts(data)})")
    place = np.minimum(np.searchsorted(names, successor), len(names) - 1)
    kept = np.concatenate([[True], ~same]) & (names[place] == successor)
    sources = names if representative is None else np.unique(data.source)
    return ObservedGraph(
        data=data,
        representative=np.arange(data.frames) if representative is None else representative,
        sources=sources,
        vertex_of=np.arange(len(names)) if representative is None else np.searchsorted(names, representative[sources]),
        auxiliary=codes[first_row],
        actions=actions,
        edges=Edges(len(names), source[kept], action[kept], place[kept]),
    )


def _require_function(data: TransitionDataset, codes: Ids, vertex_of_row: Ids, auxiliary: Ids) -> None:
    wrong = np.flatnonzero(codes != auxiliary[vertex_of_row])
    if len(wrong):
        row = int(wrong[0])
        same = (vertex_of_row == vertex_of_row[row]) & (codes == auxiliary[vertex_of_row[row]])
        other = int(np.flatnonzero(same)[0])
        pair = (int(data.source[other]), int(data.source[row]))
        raise NoWellTrainedModelError(pair, (data.p[other].tolist(), data.p[row].tolist()), [])


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Sources grouped into classes of identical observed behaviour.

    Two sources share a class iff they have equal p, the same actions whose successors are sources, and successors of
    one class under each of them. All sources of a class then have equal rows of levels in R_D*.

    Attributes:
        data: the transitions.
        representative: (F,) id of the observation that each was folded into; its own where nothing was folded.
        sources: (n,) ids of the observations that act as sources, sorted.
        class_of: (n,) class of each, 0..C-1.
        auxiliary: (C,) code of p per class.
        actions: (A,) the action codes that occur, sorted.
        edges: transitions between the C classes.
    """

    data: TransitionDataset
    representative: Ids
    sources: Ids
    class_of: Ids
    auxiliary: Ids
    actions: Ids
    edges: Edges

    @property
    def classes(self) -> int:
        """Number of different observed behaviours, C."""
        return len(self.auxiliary)

    @functools.cached_property
    def sizes(self) -> Ids:
        """(C,) number of sources in each class."""
        return np.bincount(self.class_of, minlength=self.classes)

    @functools.cached_property
    def order(self) -> Ids:
        """(n,) positions of the sources, sorted by class."""
        return np.argsort(self.class_of, kind="stable")

    @functools.cached_property
    def ends(self) -> Ids:
        """(C,) position in `order` behind the last source of each class."""
        return np.cumsum(self.sizes)

    def members(self, of_class: int) -> Ids:
        """Return the ids of the sources of a class."""
        end = int(self.ends[of_class])
        return self.sources[self.order[end - int(self.sizes[of_class]) : end]]
