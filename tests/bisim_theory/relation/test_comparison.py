import dataclasses

import numpy as np
import pytest
from bisim_theory import (
    DatasetError,
    NoWellTrainedModelError,
    TransitionDataset,
    compare,
    empirical_bisimulation,
    to_text,
)
from bisim_theory.analysis import analyse
from bisim_theory.data.auxiliary import with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values, offered
from bisim_theory.relation.collect_next import collect_next
from support.oracles import random_dataset


def counting_episodes(episodes=40, steps=6, target=2, seed=0):
    """Draw a count on 0..4 that goes up and down; each observation is an occurrence with the reward of reaching it."""
    rng = np.random.default_rng(seed)
    action = rng.integers(2, size=(episodes, steps))
    count = np.zeros((episodes, steps + 1), int)
    count[:, 0] = rng.integers(5, size=episodes)
    for t in range(steps):
        count[:, t + 1] = np.clip(count[:, t] + 2 * action[:, t] - 1, 0, 4)
    ids = np.arange(count.size).reshape(count.shape)
    images = rng.integers(256, size=(count.size, 4, 4, 3), dtype=np.uint8)
    return TransitionDataset(
        ids[:, :-1].ravel(),
        action.ravel(),
        ids[:, 1:].ravel(),
        observation=images,
        reward=(count[:, 1:] == target).ravel().astype(float),
        terminated=np.tile(np.arange(steps) == steps - 1, episodes) & (count[:, 1:] == 0).ravel(),
        labels={"count": count.ravel()},
    )


def test_candidates_are_what_training_on_them_would_be_told():
    data = counting_episodes()
    found = compare(data, ["reward", "count", "random", "constant", "reward+count"], data.labels["count"])
    known = auxiliary_values(data, "reward").known
    assert (~known).sum() == 40  # nothing tells the reward of an episode's first observation, which takes part
    assert (found.transitions, found.left_out, found.sources) == (240, 0, 240)
    by_name = {each.name: each for each in found.candidates}
    for name, each in by_name.items():
        relation = empirical_bisimulation(with_auxiliary(data, auxiliary_values(data, name), name))
        assert list(each.pairs_per_level) == relation.distinguished_pairs_per_level
        assert each.certified_share == relation.certified_share(data.labels["count"])
        assert each.behaviours == relation.behaviour.classes
    assert by_name["constant"].classes == 1
    assert by_name["constant"].certified_share == 0
    needed = by_name["count"].embeddings
    assert (by_name["count"].classes, needed.at_least, needed.exact) == (5, 5, True)
    assert by_name["count"].within_label == 0
    assert by_name["random"].certified_share == 1
    assert by_name["random"].within_label > 0
    assert 0 < by_name["reward"].certified_share < 1
    # The reward is known where it is together with the count, which then tells it.
    at_known = dataclasses.replace(auxiliary_values(data, "count"), known=known)
    relation = empirical_bisimulation(with_auxiliary(data, at_known, "count"))
    assert list(by_name["reward+count"].pairs_per_level) == relation.distinguished_pairs_per_level


def test_any_array_of_values_is_a_candidate():
    data = counting_episodes()
    parity = data.labels["count"] % 2
    found = compare(
        data, {"parity": parity, "pair": np.stack([parity, parity], 1), "by transition": parity[data.source]}
    )
    parity_of_all, pair, by_transition = (each.pairs_per_level for each in found.candidates)
    assert parity_of_all == pair
    # Values by transition are those of sources, so nothing is known of leaves.
    of_sources = TransitionDataset(data.source, data.action, data.successor, parity[data.source])
    assert list(by_transition) == empirical_bisimulation(of_sources).distinguished_pairs_per_level
    assert [each.leaves for each in found.candidates] == [40, 40, 0]
    assert found.left_out == 0
    for wrong in (parity[:-1], parity.astype(str), np.full(data.frames, np.nan), parity[None]):
        with pytest.raises(DatasetError, match="auxiliary 'mine'"):
            compare(data, {"mine": wrong})


def test_a_reward_that_is_no_function_of_the_observation_is_a_finding():
    data = TransitionDataset([0, 1], [0, 0], [2, 2], reward=[0.0, 1.0])
    with pytest.raises(NoWellTrainedModelError, match=r"observation 2 .* 0\.0 and 1\.0 \(transitions 0 and 1\)"):
        auxiliary_values(data, "reward")
    for report in (analyse(data, auxiliary="reward"), analyse(data, candidates=["reward"])):
        assert report.verdict == "no-well-trained-model"
        assert report.contradiction.rows == (0, 1)


def test_unknown_names_are_answered_with_what_there_is():
    data = counting_episodes()
    names = ["reward", "reward:actions", "terminated", "random", "constant", "count"]
    assert offered(data) == names
    with pytest.raises(
        DatasetError,
        match="auxiliary='colour': this dataset offers reward, reward:actions, terminated, random, constant, count",
    ):
        compare(data, ["colour"])
    with pytest.raises(DatasetError, match="auxiliary: is not in this dataset"):
        analyse(data)


def test_a_candidate_without_any_model_is_told_from_the_others():
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[2:] = 1
    data = TransitionDataset([0, 1], [0, 0], [2, 3], observation=images, labels={"count": np.array([0, 0, 1, 1]),
                             "hidden": np.array([0, 1, 0, 1])})  # fmt: skip
    report = analyse(data, None, "content", True, auxiliary="count", candidates=["count", "hidden"])
    count, hidden = report.comparison.candidates
    assert count.contradiction is None
    assert hidden.contradiction == "observations 0 and 1 are equal and have p = 0 and 1"
    assert "no well-trained model exists: observations 0 and 1" in to_text(report)


def test_bars_show_levels_in_proportion():
    data = counting_episodes()
    report = analyse(data, auxiliary="count", candidates=["count", "constant"])
    text = to_text(report)
    bars = [line.split()[-1] for line in text.splitlines() if line.startswith("  ") and "\N{MIDDLE DOT}" in line]
    count = report.comparison.candidates[0]
    share = count.pairs_per_level[0] / count.pairs
    assert [len(bar) for bar in bars] == [50, 50]
    assert bars[0].count("1") == round(50 * share)
    assert bars[1] == "\N{MIDDLE DOT}" * 50


def test_what_is_suggested_is_new_and_raises_the_certified_share_most():
    # Counts 0..3 with p = 1 at 3; from count 2 of the second episode the adding action is not known.
    chain = TransitionDataset(
        [0, 1, 2, 3, 5, 6], [1, 1, 1, 1, 0, 0], [1, 2, 3, 4, 6, 7], [0, 0, 0, 1, 0, 0],
        labels={"count": np.array([0, 1, 2, 3, 3, 2, 1, 0])},
    )  # fmt: skip
    relation = empirical_bisimulation(chain)
    best = collect_next(relation, chain.labels["count"])[0]
    assert (best.observation, best.action, best.alike) in {(5, 1, 1), (6, 1, 1)}
    gains = {}
    for x in (5, 6):  # collect it for real: the outcome behaves as that of the same count in the first episode
        outcome = {5: 3, 6: 2}[x]
        more = TransitionDataset(
            np.append(chain.source, x), np.append(chain.action, 1), np.append(chain.successor, outcome),
            np.append(chain.auxiliary, 0), labels=chain.labels,
        )  # fmt: skip
        after = empirical_bisimulation(more)
        others = relation.sources[relation.sources != x]
        differs = chain.labels["count"][others] != chain.labels["count"][x]
        newly = (after.level(x, others) > 0) & (relation.level(x, others) == 0) & differs
        gains[x] = int(newly.sum())
    assert best.newly_certified == pytest.approx(gains[best.observation]) == max(gains.values())


def test_suggestions_are_for_actions_not_yet_seen():
    for seed in range(30):
        data = random_dataset(np.random.default_rng(seed), frames=12, actions=3, coverage=0.5)
        relation = empirical_bisimulation(data)
        labels = np.random.default_rng(seed).integers(3, size=data.frames)
        found = collect_next(relation, labels)
        gains = [each.newly_certified for each in found]
        assert gains == sorted(gains, reverse=True)
        successor = {(x, a): y for x, a, y in zip(data.source, data.action, data.successor, strict=True)}
        for each in found:
            reached = successor.get((each.observation, each.action))
            assert reached is None or reached not in relation.sources
            assert 0 < each.newly_certified <= len(relation.sources)


def test_no_two_suggestions_ask_for_the_same():
    fewer = 0
    for seed in range(20):
        data = random_dataset(np.random.default_rng(seed), frames=40, actions=2, coverage=0.5)
        relation, rng = empirical_bisimulation(data), np.random.default_rng(seed)
        labels, content = rng.integers(3, size=data.frames), rng.integers(4, size=data.frames)
        apart, joined = (collect_next(relation, labels, 40, each) for each in (None, content))
        for found, ids in ((apart, np.arange(data.frames)), (joined, content)):
            asked = [
                (ids[each.observation], each.action) if each.successor is None else ids[each.successor]
                for each in found
            ]
            assert len(set(asked)) == len(asked) > 0
        assert {(each.action, each.newly_certified) for each in joined} <= {
            (each.action, each.newly_certified) for each in collect_next(relation, labels, 40)
        }
        fewer += len(joined) < len(apart)
    assert fewer == 20


def test_another_source_is_suggested_where_the_first_looks_like_one_that_was():
    # Two kinds (counts 1 and 2), from none of which action 1 was tried; sources 1 and 3 look alike, 4 does not.
    data = TransitionDataset(
        [0, 1, 3, 4, 5, 6], [1, 0, 0, 0, 1, 1], [5, 0, 0, 0, 6, 0], [0, 0, 0, 0, 0, 1],
        labels={"count": np.array([0, 1, 9, 2, 2, 1, 2])},
    )  # fmt: skip
    relation = empirical_bisimulation(data)
    untried = {each.observation for each in collect_next(relation, data.labels["count"], 9) if each.action == 1}
    assert untried == {1, 3}
    alike = np.array([0, 1, 2, 1, 4, 5, 6])
    again = {each.observation for each in collect_next(relation, data.labels["count"], 9, alike) if each.action == 1}
    assert again in ({1, 4}, {3})


def test_the_order_of_the_candidates_changes_nothing():
    data = counting_episodes()
    found = {}
    for names in (["reward", "count"], ["count", "reward"]):
        report = analyse(data, candidates=names)
        assert (report.comparison.transitions, report.comparison.left_out) == (240, 0)
        found[tuple(names)] = {each.name: each for each in report.comparison.candidates}
    first, second = found.values()
    assert first == second


def test_a_stored_name_is_not_believed_of_other_values():
    data = counting_episodes()
    stored = with_auxiliary(data, auxiliary_values(data, "reward"), "reward")
    assert stored.metadata["auxiliary"] == "reward"
    other = analyse(stored, auxiliary="count", candidates=["reward", "count"])
    by_name = {each.name: each for each in other.comparison.candidates}
    assert by_name["reward"].pairs_per_level != by_name["count"].pairs_per_level
    assert other.auxiliary == "count"
    assert other.relation.distinguished_pairs_per_level == list(by_name["count"].pairs_per_level)


def test_large_integers_stay_apart_when_joined():
    values = np.array([2**60, 2**60 + 1, 2**60])
    data = TransitionDataset([0, 1, 2], [0, 0, 0], [0, 1, 2], labels={"a": values, "b": np.array([0.5, 0.5, 0.5])})
    alone, joined = compare(data, "a,a+b").candidates
    assert alone.classes == joined.classes == 2


def test_advice_never_repeats_what_was_done():
    kinds = set()
    for seed in range(6):
        data = counting_episodes(episodes=12, steps=3, seed=seed)
        if seed % 2:  # nothing is known of what is never a source, so one has to go on from there
            data = dataclasses.replace(data, auxiliary=data.labels["count"][data.source] == 2)
        else:
            data = with_auxiliary(data, auxiliary_values(data, "reward"), "reward")
        relation = empirical_bisimulation(data)
        labels = data.labels["count"]
        rows = zip(data.source.tolist(), data.action.tolist(), data.successor.tolist(), strict=True)
        done = {(x, a): y for x, a, y in rows}
        for each in collect_next(relation, labels, most=30):
            assert done.get((each.observation, each.action)) == each.successor
            assert each.observation not in data.successor[data.terminated]
            assert each.successor not in relation.sources
            same = relation.class_of(relation.observations) == relation.class_of(each.observation)
            assert each.alike == (same & (labels[relation.observations] == labels[each.observation])).sum()
            kinds.add(each.successor is None)
    assert kinds == {True, False}


def test_labels_of_another_shape_are_refused():
    data = counting_episodes()
    relation = empirical_bisimulation(with_auxiliary(data, auxiliary_values(data, "count"), "count"))
    for wrong in ([1, 2], np.zeros((data.frames, 2))):
        for ask in (relation.certified_share, relation.distinguished_within_label):
            with pytest.raises(DatasetError, match="labels: must be"):
                ask(wrong)
