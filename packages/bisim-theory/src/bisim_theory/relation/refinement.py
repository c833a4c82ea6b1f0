"""Moore's refinement of an observed graph into classes of identical behaviour."""

from collections.abc import Callable

import numpy as np

from bisim_theory.data.transitions import Ids
from bisim_theory.relation.graph import Behaviour, Edges, ObservedGraph, ranges

Refine = Callable[[ObservedGraph], Ids]
"""Computes (V,) the class 0..C-1 of every vertex: two share one iff their observed behaviour is the same."""


def group(graph: ObservedGraph, class_of_vertex: Ids) -> Behaviour:
    """Build the quotient of a graph by classes 0..C-1 of vertices with equal behaviour."""
    first = np.unique(class_of_vertex, return_index=True)[1]
    edges = graph.edges
    rows = ranges(edges.start[first], edges.degree[first])
    return Behaviour(
        data=graph.data,
        representative=graph.representative,
        observations=graph.observations,
        is_source=graph.is_source,
        class_of=class_of_vertex[graph.vertex_of],
        auxiliary=graph.auxiliary[first],
        actions=graph.actions,
        edges=Edges(
            len(first),
            np.repeat(np.arange(len(first)), edges.degree[first]),
            edges.action[rows],
            class_of_vertex[edges.successor[rows]],
        ),
    )


def refine_in_memory(graph: ObservedGraph) -> Ids:
    """Compute (V,) the class 0..C-1 of every vertex: split by p, then by where edges lead, until nothing changes.

    After the first round only vertices with a successor that has left its class are processed again.
    """
    edges = graph.edges
    classes = np.unique(graph.auxiliary, return_inverse=True)[1].reshape(-1)
    number = int(classes.max()) + 1
    size = np.zeros(edges.vertices, np.int64)
    size[:number] = np.bincount(classes)
    dirty = np.flatnonzero(edges.degree)
    while len(dirty):
        signature = _signatures(classes, dirty, edges)
        first = np.unique(signature, return_index=True)[1]
        split, of_group = np.unique(classes[dirty[first]], return_inverse=True)
        group_size = np.bincount(signature)
        # Clean vertices keep the class; where a class has none, its largest group keeps it.
        all_dirty = np.bincount(of_group, group_size) == size[split]
        by_size = np.lexsort((-group_size, of_group))
        largest = np.zeros(len(first), bool)
        largest[by_size[np.unique(of_group[by_size], return_index=True)[1]]] = True
        leaves = ~(largest & all_dirty[of_group])
        renamed = np.where(leaves, number + np.cumsum(leaves) - 1, split[of_group])
        np.subtract.at(size, split[of_group[leaves]], group_size[leaves])
        size[renamed[leaves]] = group_size[leaves]
        number += int(leaves.sum())
        classes[dirty] = renamed[signature]
        dirty = edges.predecessors(dirty[leaves[signature]])
    return np.unique(classes, return_inverse=True)[1].reshape(-1)


def _signatures(classes: Ids, vertices: Ids, edges: Edges) -> Ids:
    """Compute (len(vertices),) codes 0, 1, ... of class, actions of the edges, and classes that they lead to."""
    signature = np.unique(classes[vertices], return_inverse=True)[1].reshape(-1)
    number = edges.vertices
    degree = edges.degree[vertices]
    for step in range(int(degree.max(initial=0))):
        has = degree > step
        edge = edges.start[vertices[has]] + step
        code = np.zeros(len(vertices), np.int64)
        code[has] = np.unique(edges.action[edge] * number + classes[edges.successor[edge]], return_inverse=True)[1] + 1
        signature = np.unique(signature * (int(code.max()) + 1) + code, return_inverse=True)[1].reshape(-1)
    return signature
