import itertools

import numpy as np
import pytest
from bisim_theory import (
    DatasetError,
    NoWellTrainedModelError,
    Representation,
    Tolerance,
    TransitionDataset,
    analyse,
    check_theorem,
    empirical_bisimulation,
    fold,
)
from bisim_theory.theorem.nearest import nearest_distinguished
from bisim_theory.theorem.residuals import transition_residual
from support.oracles import literal_levels, random_dataset


def well_trained(data, rng, merge_tries=6, dimensions=5):
    """Build a model with zero residuals: merge observations while p allows, then embed each class at random."""
    names, merges = fold(data), []
    for _ in range(merge_tries):
        pair = tuple(rng.integers(data.frames, size=2).tolist())
        try:
            names = fold(data, [*merges, pair])
            merges.append(pair)
        except NoWellTrainedModelError:
            pass
    embedding = rng.normal(size=(data.frames, dimensions))[names]
    return Representation(embedding, embedding[data.successor], data.auxiliary.astype(float))


def test_theorem_3_holds_for_every_well_trained_model():
    merged_bisimilar = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        data = random_dataset(rng, frames=8, coverage=0.7)
        relation = empirical_bisimulation(data)
        model = well_trained(data, rng)
        check = check_theorem(relation, model)
        assert check.verdict == "holds"
        assert max(*check.transition_residual, *check.auxiliary_residual) == 0
        if relation.distinguished_pairs:
            assert check.closest.min_distance > 0.01
        z = model.embedding[relation.sources]
        same = (z[:, None] == z).all(-1)
        merged_bisimilar += same.sum() > len(z)
    assert merged_bisimilar > 50  # the models do merge what they may


def test_smallest_distance_equals_the_search_over_all_pairs():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        data = random_dataset(rng, frames=12, coverage=0.8)
        embedding = rng.normal(size=(data.frames, 3)) + 1e3 * (seed % 2)
        model = Representation(embedding, embedding[data.successor], data.auxiliary.astype(float))
        relation, levels = empirical_bisimulation(data), literal_levels(data)
        found = check_theorem(relation, model).closest
        distances = {
            (x, y): np.linalg.norm(embedding[x] - embedding[y])
            for x, y in itertools.combinations(relation.sources.tolist(), 2)
            if (x, y) in levels
        }
        if not distances:
            assert found is None
            continue
        nearest = min(distances, key=distances.get)
        assert (found.pair, found.level) == (nearest, levels[nearest])
        assert found.min_distance == pytest.approx(distances[nearest], rel=1e-9)
        assert found.witness == relation.witness(*nearest)


@pytest.mark.parametrize("few", [0, 4096], ids=["narrowed", "one by one"])
@pytest.mark.parametrize("kind", ["spread", "clusters", "line", "duplicates", "point", "zero"])
def test_nearest_pair_and_close_pairs_equal_the_search_over_all_pairs(monkeypatch, kind, few):
    monkeypatch.setattr("bisim_theory.theorem.nearest.CHUNK", 16)
    monkeypatch.setattr("bisim_theory.theorem.nearest._FEW", few)
    monkeypatch.setattr("bisim_theory.theorem.nearest._LEVELS_FIRST", few % 5)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        one_action = bool(seed % 2)
        data = random_dataset(rng, frames=150, actions=2, coverage=0.9, values=3, one_action=one_action)
        relation = empirical_bisimulation(data)
        embedding = {
            "spread": rng.normal(size=(150, 4)),
            "clusters": rng.normal(size=(5, 4))[rng.integers(5, size=150)] + 0.01 * rng.normal(size=(150, 4)),
            "line": np.outer(np.arange(150), np.ones(3)) + 1e6,
            "duplicates": rng.integers(3, size=(150, 3)).astype(float),
            "point": 7 + 1e-9 * rng.normal(size=(150, 4)),
            "zero": np.zeros((150, 2)),
        }[kind]
        pairs = [np.concatenate(ends) for ends in zip(*relation.pairs(), strict=True)]
        distance = np.linalg.norm(embedding[pairs[0]] - embedding[pairs[1]], axis=1)
        for threshold in (0.0, float(np.quantile(distance, 0.3)), 2 * float(distance.max())):
            found = nearest_distinguished(relation, embedding, threshold)
            assert found.distance == pytest.approx(distance.min(), rel=1e-9, abs=1e-15)
            assert relation.level(*found.pair) > 0
            x, y = found.pair
            assert np.linalg.norm(embedding[x] - embedding[y]) == pytest.approx(found.distance, rel=1e-9)
            on_the_edge = np.isclose(distance, threshold, rtol=1e-12, atol=0).sum()
            assert abs(found.close - (distance <= threshold).sum()) <= (on_the_edge if threshold else 0)


def counting_chain():
    """Build counts 0..3, p = 1 at count 3, one action that adds: by hand, the level of (i, j) is 4 - max(i, j)."""
    return TransitionDataset([0, 1, 2, 3], [1, 1, 1, 1], [1, 2, 3, 3], [0, 0, 0, 1])


def test_verdicts_on_a_case_solved_by_hand():
    data = counting_chain()
    relation = empirical_bisimulation(data)
    assert [relation.level(i, j).item() for i, j in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]] == [
        3,
        2,
        2,
        1,
        1,
        1,
    ]
    assert relation.distinguished_pairs_per_level == [3, 2, 1]
    embedding = np.array([[0.0], [1.0], [3.0], [6.0]])
    exact = Representation(embedding, embedding[data.successor], np.array([0.0, 0, 0, 1]))
    check = check_theorem(relation, exact)
    assert check.verdict == "holds"
    assert (check.closest.min_distance, check.closest.pair, check.closest.witness) == (1.0, (0, 1), [1, 1])
    assert [level.median_distance for level in check.levels] == [5.0, 2.5, 1.0]

    merged = np.array([[0.0], [0.0], [3.0], [6.0]])
    check = check_theorem(relation, Representation(merged, merged[data.successor], np.array([0.0, 0, 0, 1])))
    assert check.verdict == "collapsed"
    assert (check.closest.min_distance, check.closest.pair) == (0.0, (0, 1))

    # Steps from 0 and 1 are off by 1.2 each and lead to embeddings 2 apart: the only pair of level 3 is not explained.
    off = np.array([[1.2], [1.2], [0.0], [0.0]])
    sloppy = Representation(embedding, embedding[data.successor] + off, np.array([0.0, 0, 0, 1]))
    check = check_theorem(relation, sloppy)
    assert check.verdict == "hypothesis-not-met"
    assert [level.explained.share for level in check.levels] == [1, 1, 0]
    assert [level.level for level in check.unexplained_levels] == [3]

    wrong_p = Representation(embedding, embedding[data.successor], np.array([0.0, 0.6, 0.6, 0.5]))
    check = check_theorem(relation, wrong_p)
    assert check.verdict == "hypothesis-not-met"
    assert check.auxiliary_share == pytest.approx(1 / 3)  # e_p sums 0.5, 1.1, 1.1 against margins of 1
    assert check.levels[0].explained.share == check.auxiliary_share

    point = np.full((4, 1), 7.0) + 1e-9 * embedding
    check = check_theorem(relation, Representation(point, point[data.successor], np.array([0.0, 0, 0, 1])))
    assert check.verdict == "collapsed"


def test_a_representation_of_other_data_is_refused():
    data = counting_chain()
    relation = empirical_bisimulation(data)
    z = np.zeros((4, 2))
    for name, arrays in {
        "embedding": (np.zeros((5, 2)), z, np.zeros(4)),
        "predicted_embedding": (z, np.zeros((3, 2)), np.zeros(4)),
        "predicted_auxiliary": (z, z, np.zeros((4, 2))),
    }.items():
        with pytest.raises(DatasetError, match=name):
            check_theorem(relation, Representation(*arrays))


def test_no_well_trained_model_comes_before_any_verdict():
    images = np.zeros((4, 8, 8, 3), np.uint8)
    data = TransitionDataset([0, 1, 2, 3], [0, 0, 0, 0], [2, 3, 2, 3], [0, 0, 0, 1], observation=images)
    report = analyse(data, identity="content", folding=True)
    assert report.verdict == "no-well-trained-model"
    assert "relation" not in vars(report)


def continuous_chain():
    """Build the chain with actions 0.5, 1.0, 0.75, 0.75 of one code, with the mean 0.75."""
    values = np.array([[0.5], [1.0], [0.75], [0.75]])
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return TransitionDataset(
        [0, 1, 2, 3], [1, 1, 1, 1], [1, 2, 3, 3], [0, 0, 0, 1], observation=images, action_value=values,
        labels={"count": np.array([0, 1, 2, 3])},
    )  # fmt: skip


def test_the_hypothesis_is_checked_at_one_action_per_code():
    data = continuous_chain()
    embedding = np.array([[0.0], [1.0], [3.0], [6.0]])
    model = Representation.of(
        data,
        encode=lambda images: embedding[images[:, 0, 0, 0]],
        predict=lambda z, a: embedding[[1, 2, 3, 3]][np.searchsorted(embedding[:, 0], z[:, 0])] + (a - 0.75),
        auxiliary=lambda z: (z[:, 0] == 6).astype(float),
    )
    check = check_theorem(empirical_bisimulation(data), model)
    assert check.transition_residual == (0, 0, 0, 0)
    assert check.raw_transition_residual[-1] == check.abstraction_residual[-1] == 0.25
    assert check.verdict == "holds"


def test_levels_carry_separation_witness_residual_and_bound():
    data = continuous_chain()
    embedding = np.array([[0.0], [1.0], [3.0], [6.0]])
    model = Representation(
        embedding, embedding[data.successor] + [[0.1], [0.2], [0.3], [0.0]], np.array([0.0, 0, 0, 1]),
        lipschitz_dynamics=1.0, lipschitz_auxiliary=1.0,
    )  # fmt: skip
    labels = np.array([0, 0, 1, 1])
    check = check_theorem(empirical_bisimulation(data), model, labels=labels)
    assert sorted(set(check.same_label_distances.tolist())) == [1.0, 3.0]
    first, second, third = check.levels
    assert first.witness_residual is None
    assert (second.witness_residual, third.witness_residual) == pytest.approx((0.45, 0.3))  # (0, 2), (1, 2); (0, 1)
    # Level 3 is the pair (0, 1) at distance 1, equal to one and below the other of the same-label distances.
    ties = (check.same_label_distances == 1).mean() / 2
    assert third.separation == pytest.approx(ties)
    assert first.separation == pytest.approx(1 - (check.same_label_distances == 3).mean() / 6)
    # b(., 3) = 1, b(1, 2) = 1 - 0.5, b(0, 2) = 1 - 0.4, b(0, 1) = 0.5 - 0.3
    assert first.bound == pytest.approx((1, 1, 1))
    assert second.bound == pytest.approx((0.5, 0.55, 1))
    assert third.bound == pytest.approx((0.2, 0.2, 1))


def test_collapsed_pairs_are_counted():
    data = counting_chain()
    embedding = np.array([[0.0], [0.0], [0.0], [6.0]])
    model = Representation(embedding, embedding[data.successor], np.array([0.0, 0, 0, 1]))
    check = check_theorem(empirical_bisimulation(data), model)
    assert (check.collapsed_pairs, check.closest.min_distance) == (3, 0)


def test_a_sampled_relation_is_checked_on_its_sample(monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.compute.MOST_CLASSES", 5)
    rng = np.random.default_rng(0)
    data = random_dataset(rng, frames=40, actions=2, coverage=0.8)
    relation = empirical_bisimulation(data)
    embedding = rng.normal(size=(data.frames, 3))
    check = check_theorem(relation, Representation(embedding, embedding[data.successor], data.p.astype(float)))
    assert not check.exact
    assert relation.level(*check.closest.pair) == check.closest.level
    assert all(level.sampled for level in check.levels)


def test_witnesses_of_folded_observations_find_a_residual_of_what_they_were_merged_with():
    data = TransitionDataset(
        [3, 3, 0, 5, 4, 1, 2], [5, 5, 9, 0, 9, 0, 0], [5, 4, 2, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0, 1]
    )  # fmt: skip
    names = fold(data)
    relation = empirical_bisimulation(data, names)
    rng = np.random.default_rng(0)
    model = Representation(
        rng.normal(size=(6, 2)), rng.normal(size=(7, 2)), data.p.astype(float), lipschitz_dynamics=1.0,
        lipschitz_auxiliary=1.0,
    )  # fmt: skip
    check = check_theorem(relation, model)
    residual = transition_residual(data, model)
    for level in check.levels[1:]:
        x, y, _ = relation.sample_pairs(level.level, 100, rng)
        sums = []
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            action = relation.witness(a, b)[0]
            rows = [
                [r for r in range(7) if names[data.source[r]] == names[e] and data.action[r] == action] for e in (a, b)
            ]
            sums.append(sum(residual[each].max() for each in rows))
        assert level.witness_residual == pytest.approx(np.median(sums))
        assert level.bound is None  # residuals say nothing of how far folded observations are apart


def test_levels_without_a_sampled_pair_do_not_spoil_the_verdict(monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.compute.MOST_CLASSES", 2)
    n = 40
    source = np.repeat(np.arange(n), 2)
    data = TransitionDataset(source, np.arange(2 * n) % 2, np.minimum(source + 1, n - 1), source == n - 1)
    embedding = np.arange(n, dtype=float)[:, None]
    model = Representation(embedding, embedding[data.successor], data.p.astype(float))
    for sampled in (3, 20, 300):
        monkeypatch.setattr("bisim_theory.relation.sampled_levels.SAMPLED_PAIRS", sampled)
        assert check_theorem(empirical_bisimulation(data), model).verdict == "holds"


def test_distances_are_those_of_the_embeddings_as_they_are():
    data = TransitionDataset([0, 1, 2], [0, 0, 0], [0, 1, 2], [0, 1, 2])
    relation = empirical_bisimulation(data)
    for values, nearest in (([1e-3, 1.5e-3, 1e14], 5e-4), ([1e-20, 2e-20, 1.0], 1e-20)):
        found = nearest_distinguished(relation, np.array(values)[:, None], threshold=nearest * 0.9)
        assert found.distance == pytest.approx(nearest, rel=1e-12)
        assert (found.pair, found.close) == ((0, 1), 0)
        assert nearest_distinguished(relation, np.array(values)[:, None], threshold=found.distance).close == 1
    with pytest.raises(DatasetError, match="embedding: must be"):
        nearest_distinguished(relation, np.zeros(3))


def test_separation_of_few_pairs_is_that_of_all_of_them():
    rng = np.random.default_rng(0)
    data = random_dataset(rng, frames=12, coverage=1.0)
    relation = empirical_bisimulation(data)
    labels, embedding = rng.integers(3, size=data.frames), rng.normal(size=(data.frames, 2))
    check = check_theorem(
        relation, Representation(embedding, embedding[data.successor], data.p.astype(float)), labels=labels
    )
    i, j = (relation.sources[each] for each in np.triu_indices(len(relation.sources), 1))
    apart = np.linalg.norm(embedding[i] - embedding[j], axis=1)
    same = apart[labels[i] == labels[j]]
    for level in check.levels:
        of_level = apart[relation.level(i, j) == level.level]
        greater = (of_level[:, None] > same).mean() + (of_level[:, None] == same).mean() / 2
        assert level.separation == pytest.approx(greater)


def test_a_check_keeps_the_pairs_that_it_sampled():
    rng = np.random.default_rng(0)
    data = random_dataset(rng, frames=30, coverage=1.0)
    relation = empirical_bisimulation(data)
    embedding = rng.normal(size=(data.frames, 2))
    model = Representation(embedding, embedding[data.successor], rng.normal(size=data.p.shape))
    for most in (10, 1000):
        check = check_theorem(relation, model, Tolerance(sample=most))
        for level in check.levels:
            assert (relation.level(level.x, level.y) == level.level).all()
            assert level.distances == pytest.approx(np.linalg.norm(embedding[level.x] - embedding[level.y], axis=1))
            assert len(level.x) == min(level.pairs, most)
            x, y = level.closest_pair
            assert np.linalg.norm(embedding[x] - embedding[y]) == pytest.approx(level.distances.min())
        assert len(check.margin_ratio) == min(check.levels[0].pairs, most)
        assert (check.margin_ratio < 1).mean() == check.auxiliary_share


def test_of_many_pairs_with_equal_labels_a_uniform_sample_is_kept():
    """No pair of different labels is among them, and labels are drawn in proportion to their pairs."""
    rng = np.random.default_rng(0)
    data = random_dataset(rng, frames=32, coverage=1.0)
    relation = empirical_bisimulation(data)
    assert len(relation.sources) == 32
    labels = np.arange(32) // 20  # 190 pairs of one label, 66 of the other
    embedding = np.stack([rng.random(32), 1000.0 * labels], 1)
    embedding[20:, 0] += 10 * np.arange(12)  # all of the other's are further apart than any of the first's
    model = Representation(embedding, embedding[data.successor], data.p.astype(float))
    for most, kept in ((256, 256), (250, 250), (12, 12)):
        drawn = check_theorem(relation, model, Tolerance(sample=most), labels).same_label_distances
        assert len(drawn) == kept
        assert (drawn > 0).all()  # of no observation with itself
        assert (drawn < 500).all()
        if most > 12:
            assert 66 / 256 - 0.08 < (drawn > 5).mean() < 66 / 256 + 0.08
