"""Kinds of pairs: how pairs are sorted, what protects them, and how far apart they are."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from bisim_theory import TransitionDataset, empirical_bisimulation
from support.oracles import literal_levels

from benchmarks.studies import auxiliaries
from benchmarks.studies.kinds import Kind, Kinds, draw_pairs, joined_by_label, kinds_of, predict, separations


def walks(rng, episodes=12, steps=4, most=4):
    """Walks on the counts 0 to `most`, one action held for an episode, with a shape and a colour that last."""
    rows, labels = defaultdict(list), defaultdict(list)
    for _ in range(episodes):
        count, shape, action = rng.integers(most + 1), rng.integers(2), int(rng.integers(2))
        color = rng.integers(30, 226, 3)
        for step in range(steps + 1):
            labels["count"].append(int(count)), labels["shape"].append(int(shape)), labels["color"].append(color)
            if step < steps:
                rows["source"].append(len(labels["count"]) - 1)
                rows["action"].append(action)
                rows["successor"].append(len(labels["count"]))
                count = min(max(count + (1 if action else -1), 0), most)
    return {name: np.array(value) for name, value in rows.items()}, {k: np.array(v) for k, v in labels.items()}


def with_p(rows, labels, p):
    return TransitionDataset(**rows, auxiliary=p[rows["source"]], labels=labels)


def kind_by_hand(labels, x, y):
    """Return the kind of a pair, None for none."""
    count, shape = labels["count"], labels["shape"]
    colour = [tuple(labels["color"][each] > auxiliaries.MIDDLE) for each in (x, y)]
    one, other = sorted((int(count[x]), int(count[y])))
    looks = (["shape"] if shape[x] != shape[y] else []) + (["colour"] if colour[0] != colour[1] else [])
    if one == other == 0:
        return Kind("hidden look", 0, 0) if looks else None
    if one != other:
        return None if looks else Kind("count", one, other)
    if len(looks) == 2:
        return None
    return Kind(looks[0] if looks else "positions", one, one)


def test_pairs_are_sorted_by_what_they_differ_in():
    _, labels = walks(np.random.default_rng(0), episodes=30)
    kinds = kinds_of(labels)
    x, y = draw_pairs(np.arange(len(labels["count"])), 10**6, np.random.default_rng(0))
    found = [None if code < 0 else kinds.kind(code) for code in kinds.codes(x, y).tolist()]
    assert found == [kind_by_hand(labels, *pair) for pair in zip(x, y, strict=True)]
    assert {each.group for each in found if each} == set(kinds.groups)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_predicted_is_what_definition_4_says(seed):
    rng = np.random.default_rng(seed)
    rows, labels = walks(rng)
    p = [auxiliaries.parity, auxiliaries.is_empty, auxiliaries.shape, auxiliaries.constant][seed](None, labels)
    data = with_p(rows, labels, p)
    relation, kinds, literal = empirical_bisimulation(data), kinds_of(labels), literal_levels(data)
    by_kind = defaultdict(list)
    for x, y in itertools.combinations(relation.observations.tolist(), 2):
        if kind := kind_by_hand(labels, x, y):
            by_kind[kind].append(literal.get((x, y), 0))
    found = predict(relation, kinds)
    assert set(found) == set(by_kind)
    for kind, levels in by_kind.items():
        apart = [level for level in levels if level]
        assert (found[kind].pairs, found[kind].level) == (len(levels), min(apart, default=0)), kind
        assert found[kind].share == pytest.approx(len(apart) / len(levels)), kind


def test_observations_of_equal_labels_are_one():
    """The count then decides everything: p = (count is 0) tells counts apart once the lower of two is 0."""
    rows, labels = walks(np.random.default_rng(1), episodes=60)
    kinds = kinds_of(labels)
    relation = joined_by_label(with_p(rows, labels, auxiliaries.is_empty(None, labels)), kinds)
    found = {kind: each.level for kind, each in predict(relation, kinds).items() if kind.group == "count"}
    assert found
    assert all(level == kind.one + 1 for kind, level in found.items())


def test_a_function_of_more_than_the_labels_cannot_be_joined():
    rows, labels = walks(np.random.default_rng(1), episodes=60)
    assert joined_by_label(with_p(rows, labels, np.arange(len(labels["count"])) * 1.0), kinds_of(labels)) is None


def test_a_kind_is_compared_with_pairs_of_its_own_states():
    """At state 1 pairs that nothing distinguishes are 10 apart, at state 0 they are 1 apart."""
    kinds = Kinds(np.array([0, 0, 1, 1, 2]), "count", "positions")
    embedding = np.array([[0.0], [1], [5], [15], [8]])
    alike = {Kind("positions", 0, 0), Kind("positions", 1, 1)}
    found = separations(embedding, kinds, alike)
    # Distances 5, 15, 4, 14 against 1 and 10.
    assert found[Kind("count", 0, 1)] == (4, pytest.approx(6 / 8))
    assert found[Kind("count", 0, 2)] == (2, 1.0)  # 8 and 7 against 1
    assert found[Kind("count", 1, 2)] == (2, 0.0)  # 3 and 7 against 10
    assert found[Kind("positions", 0, 0)] == (1, 0.5)


def test_where_every_pair_is_distinguished_there_is_nothing_to_compare_with():
    kinds = Kinds(np.array([0, 0, 1]), "count", "positions")
    assert separations(np.eye(3), kinds, set()) == {
        Kind("positions", 0, 0): (1, None),
        Kind("count", 0, 1): (2, None),
    }


def test_pairs_are_all_of_few_and_a_sample_of_many():
    ids = np.array([3, 5, 8, 9])
    all_pairs = set(zip(*draw_pairs(ids, 6, np.random.default_rng(0)), strict=True))
    assert all_pairs == set(itertools.combinations(ids, 2))
    x, y = draw_pairs(ids, 5, np.random.default_rng(0))
    assert len(x) == 5
    assert not (x == y).any()


@pytest.mark.parametrize("kind", [Kind("count", 0, 12), Kind("hidden look", 0, 0)])
def test_a_kind_is_read_from_its_name(kind):
    assert Kind.of_name(kind.name) == kind
