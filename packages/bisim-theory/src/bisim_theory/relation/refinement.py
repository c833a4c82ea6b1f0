"""Moore's refinement of an observed graph into classes of identical behaviour."""

from collections.abc import Callable

import numpy as np

from bisim_theory.data.numbering import blocks, first_positions, id_type, ids, number, pair_key, positions
from bisim_theory.data.transitions import Ids
from bisim_theory.relation.graph import Behaviour, Edges, ObservedGraph

Refine = Callable[[ObservedGraph], Ids]
"""Computes (V,) the class 0..C-1 of every vertex: two share one iff their observed behaviour is the same."""

SCANS = 16
"""Rounds in which predecessors are found by a scan of all edges, before the edges are sorted by successor."""

_MOST = 2**62
"""Bound of the integers in which several columns are packed."""


def group(graph: ObservedGraph, class_of_vertex: Ids) -> Behaviour:
    """Build the quotient of a graph by classes 0..C-1 of vertices with equal behaviour."""
    number_of_classes = int(class_of_vertex.max()) + 1
    first = first_positions(class_of_vertex, number_of_classes)
    degree, action, successor = graph.edges.of_vertices(first)
    return Behaviour(
        data=graph.data,
        representative=graph.representative,
        observations=graph.observations,
        is_source=graph.is_source,
        class_of=class_of_vertex if graph.folded_vertex_of is None else class_of_vertex[graph.folded_vertex_of],
        auxiliary=graph.auxiliary[first].astype(id_type(number_of_classes)),
        actions=graph.actions,
        edges=Edges(
            number_of_classes,
            np.repeat(ids(number_of_classes), degree),
            action,
            class_of_vertex[successor],
        ),
    )


def refine_in_memory(graph: ObservedGraph) -> Ids:
    """Compute (V,) the class of every vertex: split by p, then by where edges lead, until nothing changes.

    After the first round only vertices with a successor that has left its class are processed again, and of the parts
    of a class the largest keeps the name. So a vertex is processed O(log V) times for each of its edges. Classes are
    numbered in the order of their first vertices.
    """
    partition = _Partition(graph)
    dirty = positions(graph.edges.listed.degree > 0)
    while len(dirty):
        dirty = partition.predecessors(partition.split(dirty))
    return number(partition.classes, partition.number)[0]


class _Partition:
    """Classes of vertices, which are split.

    Attributes:
        classes: (V,) class of each vertex.
        number: of classes.
        size: (V,) number of vertices in each class; 0 beyond `number`.
    """

    def __init__(self, graph: ObservedGraph) -> None:
        self.edges, self._actions = graph.edges.listed, len(graph.actions)
        self.classes, first = number(
            np.add(graph.auxiliary, 1, dtype=id_type(graph.edges.vertices)), int(graph.auxiliary.max()) + 2
        )
        self.number = len(first)
        self.size = np.zeros(self.edges.vertices, self.classes.dtype)
        self.size[: self.number] = np.bincount(self.classes)
        self._scans = SCANS

    def split(self, dirty: Ids) -> Ids:
        """Split the classes of some vertices by where edges lead, and return the vertices that got another class.

        All vertices of a class that are not `dirty` have equal behaviour, unlike that of any dirty one.
        """
        of_vertex = self.classes[dirty]
        divisible = self.size[of_vertex] > 1
        if not divisible.all():
            dirty, of_vertex = dirty[divisible], of_vertex[divisible]
        if not len(dirty):
            return dirty
        signature, first = self._signatures(dirty, of_vertex)
        old, sizes = of_vertex[first], np.bincount(signature)
        # Clean vertices keep the class; where a class has none, its largest part keeps it.
        class_of_part, first_part = number(old, self.number)
        dirty_size = np.bincount(class_of_part, sizes).astype(np.int64)
        by_size = np.lexsort((-sizes, class_of_part)) if len(first_part) < len(first) else np.arange(len(first))
        largest = by_size[np.searchsorted(class_of_part[by_size], np.arange(len(first_part)))]
        stays = largest[dirty_size == self.size[old[first_part]]]
        leaves = np.ones(len(first), bool)
        leaves[stays] = False
        renamed = np.where(leaves, self.number + np.cumsum(leaves) - 1, old).astype(self.classes.dtype)
        np.subtract.at(self.size, old[leaves], sizes[leaves].astype(self.size.dtype))
        self.size[renamed[leaves]] = sizes[leaves]
        self.number += int(leaves.sum())
        has_left = leaves[signature]
        moved = dirty[has_left]
        self.classes[moved] = renamed[signature[has_left]]
        return moved

    def _signatures(self, vertices: Ids, of_vertex: Ids) -> tuple[Ids, Ids]:
        """Number the different combinations of class, actions of the edges, and classes that they lead to.

        Returns:
            The number of each of `vertices`, and the position of the first one of each number.
        """
        key, below = of_vertex.astype(np.int64), self.number
        width = (self._actions * self.number) + 1
        for step in range(int(self.edges.degree[vertices].max())):
            if below * width > _MOST:
                code, first = number(key, below)
                key, below = code.astype(np.int64), len(first)
            for block in blocks(len(vertices)):
                key[block] *= width
                self._add_edges(key[block], vertices[block], step)
            below *= width
        return number(key, below)

    def _add_edges(self, key: Ids, vertices: Ids, step: int) -> None:
        """Add one more than the code of action and class behind each vertex's edge number `step`, if it has that."""
        edges = self.edges
        has = np.flatnonzero(edges.degree[vertices] > step)
        edge = edges.start[vertices[has]] + step
        key[has] += pair_key(edges.action[edge], self.classes[edges.successor[edge]], self.number) + 1

    def predecessors(self, moved: Ids) -> Ids:
        """Return the vertices with an edge to any of `moved`.

        A scan of all edges is cheaper than to sort them by successor; many scans are not.
        """
        edges = self.edges
        if not len(moved) or (self._scans == 0 and 8 * len(moved) < edges.vertices):
            return edges.predecessors(moved)
        self._scans = max(self._scans - 1, 0)
        has_moved, found = np.zeros(edges.vertices, bool), np.zeros(edges.vertices, bool)
        has_moved[moved] = True
        found[edges.source[has_moved[edges.successor]]] = True
        return positions(found)
