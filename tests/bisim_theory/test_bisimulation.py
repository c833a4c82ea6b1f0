import itertools

import numpy as np
import pytest
from bisim_theory import DatasetError, NoWellTrainedModelError, TransitionDataset, empirical_bisimulation
from oracles import literal_levels, random_dataset

INSTANCES = [
    {"frames": 7, "actions": 2},
    {"frames": 6, "actions": 3, "coverage": 0.4},
    {"frames": 9, "actions": 1, "coverage": 0.9, "values": 3},
    {"frames": 5, "actions": 2, "coverage": 1.0},
    {"frames": 6, "actions": 2, "vector": 2, "coverage": 0.8},
]


def instances(number):
    for kind, arguments in enumerate(INSTANCES):
        for seed in range(number):
            yield random_dataset(np.random.default_rng([kind, seed]), **arguments)


def test_levels_equal_the_literal_definition():
    deep = 0
    for data in instances(400):
        expected, relation = literal_levels(data), empirical_bisimulation(data)
        x, y = relation.sources[:, None], relation.sources[None, :]
        levels = relation.level(x, y)
        for i, j in itertools.product(range(len(relation.sources)), repeat=2):
            pair = (int(relation.sources[i]), int(relation.sources[j]))
            assert levels[i, j] == expected.get(pair, 0), pair
        per_level = np.bincount(list(expected.values()), minlength=1)[1:] // 2
        assert relation.distinguished_pairs_per_level == per_level.tolist()
        n = len(relation.sources)
        assert relation.bisimilar_pairs == n * (n - 1) // 2 - per_level.sum()
        deep = max(deep, len(per_level))
    assert deep >= 5  # the instances are worth something


def test_a_long_corridor_has_as_many_levels_as_cells(monkeypatch):
    for limit in (4_000_000, 50):  # the frontier as a list, and looked up in the table
        monkeypatch.setattr("bisim_theory.bisimulation.FRONTIER", limit)
        n = 300
        cells = np.arange(n)
        data = TransitionDataset(cells, cells * 0, np.minimum(cells + 1, n - 1), cells == n - 1)
        relation = empirical_bisimulation(data)
        assert relation.distinguished_pairs_per_level == list(range(n - 1, 0, -1))
        assert relation.level(0, 1) == n - 1


def test_witnesses_are_shortest_and_replay():
    for data in instances(60):
        relation = empirical_bisimulation(data)
        f = {(x, a): y for x, a, y in zip(data.source, data.action, data.successor, strict=True)}
        p = {x: np.asarray(v).tolist() for x, v in zip(data.source.tolist(), data.auxiliary, strict=True)}
        for x, y in itertools.combinations(relation.sources.tolist(), 2):
            witness = relation.witness(x, y)
            level = int(relation.level(x, y))
            if level == 0:
                assert witness is None
                continue
            assert witness is not None
            assert len(witness) == level - 1
            for action in witness:
                assert p[x] == p[y]
                x, y = int(f[x, action]), int(f[y, action])
            assert p[x] != p[y]


def test_more_rows_never_shrink_the_relation():
    for data in instances(60):
        rng = np.random.default_rng(len(data))
        some = np.sort(rng.permutation(len(data))[: max(1, len(data) // 2)])
        part = TransitionDataset(data.source[some], data.action[some], data.successor[some], data.auxiliary[some])
        assert literal_levels(part).keys() <= literal_levels(data).keys()
        small, large = empirical_bisimulation(part), empirical_bisimulation(data)
        for x, y in itertools.combinations(small.sources.tolist(), 2):
            if small.level(x, y):
                assert 0 < large.level(x, y) <= small.level(x, y)


def test_transitivity_is_judged_rightly_and_its_example_is_one():
    verdicts = set()
    for data in instances(120):
        relation = empirical_bisimulation(data)
        bisimilar = relation.level(relation.sources[:, None], relation.sources) == 0
        transitive = not ((bisimilar.astype(int) @ bisimilar > 0) & ~bisimilar).any()
        verdicts.add(transitive)
        assert (relation.intransitive_triple is None) == transitive
        if transitive:
            classes = relation.classes
            assert (bisimilar == (classes[:, None] == classes)).all()
            assert relation.bisimulation_classes == len(np.unique(classes))
        else:
            x, y, z = relation.intransitive_triple
            assert (relation.level(x, y), relation.level(y, z)) == (0, 0)
            assert relation.level(x, z) > 0
            assert relation.classes is None
            assert relation.bisimulation_classes is None
    assert verdicts == {True, False}


def test_full_coverage_is_always_an_equivalence():
    for seed in range(50):
        data = random_dataset(np.random.default_rng(seed), coverage=1.0)
        assert empirical_bisimulation(data).bisimulation_classes is not None


def test_certified_share_counts_pairs():
    for data in instances(40):
        relation = empirical_bisimulation(data)
        labels = np.random.default_rng(0).integers(3, size=data.frames)
        pairs = list(itertools.combinations(relation.sources.tolist(), 2))
        apart = [(x, y) for x, y in pairs if labels[x] != labels[y]]
        share = relation.certified_share(labels)
        if not apart:
            assert share is None
            continue
        assert share == pytest.approx(np.mean([relation.level(x, y) > 0 for x, y in apart]))
        within = sum(relation.level(x, y) > 0 for x, y in pairs if labels[x] == labels[y])
        assert relation.distinguished_within_label(labels) == within


def test_sampled_pairs_are_all_of_a_level_or_lie_in_it():
    data = random_dataset(np.random.default_rng(3), frames=12, coverage=0.9)
    relation, expected = empirical_bisimulation(data), literal_levels(data)
    for level, count in enumerate(relation.distinguished_pairs_per_level, start=1):
        x, y, everything = relation.sample_pairs(level, 10_000, np.random.default_rng(0))
        pairs = {tuple(sorted(pair)) for pair in zip(x.tolist(), y.tolist(), strict=True)}
        assert everything
        assert len(pairs) == len(x) == count
        assert all(expected[pair] == level for pair in pairs)
        x, y, everything = relation.sample_pairs(level, 3, np.random.default_rng(0))
        assert everything == (count <= 3)
        assert (relation.level(x, y) == level).all()


def test_successors_that_are_never_sources_have_no_level():
    data = TransitionDataset(source=[0, 1], action=[0, 0], successor=[2, 3], auxiliary=[1, 1])
    relation = empirical_bisimulation(data)
    assert relation.level(0, 1) == 0
    with pytest.raises(DatasetError, match="observation 2 is never a source"):
        relation.level(0, 2)


def test_conflicts_are_refused_and_named():
    data = TransitionDataset(source=[5, 5, 5], action=[1, 1, 0], successor=[1, 2, 3], auxiliary=[0, 0, 0])
    with pytest.raises(DatasetError, match="observation 5 under action 1 alone has 2 successors"):
        empirical_bisimulation(data)


def test_two_values_of_p_for_one_source_leave_no_model():
    data = TransitionDataset(source=[0, 0], action=[0, 1], successor=[1, 1], auxiliary=[0.0, 0.5])
    with pytest.raises(NoWellTrainedModelError, match=r"observation 0 has two auxiliary values, 0\.0 and 0\.5"):
        empirical_bisimulation(data)


def test_negative_zero_is_zero():
    for auxiliary in ([0.0, -0.0], [[0.0, 1.0], [-0.0, 1.0]]):
        data = TransitionDataset(source=[0, 1], action=[0, 0], successor=[0, 1], auxiliary=auxiliary)
        assert empirical_bisimulation(data).level(0, 1) == 0
