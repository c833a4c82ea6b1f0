"""What a model does with the pairs that nothing distinguishes, beside a loop over all pairs."""

import itertools

import numpy as np
import pytest
from bisim_theory import Representation, Tolerance, TransitionDataset, check_theorem, empirical_bisimulation
from bisim_theory.relation.graph import observed_graph
from bisim_theory.relation.refinement import group, refine_in_memory
from bisim_theory.relation.sampled_levels import SampledRelation
from bisim_theory.theorem.unprotected import measure_unprotected
from bisim_theory.theorem.verdict import unprotected_notes
from support.oracles import literal_levels, random_dataset

MANY = 100_000


def by_loops(data, relation, embedding):
    """Number, median distance and separation of the pairs of B_D*, from the literal definition."""
    levels = literal_levels(data)
    kinds = {True: [], False: []}
    for x, y in itertools.combinations(relation.sources.tolist(), 2):
        kinds[(x, y) in levels].append(float(np.linalg.norm(embedding[x] - embedding[y])))
    wins = [(far > near) + (far == near) / 2 for far in kinds[True] for near in kinds[False]]
    return len(kinds[False]), np.median(kinds[False]), np.median(kinds[True]), np.mean(wins)


def test_pairs_distances_and_separation_are_those_of_the_literal_definition():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        data = random_dataset(rng, frames=14, coverage=0.8)
        relation, embedding = empirical_bisimulation(data), rng.integers(3, size=(14, 2)).astype(float)
        found = measure_unprotected(relation, embedding, MANY)
        if found is None:
            assert min(relation.distinguished_pairs, relation.bisimilar_pairs) < 10
            continue
        assert not found.sampled
        expected = by_loops(data, relation, embedding)
        np.testing.assert_allclose(
            (found.pairs, found.median_distance, found.protected_distance, found.separation), expected
        )


@pytest.fixture(scope="module")
def larger():
    data = random_dataset(np.random.default_rng(3), frames=150, coverage=0.9)
    return empirical_bisimulation(data)


def test_merged_pairs_have_separation_one_and_pairs_that_are_all_kept_a_half():
    """Twenty corridors of five places, of which nothing tells the same place apart."""
    place = np.arange(100) // 20
    data = TransitionDataset(
        source=np.flatnonzero(place < 4), action=np.zeros(80, int), successor=np.flatnonzero(place > 0),
        observation_auxiliary=(place == 4).astype(float), observation_auxiliary_known=np.ones(100, bool),
    )  # fmt: skip
    relation, rng = empirical_bisimulation(data), np.random.default_rng(0)
    merged = measure_unprotected(relation, place[:, None] * np.ones((1, 3)), MANY)
    assert (merged.pairs, merged.median_distance, merged.separation) == (5 * 190, 0, 1)
    copies = measure_unprotected(relation, rng.normal(size=(100, 32)), MANY)
    assert abs(copies.separation - 0.5) < 0.05
    assert abs(copies.median_distance / copies.protected_distance - 1) < 0.05


def test_a_sample_estimates_what_all_pairs_have(larger):
    embedding = np.random.default_rng(0).normal(size=(larger.data.frames, 3)) + larger.data.frames
    whole, part = (measure_unprotected(larger, embedding, most) for most in (MANY, 3_000))
    assert (whole.sampled, part.sampled) == (False, True)
    assert part.pairs == whole.pairs
    assert abs(part.separation - whole.separation) < 0.03
    assert abs(part.median_distance / whole.median_distance - 1) < 0.05


def test_a_relation_that_is_itself_a_sample_is_compared_on_its_pairs(larger):
    graph = observed_graph(larger.data)
    sampled = SampledRelation.of(group(graph, refine_in_memory(graph)))
    embedding = np.random.default_rng(0).normal(size=(larger.data.frames, 3))
    whole, part = (measure_unprotected(each, embedding, MANY) for each in (larger, sampled))
    assert part.sampled
    assert abs(part.separation - whole.separation) < 0.03


def test_it_is_measured_with_a_check_and_said_in_words(larger):
    embedding = np.random.default_rng(0).normal(size=(larger.data.frames, 3))
    data = larger.data
    model = Representation(embedding, embedding[data.successor], data.auxiliary.astype(float))
    found = check_theorem(larger, model).unprotected
    assert found == measure_unprotected(larger, embedding, Tolerance().sample)
    assert check_theorem(larger, model, witnesses=False).unprotected is None
    first, second = unprotected_notes(found)
    assert f"{found.pairs:,} pairs" in first
    assert f"{found.separation:.5f}" in second
