"""R_D* over sources and leaves where p is unknown of some: at initial observations, in the middle, in cycles."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from bisim_theory import (
    NoWellTrainedModelError,
    TransitionDataset,
    cannot_collapse,
    embeddings_needed,
    empirical_bisimulation,
    fold,
)
from bisim_theory.data.auxiliary import auxiliary_values, with_auxiliary
from bisim_theory.relation.base import Relation
from bisim_theory.relation.graph import UNKNOWN, observed_graph
from bisim_theory.relation.level_table import TableRelation, table_relation
from bisim_theory.relation.refinement import group, refine_in_memory
from bisim_theory.relation.sampled_levels import SampledRelation
from bisim_theory.relation.trajectories import TrajectoryRelation
from bisim_theory.relation.unknown_initial import UnknownInitialRelation
from support.oracles import (
    breadth_first_levels,
    datalog_relation,
    fewest_embeddings,
    literal_folding,
    literal_levels,
    partly_known_dataset,
    told,
)

INITIAL = [
    {"unknown": 0.8, "initial": True, "frames": 10, "one_action": True, "reached": 5, "coverage": 0.8},
    {"unknown": 0.8, "initial": True, "frames": 12, "actions": 1, "reached": 6, "coverage": 1.0},
    {"unknown": 0.5, "initial": True, "frames": 12, "one_action": True, "reached": 7, "values": 3, "coverage": 0.9},
    {"unknown": 1.0, "initial": True, "frames": 9, "one_action": True, "actions": 3, "reached": 4, "coverage": 0.7},
    {"unknown": 0.6, "initial": True, "frames": 14, "actions": 1, "reached": 9, "coverage": 0.9},
    {"unknown": 0.6, "initial": True, "frames": 9, "one_action": True, "reached": 5, "vector": 2, "coverage": 0.9},
]
ELSEWHERE = [
    {"unknown": 0.4, "frames": 9, "one_action": True, "coverage": 0.8},
    {"unknown": 0.4, "frames": 8, "actions": 1, "coverage": 1.0},
    {"unknown": 0.2, "frames": 10, "actions": 1, "coverage": 0.9, "values": 3},
    {"unknown": 0.3, "frames": 7, "actions": 2},
    {"unknown": 0.6, "frames": 6, "actions": 3, "coverage": 0.5},
    {"unknown": 0.3, "frames": 6, "actions": 2, "coverage": 1.0},
    {"unknown": 0.3, "frames": 6, "actions": 2, "vector": 2, "coverage": 0.8},
    {"unknown": 0.7, "initial": True, "frames": 8, "actions": 2, "reached": 4, "coverage": 0.7},
]
LEAVES_ALONE = [
    {"unknown": 0.0, "frames": 8, "one_action": True, "coverage": 0.6},
    {"unknown": 0.0, "frames": 7, "actions": 2, "coverage": 0.4},
]
KINDS = INITIAL + ELSEWHERE + LEAVES_ALONE


def instances(number, kinds=KINDS):
    for kind, arguments in enumerate(kinds):
        for seed in range(number):
            yield partly_known_dataset(np.random.default_rng([kind, seed]), **arguments)


@functools.cache
def small_instances():
    return [(data, literal_levels(data)) for data in instances(40)]


def by_table(data, names=None):
    graph = observed_graph(data, names)
    return table_relation(group(graph, refine_in_memory(graph)))


def by_walking(data):
    graph = observed_graph(data)
    return SampledRelation.of(group(graph, refine_in_memory(graph)))


def matrix(levels, observations):
    return np.array([[levels.get((x, y), 0) for y in observations] for x in observations])


def levels_of(relation):
    return relation.level(relation.observations[:, None], relation.observations)


def check_levels(data, relation: Relation, names=None):
    """Assert that levels, counts and observations are those of three oracles; return the number of levels."""
    expected = literal_levels(data, names)
    assert breadth_first_levels(data, names) == expected
    assert datalog_relation(data, names) == expected.keys()
    of = told(data, names)
    assert relation.observations.tolist() == of.observations
    assert relation.sources.tolist() == sorted(set(data.source.tolist()))
    levels = matrix(expected, of.observations)
    assert (levels_of(relation) == levels).all()
    per_level = np.bincount(levels.ravel())[1:] // 2
    assert relation.distinguished_pairs_per_level == per_level.tolist()
    assert relation.bisimilar_pairs == len(levels) * (len(levels) - 1) // 2 - per_level.sum()
    return len(per_level)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", KINDS)
def test_levels_equal_the_literal_definition_and_two_oracles(arguments):
    deep = initial = 0
    for seed in range(250):
        data = partly_known_dataset(np.random.default_rng(seed), **arguments)
        relation = empirical_bisimulation(data)
        deep = max(deep, check_levels(data, relation))
        initial += isinstance(relation, UnknownInitialRelation)
    assert deep >= 3  # the instances are worth something
    assert initial > 150 or arguments not in INITIAL


@pytest.mark.slow
def test_folded_levels_equal_the_literal_definition():
    folded, kinds = 0, set()
    for data in instances(150):
        x, y = np.random.default_rng(len(data)).choice(np.unique([data.source, data.successor]), 2)
        try:
            names = fold(data, [(x, y)])
        except NoWellTrainedModelError:
            assert literal_folding(data, [(int(x), int(y))]) is None
            continue
        relation = empirical_bisimulation(data, names)
        check_levels(data, relation, names)
        assert (levels_of(by_table(data, names)) == levels_of(relation)).all()
        if relation.folded:
            folded += 1
            kinds.add(type(relation))
    assert folded > 500
    assert kinds == {TrajectoryRelation, UnknownInitialRelation, TableRelation}


def test_every_algorithm_gives_the_same_answers(monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.sampled_levels.SAMPLED_PAIRS", 10)
    for data, expected in small_instances():
        chosen, table = empirical_bisimulation(data), by_table(data)
        observations = chosen.observations.tolist()
        for relation in (chosen, table, by_walking(data)) if len(observations) > 1 else (chosen, table):
            assert (levels_of(relation) == matrix(expected, observations)).all()
        assert chosen.behaviour.classes == table.behaviour.classes
        assert chosen.distinguished_pairs_per_level == table.distinguished_pairs_per_level
        rng = np.random.default_rng(len(data))
        for relation in (chosen, table):
            a, b = (np.sort(rng.permutation(relation.behaviour.classes)[: rng.integers(1, 7)]) for _ in range(2))
            assert (relation.apart(a, b) == (relation.class_levels(a[:, None], b) != 0)).all()


def test_observations_of_one_behaviour_have_equal_rows():
    together = 0
    for data, expected in small_instances():
        relation = empirical_bisimulation(data)
        levels = matrix(expected, relation.observations.tolist())
        for of_class in range(relation.behaviour.classes):
            rows = levels[relation.behaviour.class_of == of_class]
            assert (rows == rows[0]).all()
            together += len(rows) > 1
    assert together > 300


def test_enumeration_gives_every_pair_of_every_level_once(monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.base.PAIRS_AT_ONCE", 7)
    for data, expected in small_instances():
        for relation in (empirical_bisimulation(data), by_table(data)):
            for level in range(1, len(relation.distinguished_pairs_per_level) + 2):
                pairs = [
                    tuple(sorted(pair))
                    for x, y in relation.pairs(level)
                    for pair in zip(x.tolist(), y.tolist(), strict=True)
                ]
                assert len(pairs) == len(set(pairs))
                assert set(pairs) == {pair for pair, at in expected.items() if pair[0] < pair[1] and at == level}


def test_pairs_are_sampled_uniformly():
    data = partly_known_dataset(np.random.default_rng(1), **INITIAL[2])
    relation = empirical_bisimulation(data)
    assert isinstance(relation, UnknownInitialRelation)
    x, y, everything = relation.sample_pairs(1, 3, np.random.default_rng(0))
    assert not everything
    assert (relation.level(x, y) == 1).all()
    pairs = relation.pairs_at(1)
    x, y = pairs.take(np.random.default_rng(0).integers(len(pairs), size=400 * len(pairs)))
    number = np.unique(np.sort([x, y], 0), axis=1, return_counts=True)[1]
    assert len(number) == len(pairs)
    assert abs(number - 400).max() < 100


def test_witnesses_are_shortest_and_end_where_a_known_auxiliary_differs():
    replayed = 0
    for data, expected in small_instances():
        relation, of = empirical_bisimulation(data), told(data)
        for x, y in itertools.combinations(of.observations, 2):
            witness = relation.witness(x, y)
            if (x, y) not in expected:
                assert witness is None
                continue
            assert witness is not None
            assert len(witness) == expected[x, y] - 1
            for action in witness:
                assert x not in of.p or y not in of.p or of.p[x] == of.p[y]
                x, y = of.f[x, action], of.f[y, action]
            assert of.p[x] != of.p[y]
            replayed += 1
    assert replayed > 1000


def test_pairs_of_equal_labels_and_the_certified_share_are_counted():
    for data, expected in small_instances():
        labels = np.random.default_rng(len(data)).integers(3, size=data.frames)
        pairs = list(itertools.combinations(told(data).observations, 2))
        alike = [pair in expected for pair in pairs if labels[pair[0]] == labels[pair[1]]]
        apart = [pair in expected for pair in pairs if labels[pair[0]] != labels[pair[1]]]
        for relation in (empirical_bisimulation(data), by_table(data)):
            assert relation.distinguished_within_label(labels) == sum(alike)
            assert relation.floor(labels) == (pytest.approx(np.mean(alike)) if alike else None)
            assert relation.certified_share(labels) == (pytest.approx(np.mean(apart)) if apart else None)


def test_transitivity_is_judged_rightly_and_its_example_is_one():
    judged = {UnknownInitialRelation: set(), TrajectoryRelation: set(), TableRelation: set()}
    for data in instances(120):
        relation = empirical_bisimulation(data)
        bisimilar = levels_of(relation) == 0
        transitive = not ((bisimilar.astype(int) @ bisimilar > 0) & ~bisimilar).any()
        judged[type(relation)].add(transitive)
        if transitive:
            assert relation.intransitive_triple is None
            assert (bisimilar == (relation.classes[:, None] == relation.classes)).all()
            assert relation.bisimulation_classes == len(np.unique(relation.classes))
        else:
            x, y, z = relation.intransitive_triple
            assert relation.level([x, y, x], [y, z, z]).astype(bool).tolist() == [False, False, True]
            assert relation.classes is None
    assert all(verdicts == {True, False} for verdicts in judged.values())


def test_cliques_are_largest_where_only_initial_auxiliaries_are_unknown():
    with_both = 0
    for data in instances(80, INITIAL):
        relation = empirical_bisimulation(data)
        clique, everything = relation.clique(), np.arange(relation.behaviour.classes)
        apart = relation.apart(everything, everything)
        assert (apart[np.ix_(clique, clique)] | np.eye(len(clique), dtype=bool)).all()
        assert (np.diff(clique) > 0).all()
        assert not any(
            all(apart[i, j] for i, j in itertools.combinations(larger, 2))
            for larger in itertools.combinations(everything.tolist(), len(clique) + 1)
        )
        with_both += len(set((relation.behaviour.auxiliary[clique] == UNKNOWN).tolist())) == 2
    assert with_both > 30


def test_embeddings_needed_hold_against_trying_every_model():
    exact = more = 0
    for kind, arguments in enumerate(KINDS):
        arguments = arguments | {"frames": 6, "reached": None if arguments.get("reached") is None else 3}
        for seed in range(25):
            data = partly_known_dataset(np.random.default_rng([kind, seed]), **arguments)
            needed, fewest = embeddings_needed(empirical_bisimulation(data)), fewest_embeddings(data)
            assert needed.at_least <= fewest <= needed.constructed
            assert needed.exact == (needed.at_least == needed.constructed)
            exact, more = exact + needed.exact, more + (fewest > needed.at_least)
    assert exact > 200


def test_the_closure_relation_equals_merging_by_hand_and_contains_the_relation():
    larger = 0
    for data, expected in small_instances():
        pairs = list(itertools.combinations(told(data).observations, 2))
        if not pairs:
            continue
        forbidden = cannot_collapse(data, *np.array(pairs).T)
        assert forbidden.tolist() == [literal_folding(data, [pair]) is None for pair in pairs]
        distinguished = np.array([pair in expected for pair in pairs])
        assert (forbidden >= distinguished).all()
        larger += bool((forbidden & ~distinguished).any())
    assert larger > 10


def test_more_rows_never_shrink_the_relation():
    grew = 0
    for data, _ in small_instances():
        rng = np.random.default_rng(len(data))
        some = np.sort(rng.permutation(len(data))[: max(1, len(data) // 2)])
        part = dataclasses.replace(data, source=data.source[some], action=data.action[some],
                                   successor=data.successor[some])  # fmt: skip
        small, large = empirical_bisimulation(part), empirical_bisimulation(data)
        before = small.level(small.observations[:, None], small.observations)
        after = large.level(small.observations[:, None], small.observations)
        assert ((after > 0) & (after <= before))[before > 0].all()
        grew += bool(((after > 0) & (before == 0)).any())
    assert grew > 100


def test_only_full_coverage_of_known_sources_makes_an_equivalence_certain():
    for seed in range(60):
        data = partly_known_dataset(np.random.default_rng(seed), 0.0, frames=6, coverage=1.0)
        relation = empirical_bisimulation(data)
        assert relation.leaves == 0
        assert relation.bisimulation_classes is not None
    # Full coverage, one p unknown: 0 and 2 are distinguished, and 1 from neither.
    known = np.array([True, False, True])
    unknown = TransitionDataset([0, 1, 2], [0, 0, 0], [0, 1, 2], observation_auxiliary=np.array([0, 0, 1]),
                                observation_auxiliary_known=known)  # fmt: skip
    assert empirical_bisimulation(unknown).classes is None
    # Every source has every action, and a leaf of the same p as 0 and 1 is bisimilar to both.
    p = np.array([0, 0, 0, 1])
    leaf = TransitionDataset([0, 1, 3], [0, 0, 0], [2, 3, 3], observation_auxiliary=p)
    relation = empirical_bisimulation(leaf)
    assert levels_of(relation)[:3, :3].tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]
    assert relation.classes is None


def test_an_unknown_auxiliary_at_the_beginning_matches_every_value():
    # x = ? a 1 and y = 0 a 0 part at level 2; 1 a 1 is bisimilar to x and not to y.
    p, known = np.array([0, 1, 0, 0, 1, 1]), np.array([False, True, True, True, True, True])
    data = TransitionDataset(
        [0, 2, 4], [0, 0, 0], [1, 3, 5], observation_auxiliary=p, observation_auxiliary_known=known
    )
    relation = empirical_bisimulation(data)
    assert isinstance(relation, UnknownInitialRelation)
    assert relation.level([0, 0, 2], [2, 4, 4]).tolist() == [2, 0, 1]
    assert relation.witness(0, 2) == [0]


def test_the_closure_relation_exceeds_the_relation_for_one_action_and_full_coverage():
    known = np.array([True, False, True])
    data = TransitionDataset([0, 1, 2], [0, 0, 0], [1, 2, 2], observation_auxiliary=np.array([0, 0, 1]),
                             observation_auxiliary_known=known)  # fmt: skip
    assert empirical_bisimulation(data).level(0, 1) == 0
    assert cannot_collapse(data, 0, 1)
    assert embeddings_needed(empirical_bisimulation(data)).at_least == fewest_embeddings(data) == 2


def test_trajectories_of_unknown_auxiliary_form_an_induced_path():
    # 0?, 10, ?1 and ?0: the first and the second of each are 0..3 and 4..7. Nothing is told of 8.
    p, known = np.array([0, 1, 0, 0, 0, 0, 1, 0, 0]), np.array([1, 1, 0, 0, 0, 1, 1, 1, 0], bool)
    data = TransitionDataset([0, 1, 2, 3, 4], [0] * 5, [4, 5, 6, 7, 8], observation_auxiliary=p,
                             observation_auxiliary_known=known)  # fmt: skip
    relation = empirical_bisimulation(data)
    assert relation.level(np.arange(4)[:, None], np.arange(4)).tolist() == [
        [0, 1, 0, 0],
        [1, 0, 2, 0],
        [0, 2, 0, 2],
        [0, 0, 2, 0],
    ]


def test_nothing_is_distinguished_where_nothing_is_known_of_p():
    for p in (np.zeros(4), np.zeros((4, 2))):
        data = TransitionDataset([0, 1, 2], [0, 0, 1], [1, 2, 3], observation_auxiliary=p,
                                 observation_auxiliary_known=np.array([False, False, False, False]))  # fmt: skip
        relation = empirical_bisimulation(data)
        assert relation.distinguished_pairs_per_level == []
        assert (relation.leaves, relation.bisimulation_classes) == (0, 1)
        assert embeddings_needed(relation).at_least == 1


def test_what_is_too_large_for_a_table_is_sampled(monkeypatch):
    data = partly_known_dataset(np.random.default_rng(0), 0.3, frames=60, actions=2, values=4)
    table = empirical_bisimulation(data)
    monkeypatch.setattr("bisim_theory.relation.compute.MOST_CLASSES", 5)
    sampled = empirical_bisimulation(data)
    assert (table.exact, sampled.exact) == (True, False)
    n = len(table.observations)
    for exact, estimate in zip(
        table.distinguished_pairs_per_level, sampled.distinguished_pairs_per_level, strict=False
    ):
        assert abs(exact - estimate) < 0.02 * n * n / 2


def test_episodes_whose_first_reward_is_unknown_have_no_limit(monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.compute.MOST_CLASSES", 5)
    rng = np.random.default_rng(0)
    ids = np.arange(30 * 6).reshape(30, 6)
    data = TransitionDataset(ids[:, :-1].ravel(), rng.integers(2, size=150), ids[:, 1:].ravel(),
                             reward=rng.integers(2, size=150).astype(float))  # fmt: skip
    relation = empirical_bisimulation(with_auxiliary(data, auxiliary_values(data, "reward")))
    assert relation.exact
    assert relation.leaves == 30
    assert relation.distinguished_pairs_per_level == by_table(relation.data).distinguished_pairs_per_level
    assert (levels_of(relation) == levels_of(by_table(relation.data))).all()
    alone = fold(relation.data, [(0, 6)]) if relation.level(0, 6) == 0 else np.arange(data.frames)
    assert (levels_of(empirical_bisimulation(relation.data, alone)) == levels_of(by_table(relation.data, alone))).all()
