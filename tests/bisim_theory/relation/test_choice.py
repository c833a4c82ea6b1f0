import dataclasses
import itertools

import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, analyse, choose_auxiliary, compare
from bisim_theory.data import candidates
from bisim_theory.data.auxiliary import with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values
from bisim_theory.data.left_out import labels_left_out
from bisim_theory.relation import choice as choices
from bisim_theory.relation import compute, sampled_levels, undistinguished
from bisim_theory.relation.sampled_levels import SampledRelation
from support.oracles import literal_levels, random_dataset


def labelled(seed, frames=8, **arguments):
    """Random transitions with two labels, and a reward that is a function of the observation that a step led to."""
    rng = np.random.default_rng(seed)
    data = random_dataset(rng, frames, **arguments)
    size = data.frames
    a, b = (rng.permutation(np.arange(size) % values) for values in (3, 2))
    return dataclasses.replace(
        data, auxiliary=None, reward=rng.integers(2, size=size)[data.successor].astype(float), labels={"a": a, "b": b}
    )


def counting(most=8, shapes=3, target=4):
    """All transitions of a counter with a shape: 1 adds, 0 removes, and at the ends nothing changes."""
    state = np.arange((most + 1) * shapes)
    count, shape = state // shapes, state % shapes
    action = np.repeat([0, 1], len(state))
    source = np.tile(state, 2)
    after = np.clip(count[source] + 2 * action - 1, 0, most)
    return TransitionDataset(
        source,
        action,
        after * shapes + shape[source],
        reward=(after == target).astype(float),
        labels={"count": count, "shape": shape},
    )


def by_name(choice):
    return {each.name: each for each in choice.candidates}


def levels_of(data, name):
    return literal_levels(with_auxiliary(data, auxiliary_values(data, name), name))


@pytest.mark.parametrize("one_action", [False, True])
def test_shares_and_what_is_left_are_those_of_definition_4_word_for_word(one_action):
    seen = 0
    for seed in range(12):
        data = labelled(seed, one_action=one_action)
        choice = choose_auxiliary(data, "a")
        code = data.labels["a"]
        # Every label is known everywhere, and the reward wherever a step led, so all that occurs counts.
        observations = sorted({*data.source.tolist(), *data.successor.tolist()})
        pairs = list(itertools.combinations(observations, 2))
        wanted = [pair for pair in pairs if code[pair[0]] != code[pair[1]]]
        assert (choice.observations, choice.pairs) == (len(observations), len(wanted))
        literal = {each.name: levels_of(data, each.name) for each in choice.candidates if each.refused is None}
        for name, levels in literal.items():
            found = by_name(choice)[name]
            protected = [levels[pair] for pair in wanted if pair in levels]
            assert [n for n in found.pairs_per_level if n] == [
                n for n in np.bincount(protected, minlength=1)[1:].tolist() if n
            ]
            assert found.share == len(protected) / len(wanted)
            agreeing = [pair for pair in pairs if pair not in wanted]
            assert found.floor == (sum(pair in levels for pair in agreeing) / len(agreeing) if agreeing else None)
            assert found.levels == sorted(set(protected))
        for left, names in (
            (choice.unprotected, [each.name for each in choice.candidates if not each.holds]),
            (choice.unprotected_by_all, [each.name for each in choice.candidates]),
        ):
            rest = [pair for pair in wanted if not any(pair in literal.get(name, {}) for name in names)]
            assert (left.pairs, left.exact) == (len(rest), True)
            assert left.example is None if not rest else tuple(sorted(left.example)) in rest
            seen += len(rest) > 0
    assert seen > 4


def test_a_column_more_never_protects_less_and_protects_what_one_of_the_two_does():
    for seed in range(8):
        data = labelled(seed)
        rng = np.random.default_rng(seed)
        labels = data.labels | {name: rng.integers(2, size=data.frames) for name in ("x", "y")}
        data = dataclasses.replace(data, reward=None, labels=labels)
        choice = choose_auxiliary(data, ["a"], ["x+y"])
        found = by_name(choice)
        x, y, both = (found[name] for name in ("x", "y", "x+y"))
        assert max(x.pairs, y.pairs) <= both.pairs <= x.pairs + y.pairs
        cumulative = [np.cumsum([*each.pairs_per_level, *[0] * 20])[:20] for each in (x, y, both)]
        assert (np.maximum(cumulative[0], cumulative[1]) <= cumulative[2]).all()
        others = [each for each in choice.candidates if not each.holds]
        assert all(choice.unprotected.pairs <= choice.pairs - each.pairs for each in others)
        assert choice.unprotected_by_all.pairs == 0  # a label of one value an observation protects its pairs itself
        keys = [(-each.share, each.embeddings.at_least, each.name) for each in others]
        assert keys == sorted(keys)


def test_in_the_counting_world_the_reward_protects_every_count_and_no_shape():
    data = counting()
    choice = choose_auxiliary(data, "count")
    reward, shape, count = (by_name(choice)[name] for name in ("reward", "shape", "count"))
    assert (reward.share, reward.floor, reward.embeddings.at_least, reward.holds) == (1, 0, 9, [])
    assert (count.share, count.levels, count.holds) == (1, [1], ["count"])
    assert shape.share == pytest.approx(2 / 3)
    assert shape.floor == 1  # it tells apart whatever has another shape, whether the count differs or not
    assert shape.above_floor < 0
    assert choice.best == "reward"
    assert choice.candidates[0].name == "reward"
    assert choice.unprotected.pairs == choice.unprotected_by_all.pairs == 0
    # What protects everything gains nothing from another column.
    assert not [each.name for each in choice.candidates if "+" in each.name]
    choice = choose_auxiliary(data, "shape")
    assert choice.unprotected.pairs == 9 * 3  # pairs of one count
    x, y = choice.unprotected.example
    assert data.labels["count"][x] == data.labels["count"][y]
    assert data.labels["shape"][x] != data.labels["shape"][y]
    assert choice.unprotected.in_common == 2
    both = by_name(choose_auxiliary(data, "count,shape"))
    assert (both["reward+shape"].share, both["reward+shape"].embeddings.at_least) == (1, 27)
    assert both["reward+shape"].holds == ["shape"]
    assert both["count+shape"].holds == ["count", "shape"]


def test_a_goal_that_is_only_reached_counts_as_every_candidate_knows_it():
    # Positions 0..3 of a corridor that ends on the goal, in two rooms that look different.
    position, room = np.tile([0, 1, 2, 3], 2), np.repeat([0, 1], 4)
    source = np.flatnonzero(position < 3)
    goal = position[source + 1] == 3
    data = TransitionDataset(
        source,
        np.zeros(6, int),
        source + 1,
        reward=goal.astype(float),
        terminated=goal,
        labels={"position": position, "room": room},
    )
    choice = choose_auxiliary(data, "position")
    assert choice.observations == choice.occurring == 8
    assert by_name(choice)["terminated"].share == 1
    assert by_name(choice)["terminated"].levels == [1, 2, 3]
    assert choice.best == "terminated"
    # Of a p that is stored of sources alone nothing is known at the goal, which then counts for no candidate.
    stored = dataclasses.replace(data, auxiliary=position[source] == 2, metadata={"auxiliary": "near"})
    choice = choose_auxiliary(stored, "position")
    assert (choice.observations, choice.occurring) == (6, 8)
    certified = {each.name: each for each in compare(stored, "auxiliary", data.labels["position"]).candidates}
    assert by_name(choice)["auxiliary"].share == certified["auxiliary"].certified_share == 1
    assert by_name(choice)["terminated"].levels == [2, 3]  # told by where it leads


def test_what_is_no_function_of_the_observation_is_refused_in_its_row():
    data = TransitionDataset([0, 1], [0, 0], [2, 2], reward=[0.0, 1.0], labels={"a": np.array([0, 1, 1])})
    refused = by_name(choose_auxiliary(data, "a"))["reward"]
    assert "observation 2" in refused.refused
    assert (refused.embeddings, refused.pairs) == (None, 0)
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[2:] = [[[[1]]], [[[2]]]]
    data = TransitionDataset([0, 1], [0, 0], [2, 3], observation=images, labels={"a": np.array([0, 1, 0, 1])})
    alone = choose_auxiliary(data, "a").look_alikes
    assert (alone.pairs, alone.example) == (1, (0, 1))
    report = analyse(data, identity="content", folding=True, wanted="a")
    assert report.choice.look_alikes == alone
    assert "observations 0 and 1 are equal and have p = 0 and 1" in by_name(report.choice)["a"].refused
    assert report.verdict == "no-well-trained-model"  # nothing else can be p


def lamps(shown, order):
    """Two rooms of three cells, each with a lamp that action 2 toggles and no reward tells; seen in the first `shown`.

    Frames are numbered in an order (12,), of which nothing may depend.
    """
    number = np.empty(12, int)
    number[order] = np.arange(12)
    cell, lamp = order // 2, order % 2
    state = np.tile(np.arange(12), 3)
    action = np.repeat(np.arange(3), 12)
    room = 3 * (state // 6)
    moved = np.clip(state // 2 + 2 * action - 1, room, room + 2)
    after = np.where(action == 2, state ^ 1, 2 * moved + state % 2)
    seen = np.where(cell < shown, lamp, 0)
    return TransitionDataset(
        number[state],
        action,
        number[after],
        reward=(after // 2 % 3 == 2).astype(float),
        observation=np.stack([cell, seen], 1).astype(np.float32),
        labels={"cell": cell, "lamp": lamp},
    )


@pytest.mark.parametrize("seed", range(6))
def test_equal_observations_that_differ_in_a_wanted_label_are_in_no_pair_however_frames_are_numbered(seed):
    order = np.random.default_rng(seed).permutation(12)
    with pytest.raises(DatasetError, match="6 observations of this data occurred with several values of it"):
        analyse(lamps(0, order), identity="content", wanted="lamp")
    choice = analyse(lamps(3, order), identity="content", wanted="lamp").choice
    assert (choice.observations, choice.occurring, choice.ambiguous, choice.pairs) == (6, 9, 3, 9)
    assert choice.look_alikes.pairs == 3
    # Of the pairs of six observations that show the lamp, three are of one cell, which no reward tells apart.
    assert by_name(choice)["reward"].pairs == 6
    assert choice.unprotected.pairs == 3
    every = analyse(lamps(3, order), identity="occurrence", wanted="lamp").choice
    assert (every.observations, every.ambiguous, every.pairs) == (12, 0, 36)
    assert analyse(lamps(3, order), identity="content", wanted="cell").choice.ambiguous == 0


def test_what_is_sampled_leaves_out_what_is_not_asked_for():
    data = labelled(0, frames=12)
    observations = np.arange(12)
    left = undistinguished.Undistinguished(observations, data.labels["a"])
    x, y = left._drawn
    code = data.labels["a"]
    assert (code[x] != code[y]).all()
    drawn = {frozenset(pair) for pair in zip(x.tolist(), y.tolist(), strict=True)}
    assert len(drawn) == left.wanted == left.remaining().pairs == 48
    _, times = np.unique(np.sort(np.stack([x, y], 1), 1), axis=0, return_counts=True)
    assert times.min() > 0.75 * len(x) / 48  # uniform


def test_beyond_the_limits_numbers_are_estimates_near_the_exact_ones(monkeypatch):
    data = labelled(3, frames=30, coverage=0.9, actions=2)
    exact = choose_auxiliary(data, "a")
    monkeypatch.setattr(undistinguished, "MOST_JOINT_CLASSES", 5)
    estimated = choose_auxiliary(data, "a")
    assert exact.unprotected.exact
    assert not estimated.unprotected.exact
    assert estimated.unprotected.share == pytest.approx(exact.unprotected.share, abs=0.02)
    assert estimated.candidates == exact.candidates
    monkeypatch.setattr(compute, "MOST_CLASSES", 1)
    sampled = by_name(choose_auxiliary(data, "a"))
    assert not sampled["b"].exact
    for name, each in by_name(exact).items():
        if each.refused is None and name in sampled:
            assert sampled[name].share == pytest.approx(each.share, abs=0.03)
            assert sampled[name].floor == pytest.approx(each.floor, abs=0.03)


def test_pairs_per_level_are_split_alike_by_every_algorithm(monkeypatch):
    monkeypatch.setattr(sampled_levels, "SAMPLED_PAIRS", 200)
    for seed in range(8):
        for one_action in (False, True):
            data = labelled(seed, one_action=one_action)
            for name in ("reward", "b"):
                relation = compute.empirical_bisimulation(with_auxiliary(data, auxiliary_values(data, name), name))
                code = relation.label_codes(data.labels["a"])
                per_level = relation.equal_label_pairs_per_level(code)
                assert sum(per_level) == relation.equal_label_pairs(code)
                some = relation.among(np.arange(0, len(relation.observations), 2))
                levels = relation.level(some.observations[:, None], some.observations)
                found = np.bincount(levels[np.triu_indices(len(levels), 1)], minlength=1)[1:]
                assert some.distinguished_pairs == found.sum()
                sample = SampledRelation.of(relation.behaviour).among(np.arange(0, len(relation.observations), 2))
                assert set(sample.observations[sample.x]) <= set(some.observations)


def test_what_tells_nearly_everything_apart_is_left_out_unless_named(monkeypatch):
    data = counting()
    names = {f"l{number}": np.arange(27) % (2 + number) for number in range(12)}
    data = dataclasses.replace(data, labels=data.labels | names | {"id": np.arange(27), "own": np.arange(27)})
    monkeypatch.setattr(candidates, "MOST_VALUES", 20)
    monkeypatch.setattr(candidates, "MOST_COLUMNS", 11)
    monkeypatch.setattr(choices, "MOST_COMBINED", 3)
    choice = choose_auxiliary(data, "shape")
    assert {"id", "own", "l11"}.isdisjoint(by_name(choice))
    said = " / ".join(choice.left_out)
    assert "own, whose 27 different values" in said
    assert "4 columns (l8, l9, l10, l11), as 11 are ranked" in said
    assert "id, which number" in said
    assert "combinations with " in said
    combined = {part for name in by_name(choice) if "+" in name for part in name.split("+")}
    assert 0 < len(combined) <= choices.MOST_COMBINED
    assert {"own", "l11"} <= set(by_name(choose_auxiliary(data, "shape", "own,l11")))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("colour", "has no label 'colour'; it has count, shape"),
        ("", "has no label ''; it has"),
        ([], "names no label; this dataset has count"),
        ("one", "one has one value in this dataset"),
        ("height", "height is continuous .* take bins, as height:bins:10"),
        ("count:bins:1", "K of bins:K must be a whole number"),
        ("reward", "has no label 'reward'"),
    ],
)
def test_labels_that_cannot_be_wanted_are_refused_in_one_line(wanted, said):
    data = counting()
    more = {"one": np.ones(27), "height": np.random.default_rng(0).random(27)}
    data = dataclasses.replace(data, labels=data.labels | more)
    with pytest.raises(DatasetError, match=said) as raised:
        choose_auxiliary(data, wanted)
    assert "\n" not in str(raised.value)
    if wanted == "height":
        assert by_name(choose_auxiliary(data, "height:bins:3"))["height:bins:3"].share == 1


def test_without_labels_nothing_can_be_wanted():
    with pytest.raises(DatasetError, match="has no labels; store one value for each observation"):
        choose_auxiliary(dataclasses.replace(counting(), labels={}), "count")
    images = np.zeros((2, 2, 2, 3), np.uint8)
    data = TransitionDataset([0], [0], [1], observation=images, labels={"a": np.array([0, 1])})
    with pytest.raises(DatasetError, match="1 observation of this data occurred with several values of it, and no two"):
        analyse(data, identity="content", wanted="a")
    with pytest.raises(DatasetError, match="auxiliary='colour': this dataset offers"):
        choose_auxiliary(counting(), "count", ["colour"])


def test_why_a_column_is_no_label_is_said_where_it_is_wanted():
    unknown = {"left_out": ["gap, unknown of 3 successors", "gaps, of no use"]}
    for labels in ({}, counting().labels):
        data = dataclasses.replace(counting(), labels=labels, metadata=unknown)
        with pytest.raises(DatasetError, match=r"has no labels?.*\(left out: gap, unknown of 3 successors\)$"):
            choose_auxiliary(data, "gap")
    hostile = dataclasses.replace(counting(), metadata=labels_left_out({"gap": "\x1b[31m" + "x" * 1000}))
    with pytest.raises(DatasetError) as raised:
        choose_auxiliary(hostile, "gap")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


def test_the_best_is_p_where_none_is_stored_or_named():
    report = analyse(counting(), wanted="count")
    assert (report.auxiliary, report.choice.best, report.relation.bisimulation_classes) == ("reward", "reward", 9)
    assert analyse(counting(), wanted="count", auxiliary="shape").auxiliary == "shape"
