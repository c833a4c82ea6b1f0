import itertools

import numpy as np
import pytest
from bisim_theory import DatasetError, NoWellTrainedModelError, TransitionDataset, empirical_bisimulation, fold
from bisim_theory.relation.graph import observed_graph
from bisim_theory.relation.level_table import table_relation
from bisim_theory.relation.refinement import group, refine_in_memory
from bisim_theory.relation.sampled_levels import SampledRelation
from bisim_theory.relation.trajectories import TrajectoryRelation
from support.oracles import breadth_first_levels, datalog_relation, literal_levels, random_dataset

INSTANCES = [
    {"frames": 7, "actions": 2},
    {"frames": 6, "actions": 3, "coverage": 0.4},
    {"frames": 9, "actions": 1, "coverage": 0.9, "values": 3},
    {"frames": 5, "actions": 2, "coverage": 1.0},
    {"frames": 6, "actions": 2, "vector": 2, "coverage": 0.8},
    {"frames": 10, "actions": 2, "one_action": True},
    {"frames": 12, "actions": 1, "coverage": 1.0},
    {"frames": 8, "actions": 5, "coverage": 0.3},
]


def instances(number):
    for kind, arguments in enumerate(INSTANCES):
        for seed in range(number):
            yield random_dataset(np.random.default_rng([kind, seed]), **arguments)


def by_table(data):
    graph = observed_graph(data)
    return table_relation(group(graph, refine_in_memory(graph)))


def by_walking(data):
    graph = observed_graph(data)
    return SampledRelation.of(group(graph, refine_in_memory(graph)))


def levels_of(relation):
    return relation.level(relation.sources[:, None], relation.sources)


@pytest.mark.slow
def test_levels_equal_the_literal_definition_and_two_oracles():
    deep, words = 0, 0
    for data in instances(300):
        expected, relation = literal_levels(data), empirical_bisimulation(data)
        assert breadth_first_levels(data) == expected
        assert datalog_relation(data) == expected.keys()
        sources = relation.sources.tolist()
        matrix = np.array([[expected.get((x, y), 0) for y in sources] for x in sources])
        assert (levels_of(relation) == matrix).all()
        per_level = np.bincount(matrix.ravel())[1:] // 2
        assert relation.distinguished_pairs_per_level == per_level.tolist()
        assert relation.bisimilar_pairs == len(sources) * (len(sources) - 1) // 2 - per_level.sum()
        deep, words = max(deep, len(per_level)), words + isinstance(relation, TrajectoryRelation)
    assert deep >= 6  # the instances are worth something
    assert words > 600


@pytest.mark.parametrize("push_cost", [0, 10**9], ids=["pull", "push"])
def test_every_algorithm_gives_the_same_answers(monkeypatch, push_cost):
    monkeypatch.setattr("bisim_theory.relation.level_table._PUSH_COST", push_cost)
    monkeypatch.setattr("bisim_theory.relation.sampled_levels.SAMPLED_PAIRS", 10)
    cliques = 0
    for data in instances(60):
        labels = np.random.default_rng(len(data)).integers(3, size=data.frames)
        chosen, table = empirical_bisimulation(data), by_table(data)
        assert chosen.behaviour.classes == table.behaviour.classes
        assert (levels_of(chosen) == levels_of(table)).all()
        assert chosen.distinguished_pairs_per_level == table.distinguished_pairs_per_level
        assert chosen.certified_share(labels) == table.certified_share(labels)
        assert chosen.distinguished_within_label(labels) == table.distinguished_within_label(labels)
        assert (chosen.intransitive_triple is None) == (table.intransitive_triple is None)
        if chosen.classes is not None:
            assert ((chosen.classes[:, None] == chosen.classes) == (table.classes[:, None] == table.classes)).all()
        everything = np.arange(chosen.behaviour.classes)
        for relation in (chosen, table):
            low, high = everything[:2], everything[1:]
            assert (relation.apart(low, high) == (relation.class_levels(low[:, None], high) != 0)).all()
        cliques += len(table.clique()) < len(chosen.clique())
        assert len(table.clique()) <= len(chosen.clique()) or not isinstance(chosen, TrajectoryRelation)
        if len(chosen.sources) > 1:
            assert (levels_of(by_walking(data)) == levels_of(table)).all()
    assert cliques < 5  # the greedy choice is nearly always a largest one


def test_a_clique_is_one_and_that_of_words_is_largest():
    for data in instances(60):
        relation = empirical_bisimulation(data)
        clique = relation.clique()
        apart = relation.apart(np.arange(relation.behaviour.classes), np.arange(relation.behaviour.classes))
        assert (apart[np.ix_(clique, clique)] | np.eye(len(clique), dtype=bool)).all()
        if isinstance(relation, TrajectoryRelation):
            assert not any(
                all(apart[i, j] for i, j in itertools.combinations(larger, 2))
                for larger in itertools.combinations(range(len(apart)), len(clique) + 1)
            )


@pytest.mark.parametrize("arguments", [{"frontier": 2_000_000}, {"frontier": 50}], ids=["list", "lookup"])
def test_a_long_corridor_has_as_many_levels_as_cells(monkeypatch, arguments):
    monkeypatch.setattr("bisim_theory.relation.level_table.FRONTIER", arguments["frontier"])
    n = 300
    cells = np.arange(n)
    data = TransitionDataset(cells, cells * 0, np.minimum(cells + 1, n - 1), cells == n - 1)
    for relation in (empirical_bisimulation(data), by_table(data)):
        assert relation.distinguished_pairs_per_level == list(range(n - 1, 0, -1))
        assert relation.level(0, 1) == n - 1  # more than a byte holds
        assert relation.witness(0, 1) == [0] * (n - 2)


def test_a_sample_estimates_what_the_table_counts(monkeypatch):
    data = random_dataset(np.random.default_rng(0), frames=60, actions=3, coverage=0.5, values=4)
    table, sampled = by_table(data), by_walking(data)
    assert not sampled.exact
    assert sampled.classes is None
    n = len(table.sources)
    for exact, estimate in zip(
        table.distinguished_pairs_per_level, sampled.distinguished_pairs_per_level, strict=False
    ):
        assert abs(exact - estimate) < 0.02 * n * n / 2
    labels = np.arange(data.frames) % 3
    assert sampled.certified_share(labels) == pytest.approx(table.certified_share(labels), abs=0.03)
    x, y, everything = sampled.sample_pairs(2, 10, np.random.default_rng(0))
    assert (table.level(x, y) == 2).all()
    assert not everything
    if sampled.intransitive_triple is not None:
        x, y, z = sampled.intransitive_triple
        assert (table.level(x, y), table.level(y, z)) == (0, 0)
        assert table.level(x, z) > 0


def test_the_size_of_the_data_chooses_the_algorithm(monkeypatch):
    data = random_dataset(np.random.default_rng(0), frames=30, actions=2)
    assert empirical_bisimulation(data).exact
    monkeypatch.setattr("bisim_theory.relation.compute.MOST_CLASSES", 5)
    assert not empirical_bisimulation(data).exact


def test_enumeration_gives_every_pair_of_the_relation_once(monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.base.PAIRS_AT_ONCE", 7)
    for data in instances(10):
        for relation in (empirical_bisimulation(data), by_table(data)):
            pairs = [
                tuple(sorted(pair)) for x, y in relation.pairs() for pair in zip(x.tolist(), y.tolist(), strict=True)
            ]
            assert len(pairs) == len(set(pairs)) == relation.distinguished_pairs
            assert set(pairs) == {pair for pair in literal_levels(data) if pair[0] < pair[1]}


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


def test_a_relation_knows_what_it_is_of():
    for data in instances(1):
        for relation in (empirical_bisimulation(data), by_table(data), by_walking(data)):
            assert relation.data is data
            assert not relation.folded
            assert (relation.representative == np.arange(data.frames)).all()
    folded = TransitionDataset([0, 0, 1, 2], [0, 0, 0, 0], [1, 2, 3, 3], [1, 1, 0, 0])
    names = fold(folded)
    relation = empirical_bisimulation(folded, names)
    assert relation.folded
    assert (relation.representative == names).all()


def test_another_backend_may_refine():
    data, asked = random_dataset(np.random.default_rng(0), coverage=1.0), []

    def refine(graph):
        asked.append(graph)
        return refine_in_memory(graph)

    assert (levels_of(empirical_bisimulation(data, refine=refine)) == levels_of(empirical_bisimulation(data))).all()
    assert len(asked) == 1
