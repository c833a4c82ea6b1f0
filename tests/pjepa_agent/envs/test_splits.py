import dataclasses

import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, read_transitions, write_transitions
from bisim_theory.data.parts import episode_of_rows, first_episodes, join_episodes, take_frames, take_rows
from hypothesis import given
from hypothesis import strategies as st
from pjepa_agent.envs.splits import hold_out, with_action_values
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from support.toy_worlds import domain


def walks(lengths=(3, 2, 4, 1, 5), seed=0):
    """Draw episodes whose frames are numbered one after the other; frame n is the vector (n, n)."""
    rng = np.random.default_rng(seed)
    source, episode = [], []
    first = 0
    for number, length in enumerate(lengths):
        source += range(first, first + length)
        episode += [number] * length
        first += length + 1
    source, episode = np.array(source), np.array(episode)
    ends = np.append(np.diff(episode) > 0, True)
    frames = np.arange(first)[:, None].repeat(2, 1).astype(np.float32)
    return TransitionDataset(
        source, rng.choice([2, 5, 7], len(source)), source + 1, observation=frames, reward=rng.normal(size=len(source)),
        terminated=ends, episode=episode, labels={"number": np.arange(first)},
    )  # fmt: skip


def steps(data):
    """The transitions by what they say: the content of both frames, action and reward."""
    frames = data.observation[:]
    reward = np.zeros(len(data)) if data.reward is None else data.reward
    return {
        (float(frames[x, 0]), int(a), float(frames[y, 0]), float(r))
        for x, a, y, r in zip(data.source, data.action, data.successor, reward, strict=True)
    }


def test_what_is_not_said_of_episodes_follows_from_the_rows():
    data = walks()
    unsaid = dataclasses.replace(data, episode=None)
    np.testing.assert_array_equal(episode_of_rows(unsaid), episode_of_rows(data))


def test_frames_in_a_file_stay_there_for_training(tmp_path):
    write_transitions(tmp_path / "walks.npz", walks((2,) * 8))
    data = read_transitions(tmp_path / "walks.npz")
    train, held_out = hold_out(data, 0.25, 0)
    assert train.observation is data.observation
    assert isinstance(held_out.observation, np.ndarray)
    assert steps(train) | steps(held_out) == steps(data)


def test_kept_frames_are_those_of_the_rows_with_all_that_is_known_of_them():
    data = walks()
    known = np.arange(data.frames) % 3 > 0
    data = dataclasses.replace(data, observation_auxiliary=np.arange(data.frames), observation_auxiliary_known=known)
    part = take_frames(take_rows(data, data.episode % 2 == 1))
    assert steps(part) == steps(take_rows(data, data.episode % 2 == 1))
    frame = part.observation[:, 0].astype(int)
    assert part.frames == len(frame) == len(part) + 2
    np.testing.assert_array_equal(part.labels["number"], frame)
    np.testing.assert_array_equal(part.observation_auxiliary_known, known[frame])
    np.testing.assert_array_equal(part.observation_auxiliary, np.where(known[frame], frame, 0))


@pytest.mark.parametrize(("transitions", "episodes"), [(1, 1), (3, 1), (4, 1), (5, 2), (9, 3), (10, 4), (99, 5)])
def test_the_first_episodes_are_whole(transitions, episodes):
    part = first_episodes(walks(), transitions)
    assert set(part.episode) == set(range(episodes))
    assert len(part) == [3, 5, 9, 10, 15][episodes - 1]


def test_discrete_actions_become_one_hot_and_continuous_ones_stay():
    data = with_action_values(walks())
    assert data.metadata["one_hot_codes"] == [2, 5, 7]
    assert (np.array([2, 5, 7])[data.action_value.argmax(1)] == data.action).all()
    assert (data.action_value.sum(1) == 1).all()
    continuous = dataclasses.replace(data, action_value=np.ones((len(data), 2)))
    assert with_action_values(continuous).action_value.tolist() == [[1, 1]] * len(data)


@pytest.mark.parametrize("terminal", ["leaf", "absorb"])
def test_parts_are_disjoint_and_together_the_whole(terminal):
    made = domain(terminal=terminal)
    whole = made.collect(0)
    parts = hold_out(whole, 0.2, 0)
    assert sum(len(each) for each in parts) == len(whole)
    assert sum(each.frames for each in parts) == whole.frames
    names = [set(each.observation[:, 0, 0, 0].tolist()) for each in parts]
    episodes = [set(each.episode.tolist()) for each in parts]
    assert not episodes[0] & episodes[1]
    assert episodes[0] | episodes[1] == set(whole.episode.tolist())
    assert len(names[0]) > len(names[1]) > 5
    for part in parts:
        rows = np.isin(whole.episode, part.episode)
        for name in ("action", "reward", "terminated", "truncated", "episode"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows])
        for ids in ("source", "successor"):
            frames, all_frames = part.observation[getattr(part, ids)], whole.observation[getattr(whole, ids)[rows]]
            np.testing.assert_array_equal(frames, all_frames)
            np.testing.assert_array_equal(
                part.labels["place"][getattr(part, ids)], whole.labels["place"][getattr(whole, ids)[rows]]
            )


def test_absorbing_rows_stay_with_their_episode():
    for part in hold_out(domain(terminal="absorb").collect(1), 0.3, 1):
        loops = part.source == part.successor
        assert loops.any()
        assert np.isin(part.source[loops], part.successor[~loops]).all()


def test_a_seed_fixes_what_is_held_out():
    data = domain().collect(0)
    held = [set(hold_out(data, 0.2, seed)[1].episode.tolist()) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@given(st.floats(0.01, 0.9), st.integers(4, 60))
def test_the_share_is_of_the_episodes_with_two_at_least_on_each_side(share, episodes):
    ids = np.arange(episodes)
    data = TransitionDataset(source=2 * ids, action=ids * 0, successor=2 * ids + 1, episode=ids, size=2 * episodes)
    wanted = max(2, round(share * episodes))
    if episodes - wanted < 2:
        with pytest.raises(DatasetError, match="collect more"):
            hold_out(data, share, 0)
        return
    training, held = hold_out(data, share, 0)
    assert (len(training), len(held)) == (episodes - wanted, wanted)


def test_too_few_episodes_are_refused_in_one_line():
    with pytest.raises(DatasetError) as caught:
        hold_out(domain(transitions=20).collect(0), 0.2, 0)
    assert "needs 2 episodes to measure with and 2 to train on, and there are 3" in str(caught.value)
    assert "collection.max_episode_steps" in str(caught.value)
    assert "where data is given, store the observations of every step by themselves" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=12))
def test_episodes_with_observations_in_common_are_joined(rows):
    source, successor, episode = np.array(rows).T
    data = TransitionDataset(source=source, action=source * 0, successor=successor, episode=episode, size=13)
    joined = join_episodes(data)
    links = coo_array((np.ones(2 * len(rows)), ([*source, *successor], np.tile(episode + 13, 2))), shape=(26, 26))
    component = connected_components(links, directed=False)[1][episode + 13]
    assert ((joined[:, None] == joined) == (component[:, None] == component)).all()
    for number in np.unique(joined):
        assert number == episode[joined == number].min()


@given(st.integers(4, 40), st.integers(0, 40), st.floats(0.01, 0.9), st.integers(0, 5))
def test_episodes_that_terminate_are_held_out_in_the_same_share(others, ending, share, seed):
    lengths = (2,) * (others + ending)
    data = walks(lengths)
    data = dataclasses.replace(data, terminated=data.terminated & (data.episode < ending))
    try:
        train, held_out = hold_out(data, share, seed)
    except DatasetError:
        return
    number = sum(held_out.terminated)
    assert number + sum(train.terminated) == ending
    if ending > 1:
        assert 1 <= number < ending
    assert abs(number - len(set(held_out.episode)) * ending / len(lengths)) <= 1
