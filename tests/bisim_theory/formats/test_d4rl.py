"""Flat HDF5 files like those of D4RL, with their traps."""

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, read_transitions
from support.written_rows import joined, pictures, walk, write_d4rl


def cut_off(recorded):
    """Let every other episode be cut off instead of terminated."""
    for episode in recorded[::2]:
        episode["terminated"], episode["truncated"] = episode["truncated"], episode["terminated"]
    return recorded


def without_last(recorded):
    """Episodes without their last step."""
    short = ("action", "reward", "terminated", "truncated")
    return [{name: each[:-1] for name, each in episode.items() if name in (*short, "count")} for episode in recorded]


def test_the_next_row_follows_except_across_ends(tmp_path):
    recorded = cut_off(walk(12))
    data = read_transitions(write_d4rl(tmp_path / "d.hdf5", recorded))
    kept = without_last(recorded)
    np.testing.assert_array_equal(data.labels["infos/count"][data.source], joined(kept, "count", slice(-1)))
    np.testing.assert_array_equal(data.labels["infos/count"][data.successor], joined(kept, "count", slice(1, None)))
    np.testing.assert_array_equal(data.action, joined(kept, "action"))
    np.testing.assert_array_equal(data.reward, joined(kept, "reward"))
    assert not data.terminated.any()
    assert not data.truncated.any()
    assert data.metadata["steps_without_successor"] == 12
    assert "fit this reading of the rewards, and not the other one" in data.metadata["convention"]


def test_stored_successors_are_one_occurrence_with_the_next_row_where_they_are_equal(tmp_path):
    recorded = cut_off(walk(12))
    data = read_transitions(write_d4rl(tmp_path / "d.hdf5", recorded, following=True))
    frames = data.observation[:]
    np.testing.assert_array_equal(frames[data.source], joined(recorded, "observation", slice(-1)))
    np.testing.assert_array_equal(frames[data.successor], joined(recorded, "observation", slice(1, None)))
    for name in ("action", "reward", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(data, name), joined(recorded, name))
    assert data.frames == sum(len(episode["observation"]) for episode in recorded)
    assert data.episode.max() == 11
    assert "steps_without_successor" not in data.metadata
    assert data.metadata["left_out"] == ["infos/count, unknown of 12 successors"]
    assert data.metadata["convention"].endswith(
        f"{len(data) - 12} of {len(data)} successors are the frame of the next row, equal to it"
    )


def test_a_successor_that_is_not_the_next_row_has_an_id_of_its_own(tmp_path):
    recorded = walk(3)
    following = joined(recorded, "observation", slice(1, None))
    following[0] += 0.5
    data = read_transitions(write_d4rl(tmp_path / "d.hdf5", recorded, following=True, next_observations=following))
    assert data.successor[0] >= len(data)
    np.testing.assert_array_equal(data.observation[int(data.successor[0])], following[0])


def test_successors_that_are_the_next_episodes_first_frames_are_none(tmp_path):
    """A file of `d4rl.qlearning_dataset`, which shifts the observations by one row."""
    recorded = walk(12)
    rows = joined(recorded, "observation", slice(-1))
    following = np.concatenate([rows[1:], rows[:1]])
    data = read_transitions(write_d4rl(tmp_path / "d.hdf5", recorded, following=True, next_observations=following))
    kept = without_last(recorded)
    np.testing.assert_array_equal(data.action, joined(kept, "action"))
    np.testing.assert_array_equal(data.labels["infos/count"][data.successor], joined(kept, "count", slice(1, None)))
    assert data.metadata["steps_without_successor"] == 12
    assert "the first observation of the next episode" in data.metadata["left_out"][0]


def test_a_file_without_timeouts_says_what_that_may_join(tmp_path):
    data = read_transitions(write_d4rl(tmp_path / "d.hdf5", walk(3), timeouts=None))
    assert "an episode that was cut off is taken to run on into the next" in data.metadata["convention"]
    assert data.truncated is None
    data = read_transitions(write_d4rl(tmp_path / "e.hdf5", walk(3), following=True, timeouts=None))
    assert "run on" not in data.metadata["convention"]


def test_rewards_that_are_off_by_one_are_noticed(tmp_path):
    recorded = walk(40)
    rewards = np.append(0, joined(recorded, "reward")[:-1])
    data = read_transitions(write_d4rl(tmp_path / "d.hdf5", recorded, rewards=rewards))
    assert "contradict it: the rewards look like those of the step into the row" in data.metadata["convention"]


def test_images_and_continuous_actions(tmp_path):
    recorded = walk(3)
    images = pictures(joined(recorded, "count", slice(-1)), 8)
    actions = np.stack([joined(recorded, "action") - 0.5] * 2, 1)
    path = write_d4rl(tmp_path / "d.hdf5", recorded, observations=np.moveaxis(images, -1, 1), actions=actions)
    with pytest.raises(DatasetError, match="continuous; name how"):
        read_transitions(path)
    data = read_transitions(path, actions="sign")
    assert data.images
    np.testing.assert_array_equal(data.observation[:], images)
    assert set(data.action) <= {0, 3}


def test_what_is_no_column_is_left_out_which_is_said(tmp_path):
    path = write_d4rl(tmp_path / "d.hdf5", walk(3))
    with h5py.File(path, "a") as file:
        file["metadata/algorithm"] = "SAC"
        file["weights"] = np.zeros(3)
    assert read_transitions(path).metadata["left_out"] == [
        "metadata, weights: no numbers, one row for each observation"
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"terminals": np.full(12, 2)}, r"terminals: must be \(N,\) of 0 and 1"),
        ({"rewards": np.zeros(5)}, r"rewards: is \(5,\), and there are 12 observations"),
        (
            {"next_observations": np.zeros((12, 3), np.float32)},
            r"next_observations: is \(12, 3\) float32",
        ),
        ({"terminals": np.ones(12, bool)}, "no episode has two frames"),
    ],
)
def test_another_layout_is_refused(tmp_path, more, message):
    path = write_d4rl(tmp_path / "d.hdf5", walk(3), **more)
    with pytest.raises(DatasetError, match=message) as found:
        read_transitions(path)
    assert str(found.value).startswith(str(path))
