import numpy as np
import pytest
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.counting import CountingDomain


@pytest.fixture(scope="module")
def data():
    return CountingDomain(CollectionConfig(transitions=600, target=4, max_episode_steps=6, action_repeat=4)).collect(
        seed=3
    )


def test_transitions_obey_the_rules_of_the_world(data):
    count = data.labels["count"]
    before, after = count[data.source], count[data.successor]
    adds = data.action_value[:, 0] >= 0
    assert (data.action == adds).all()
    assert (after == np.clip(before + np.where(adds, 1, -1), 0, 8)).all()
    assert (data.auxiliary == (before == 4)).all()
    assert (data.reward == (after == 4)).all()
    assert (data.terminated == (before == 4)).all()


def test_every_frame_is_kept_once_and_no_step_crosses_episodes(data):
    assert len(data) == 600
    used = np.unique(np.concatenate([data.source, data.successor]))
    assert (used == np.arange(data.frames)).all()
    ended = data.terminated | data.truncated
    same = data.episode[1:] == data.episode[:-1]
    assert (same == ~ended[:-1]).all()
    assert (data.source[1:][same] == data.successor[:-1][same]).all()
    assert (data.source[1:][~same] == data.successor[:-1][~same] + 1).all()
    lengths = np.bincount(data.episode)[:-1]
    assert lengths.max() == 6


def test_an_action_is_held_for_four_steps_and_never_across_episodes(data):
    steps = np.concatenate([np.arange(n) for n in np.bincount(data.episode)])
    action = data.action_value[:, 0]
    changed = action[1:] != action[:-1]
    expected = (steps[1:] == 0) | (steps[1:] % 4 == 0)
    assert (changed == expected).all()


def test_labels_describe_the_frames(data):
    images = data.observation
    count, color = data.labels["count"], data.labels["color"]
    lit = images.any(-1)
    assert ((count == 0) == ~lit.any((1, 2))).all()
    for i in np.flatnonzero(count)[:50]:
        assert (images[i][lit[i]] == color[i]).all()
        centres = data.labels["positions"][i].reshape(-1, 2)[: count[i]]
        assert lit[i][tuple(centres.T)].all()


def test_a_seed_fixes_the_data(data):
    config = CollectionConfig(transitions=600, target=4, max_episode_steps=6, action_repeat=4)
    again, other = CountingDomain(config).collect(seed=3), CountingDomain(config).collect(seed=4)
    np.testing.assert_array_equal(again.observation, data.observation)
    np.testing.assert_array_equal(again.action_value, data.action_value)
    assert abs(other.action_value - data.action_value).max() > 0


def test_balanced_observations_have_every_count_equally_often():
    images, labels = CountingDomain(CollectionConfig()).balanced_observations(3, seed=0)
    counts = labels["count"]
    assert counts.tolist() == np.repeat(np.arange(9), 3).tolist()
    assert ((counts == 0) == ~images.any((1, 2, 3))).all()
    assert len(np.unique(images[counts > 0], axis=0)) == 24
    for i in np.flatnonzero(counts):
        assert (images[i][images[i].any(-1)] == labels["color"][i]).all()


def test_a_redrawn_scene_is_the_same_objects_at_other_places():
    images, scenes = CountingDomain(CollectionConfig()).redrawn_scenes(per_count=2, views=3, seed=0)
    assert scenes.tolist() == np.repeat(np.arange(16), 3).tolist()
    for scene in range(16):
        views = images[scenes == scene]
        lit = views.any(-1)
        assert len(np.unique(views[lit], axis=0)) == 1
        assert len(set(lit.sum((1, 2)).tolist())) == 1
        assert len(np.unique(views, axis=0)) == 3
