"""Computation of B_D* and R_D* (Definition 4) by the algorithm that suits the data."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bisim_theory._aliases import former_parameters
from bisim_theory.data.numbering import first_positions, increases
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.relation.graph import UNKNOWN, Behaviour, ObservedGraph, observed_graph
from bisim_theory.relation.level_table import table_relation
from bisim_theory.relation.refinement import Refine, group, refine_in_memory
from bisim_theory.relation.sampled_levels import SampledRelation
from bisim_theory.relation.trajectories import trajectory_relation
from bisim_theory.relation.unknown_initial import only_initial_unknown, unknown_initial_relation

MOST_CLASSES = 30_000
"""Classes of behaviour up to which the table of all their pairs is built, one byte a pair."""


@former_parameters("data", "stands_for", "progress", renamed={"stands_for": "representative"})
def empirical_bisimulation(
    data: TransitionDataset,
    representative: Ids | None = None,
    progress: ProgressCallback = silent,
    *,
    refine: Refine = refine_in_memory,
) -> Relation:
    """Compute R_D* and B_D* for any coverage of actions (Definition 4).

    Trajectories, in which no source has two observed actions, take O(n log n) and have no limit, if p is known wherever
    a transition leads. Other data is first reduced to its classes of identical observed behaviour. Up to `MOST_CLASSES`
    classes the relation is exact. Beyond that the level of any given pair is exact, numbers of pairs are estimates from
    a uniform sample, and `Relation.exact` is False.

    Args:
        data: transitions.
        representative: (F,) from `bisim_theory.fold`, for transitions that are not deterministic as they are.
        progress: called in each round with the number of classes done.
        refine: computes the classes of identical behaviour; not called for trajectories.

    Returns:
        The relation over the sources and leaves of `data`.

    Raises:
        DatasetError: transitions are not deterministic, or the dataset has no auxiliary.
        NoWellTrainedModelError: an observation has several values of p.
    """
    return relation_of_graph(observed_graph(data, representative), refine, progress)


def relation_of_graph(
    graph: ObservedGraph,
    refine: Refine,
    progress: ProgressCallback = silent,
    weigh: Callable[[Behaviour], Behaviour] = lambda behaviour: behaviour,
    sample: Callable[[Behaviour], Relation] = SampledRelation.of,
) -> Relation:
    """Compute R_D* and B_D* of a graph; see `empirical_bisimulation`.

    Args:
        graph: observations, their p and their transitions.
        refine: computes the classes of identical behaviour; not called for trajectories.
        progress: called in each round with the number of classes done.
        weigh: adds to the classes what a graph of one observation a class lacks, the number of their observations.
        sample: estimates the relation where there are more than `MOST_CLASSES` classes.
    """
    if graph.edges.single:
        if (graph.auxiliary != UNKNOWN).all():
            trajectories = trajectory_relation(graph)
            return replace(trajectories, behaviour=weigh(trajectories.behaviour))
        if only_initial_unknown(graph):
            unknown = unknown_initial_relation(graph)
            return replace(unknown, behaviour=weigh(unknown.behaviour))
    behaviour = weigh(group(graph, by_first_observation(refine(graph), graph)))
    return table_relation(behaviour, progress) if behaviour.classes <= MOST_CLASSES else sample(behaviour)


def by_first_observation(class_of_vertex: Ids, graph: ObservedGraph) -> Ids:
    """Return (V,) classes numbered by the first of their observations, so that all backends break ties alike.

    Args:
        class_of_vertex: (V,) class 0..C-1 of every vertex.
        graph: the observations of each vertex, of which there is at least one.
    """
    folded = graph.folded_vertex_of
    classes = class_of_vertex if folded is None else class_of_vertex[folded]
    first = first_positions(classes, int(class_of_vertex.max()) + 1)
    if increases(first):
        return class_of_vertex
    place = np.empty(len(first), class_of_vertex.dtype)
    place[np.argsort(first)] = np.arange(len(first))
    return place[class_of_vertex]
