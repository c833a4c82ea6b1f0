"""Episodes that are kept for measuring."""

import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset
from hypothesis import given
from hypothesis import strategies as st
from pjepa_agent.envs.splitting import hold_out, join_episodes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from support.toy_worlds import domain


@pytest.mark.parametrize("terminal", ["leaf", "absorb"])
def test_parts_are_disjoint_and_together_the_whole(terminal):
    made = domain(terminal=terminal)
    whole, parts = made.collect(0), made.held_out(0.2, 0)
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
    for part in domain(terminal="absorb").held_out(0.3, 1):
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
        domain(transitions=20).held_out(0.2, 0)
    assert "needs 2 episodes to measure with and 2 to train on, and there are 3" in str(caught.value)
    assert "collection.max_episode_steps" in str(caught.value)
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
