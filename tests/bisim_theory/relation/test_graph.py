"""The graph of observed transitions: one graph whatever the order of the rows, in little memory."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from bisim_theory import TransitionDataset, empirical_bisimulation
from bisim_theory.relation.graph import SingleEdges, observed_graph
from support.oracles import partly_known_dataset, random_dataset

TRANSITIONS = 200_000


def of_rows(data, rows):
    """The transitions of some rows."""
    columns = {name: getattr(data, name)[rows] for name in ("source", "action", "successor")}
    return dataclasses.replace(data, **columns, auxiliary=None if data.auxiliary is None else data.auxiliary[rows])


def by_source(data):
    """One row of each source, in the order of the sources."""
    return of_rows(data, np.unique(data.source, return_index=True)[1])


@pytest.mark.parametrize("unknown", [None, 0.0, 0.4])
def test_the_order_of_rows_changes_no_edge(unknown):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        data = (
            random_dataset(rng, frames=9, actions=3, one_action=True)
            if unknown is None
            else partly_known_dataset(rng, unknown, frames=9, actions=3, one_action=True)
        )
        data = by_source(data)
        one, other = observed_graph(data), observed_graph(of_rows(data, np.roll(np.arange(len(data)), 1)))
        assert isinstance(one.edges, SingleEdges)
        assert one.edges.single
        for name in ("observations", "is_source", "auxiliary", "actions"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()
        listed, expected = one.edges.listed, other.edges.listed
        for name in ("source", "action", "successor"):
            assert getattr(listed, name).tolist() == getattr(expected, name).tolist()
        assert sorted(one.edges.successor.tolist()) == sorted(expected.successor.tolist())
        for vertices in (np.arange(listed.vertices), rng.permutation(listed.vertices)[:3]):
            found, wanted = one.edges.of_vertices(vertices), expected.of_vertices(vertices)
            assert [each.tolist() for each in found] == [each.tolist() for each in wanted]


def test_the_graph_leaves_the_rows_as_they_are():
    rng = np.random.default_rng(0)
    data = by_source(random_dataset(rng, frames=9, actions=3, one_action=True))
    before = [getattr(data, name).copy() for name in ("source", "action", "successor")]
    empirical_bisimulation(data)
    for name, array in zip(("source", "action", "successor"), before, strict=True):
        assert getattr(data, name).tolist() == array.tolist()


def test_the_relation_of_trajectories_takes_at_most_forty_bytes_a_transition():
    episode = 16
    count = (
        np.random.default_rng(0).integers(2, size=(TRANSITIONS // episode, episode + 1)).cumsum(1, dtype=np.int32) % 3
    )
    name = np.arange(count.size, dtype=np.int32).reshape(count.shape)
    rows = [each.reshape(-1) for each in (name[:, :-1], np.zeros_like(name[:, 1:]), name[:, 1:], count[:, :-1] == 1)]
    data = TransitionDataset(*rows)
    empirical_bisimulation(TransitionDataset([0, 1], [0, 0], [1, 1], [0, 1]))  # imports what is needed
    tracemalloc.start()
    try:
        relation = empirical_bisimulation(data)
        assert relation.distinguished_pairs > 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / len(data) <= 40
