"""Computation of B_D* and R_D* (Definition 4) by the algorithm that suits the data."""

from bisim_theory._aliases import former_parameters
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.relation.graph import UNKNOWN, observed_graph
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
    graph = observed_graph(data, representative)
    if graph.edges.single:
        if (graph.auxiliary != UNKNOWN).all():
            return trajectory_relation(graph)
        if only_initial_unknown(graph):
            return unknown_initial_relation(graph)
    behaviour = group(graph, refine(graph))
    return table_relation(behaviour, progress) if behaviour.classes <= MOST_CLASSES else SampledRelation.of(behaviour)
