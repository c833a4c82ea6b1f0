import itertools

import numpy as np
import pytest
from bisim_theory import (
    NoWellTrainedModelError,
    TransitionDataset,
    embeddings_needed,
    empirical_bisimulation,
    find_conflicts,
    fold,
    identify_by_content,
)
from support.oracles import literal_folding, literal_levels, random_dataset


def noisy_dataset(seed):
    """Draw transitions in which some (observation, action) have several successors."""
    rng = np.random.default_rng(seed)
    data = random_dataset(rng, frames=9, actions=2, coverage=0.5)
    again = rng.integers(len(data), size=2)
    p_of = dict(zip(data.source.tolist(), data.auxiliary.tolist(), strict=True))
    return TransitionDataset(
        np.concatenate([data.source, data.source[again]]),
        np.concatenate([data.action, data.action[again]]),
        np.concatenate([data.successor, rng.integers(9, size=2)]),
        np.array([p_of[x] for x in [*data.source.tolist(), *data.source[again].tolist()]]),
    )


def check_chain(data, error):
    """Check that every merge of the proof is of two successors of one action, from sources that are equal by then."""
    rows = set(zip(data.source.tolist(), data.action.tolist(), data.successor.tolist(), strict=True))
    parent = list(range(data.frames))

    def find(x):
        while parent[x] != x:
            x = parent[x]
        return x

    for merge in error.chain:
        assert (merge.first_source, merge.action, merge.first) in rows
        assert (merge.second_source, merge.action, merge.second) in rows
        assert find(merge.first_source) == find(merge.second_source)
        parent[find(merge.first)] = find(merge.second)
    x, y = error.pair
    assert find(x) == find(y)
    assert error.values[0] != error.values[1]


def test_folding_equals_the_literal_closure_and_proves_its_refusals():
    outcomes = set()
    for seed in range(400):
        data = noisy_dataset(seed)
        expected = literal_folding(data)
        outcomes.add(expected is None)
        if expected is None:
            with pytest.raises(NoWellTrainedModelError) as caught:
                fold(data)
            check_chain(data, caught.value)
        else:
            found = fold(data)
            groups = {frozenset(np.flatnonzero(found == name).tolist()) for name in found}
            assert groups == {frozenset(group) for group in expected}
    assert outcomes == {True, False}


def test_relation_of_folded_data_is_the_relation_of_the_merged_observations():
    for seed in range(100):
        data = noisy_dataset(seed)
        try:
            names = fold(data)
        except NoWellTrainedModelError:
            continue
        merged = TransitionDataset(names[data.source], data.action, names[data.successor], data.auxiliary)
        expected, relation = literal_levels(merged), empirical_bisimulation(data, names)
        assert relation.sources.tolist() == sorted(set(data.source.tolist()))
        for x, y in itertools.product(relation.sources.tolist(), repeat=2):
            assert relation.level(x, y) == expected.get((int(names[x]), int(names[y])), 0)


def test_black_image_conflicts_by_content_and_not_by_occurrence():
    images = np.zeros((5, 8, 8, 3), np.uint8)
    images[2, 0, 0], images[3, 4, 4] = 9, 7  # 0, 1 and 4 are black; 2 and 3 are what follows
    data = TransitionDataset([0, 1], [1, 1], [2, 3], [0, 0], observation=images)
    assert len(find_conflicts(data)) == 0
    joined = identify_by_content(data)
    assert joined.source.tolist() == [0, 0]
    conflicts = find_conflicts(joined)
    assert (conflicts.observation.tolist(), conflicts.action.tolist(), conflicts.successors.tolist()) == ([0], [1], [2])
    assert len(set(fold(joined)[[2, 3]])) == 1


def fewest_embeddings(data):
    """Find the fewest embeddings of sources by trying all partitions that are closed under the transitions."""
    sources = sorted(set(data.source.tolist()))
    best = len(sources)

    def partitions(items):
        if not items:
            yield []
            return
        for rest in partitions(items[1:]):
            yield [[items[0]], *rest]
            for i in range(len(rest)):
                yield [*rest[:i], [items[0], *rest[i]], *rest[i + 1 :]]

    for partition in partitions(sources):
        if len(partition) < best:
            groups = literal_folding(data, [(block[0], x) for block in partition for x in block[1:]])
            if groups is not None:
                best = min(best, sum(any(x in group for x in sources) for group in groups))
    return best


def test_embeddings_needed_never_exceeds_the_minimum_and_is_exact_when_it_says_so():
    said = set()
    for seed in range(60):
        data = random_dataset(np.random.default_rng(seed), frames=5, coverage=[0.6, 1.0][seed % 2])
        needed, least = embeddings_needed(empirical_bisimulation(data)), fewest_embeddings(data)
        assert needed.at_least <= least
        if needed.exact:
            assert needed.at_least == least
        said.add(needed.exact)
    assert said == {True, False}


def test_the_chromatic_number_is_not_called_exact_where_it_is_not():
    # p = [1,0,1,1]; chromatic number 3, and four embeddings are needed.
    rows = [(0, 1, 2), (0, 2, 3), (1, 1, 1), (1, 2, 1), (2, 0, 2), (2, 1, 0), (2, 2, 1), (3, 0, 3), (3, 1, 3)]
    source, action, successor = np.array(rows).T
    data = TransitionDataset(source, action, successor, np.array([1, 0, 1, 1])[source])
    needed = embeddings_needed(empirical_bisimulation(data))
    assert (needed.at_least, needed.exact) == (3, False)
    assert fewest_embeddings(data) == 4
