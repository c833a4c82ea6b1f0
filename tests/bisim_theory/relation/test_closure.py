import itertools

import numpy as np
import pytest
from bisim_theory import DatasetError, NoWellTrainedModelError, TransitionDataset, cannot_collapse, fold
from bisim_theory import empirical_bisimulation as bisimulation
from bisim_theory.relation.closure import Closure
from support.oracles import literal_folding, random_dataset


def test_the_closure_relation_equals_merging_and_following_by_hand():
    for seed in range(120):
        data = random_dataset(np.random.default_rng(seed), frames=6, actions=3, coverage=0.5)
        x, y = np.triu_indices(data.frames, 1)
        found = cannot_collapse(data, x, y)
        expected = [literal_folding(data, [pair]) is None for pair in zip(x.tolist(), y.tolist(), strict=True)]
        assert found.tolist() == expected


def test_it_contains_the_relation_and_exceeds_it_only_under_partial_coverage_of_several_actions():
    larger = 0
    for kind, arguments in enumerate([{}, {"one_action": True}, {"coverage": 1.0}]):
        for seed in range(150):
            data = random_dataset(np.random.default_rng([kind, seed]), frames=6, **arguments)
            relation = bisimulation(data)
            sources = relation.sources
            distinguished = relation.level(sources[:, None], sources) > 0
            forbidden = cannot_collapse(data, sources[:, None], sources)
            assert (forbidden >= distinguished).all()
            exceeds = bool((forbidden & ~distinguished).any())
            assert not (exceeds and arguments)
            larger += exceeds
    assert larger > 0


def test_the_smallest_example_in_which_it_exceeds_the_relation():
    rows = [(0, "a", 2), (0, "b", 2), (1, "b", 1), (2, "a", 3), (2, "b", 0), (3, "a", 3), (3, "b", 0)]
    source, action, successor = zip(*[(x, "ab".index(a), y) for x, a, y in rows], strict=True)
    data = TransitionDataset(source, action, successor, np.array([0, 0, 0, 1])[list(source)])
    assert bisimulation(data).level(0, 1) == 0
    assert cannot_collapse(data, 0, 1)
    with pytest.raises(NoWellTrainedModelError) as caught:
        fold(data, [(0, 1)])
    assert len(caught.value.chain) > 0  # and this is why


def test_looking_at_a_pair_leaves_nothing_behind():
    for seed in range(40):
        data = random_dataset(np.random.default_rng(seed), frames=8, actions=3)
        closure = Closure.of(data)
        pairs = list(itertools.combinations(range(8), 2))
        pairs = [pair for pair in pairs if max(pair) < data.frames]
        first = [closure.forbids(x, y) for x, y in pairs]
        assert [closure.forbids(x, y) for x, y in pairs[::-1]] == first[::-1]
        assert [closure.find(x) for x in range(data.frames)] == list(range(data.frames))
        if False in first:
            x, y = pairs[first.index(False)]
            assert closure.merge(x, y)
            groups = literal_folding(data, [(x, y)])
            assert {frozenset(g) for g in groups} == {
                frozenset(i for i in range(data.frames) if closure.find(i) == root)
                for root in {closure.find(i) for i in range(data.frames)}
            }


def test_an_id_out_of_range_is_refused():
    data = TransitionDataset([0], [0], [1], [0])
    with pytest.raises(DatasetError, match="there are 2 observations"):
        cannot_collapse(data, 0, 2)
    with pytest.raises(DatasetError, match="observation -1: there are 2 observations"):
        cannot_collapse(data, -1, 0)
