"""Files of OGBench: a compact dataset that OGBench made, and files in its layouts, whole and broken."""

from pathlib import Path

import numpy as np
import pytest
from bisim_theory import DatasetError, read_transitions
from support.written_rows import check_steps, joined, ogbench_columns, walk, write_ogbench

FIXTURE = Path(__file__).parents[2] / "fixtures" / "ogbench_compact.npz"


def of_states(recorded):
    """Rewards as OGBench adds them: of being at the frame of the row."""
    return (joined(recorded, "count") == 4).astype(np.float32) - 1


def into(recorded, rewards):
    """Recorded episodes with those rewards that belong to the steps into the rows."""
    ends = np.cumsum([len(episode["count"]) for episode in recorded])[:-1]
    pairs = zip(recorded, np.split(rewards, ends), strict=True)
    return [{**episode, "reward": reward[1:]} for episode, reward in pairs]


def test_a_compact_dataset_that_ogbench_made():
    recorded = walk(4)
    data = read_transitions(FIXTURE)
    np.testing.assert_array_equal(data.observation[:][data.source], joined(recorded, "observation", slice(-1)))
    np.testing.assert_array_equal(data.observation[:][data.successor], joined(recorded, "observation", slice(1, None)))
    np.testing.assert_array_equal(data.action, joined(recorded, "action"))
    np.testing.assert_array_equal(data.labels["button_states"], joined(recorded, "count"))
    assert data.reward is None


def test_the_file_and_its_compact_dataset_are_the_same_transitions(tmp_path):
    recorded = walk(12)
    columns = ogbench_columns(recorded)
    last = columns["terminals"].astype(np.float32)
    compact = {**columns, "valids": 1 - last, "terminals": np.minimum(last + np.append(last[1:], 1), 1)}
    np.savez(tmp_path / "compact.npz", **compact)
    for path in (write_ogbench(tmp_path / "file.npz", recorded), tmp_path / "compact.npz"):
        data = read_transitions(path)
        np.testing.assert_array_equal(data.labels["count"][data.source], joined(recorded, "count", slice(-1)))
        np.testing.assert_array_equal(data.labels["count"][data.successor], joined(recorded, "count", slice(1, None)))
        assert data.metadata["steps_without_successor"] == 12
        assert data.terminated is None
        np.testing.assert_array_equal(data.truncated, joined(recorded, "terminated"))


def test_rewards_are_of_being_at_a_frame_and_masks_end_no_episode(tmp_path):
    recorded = walk(12)
    rewards = of_states(recorded)
    path = write_ogbench(tmp_path / "d.npz", recorded, rewards=rewards, masks=-rewards)
    data = read_transitions(path)
    check_steps(data, into(recorded, rewards))
    np.testing.assert_array_equal(data.labels["rewards"], rewards)
    np.testing.assert_array_equal(data.labels["masks"], -rewards)
    assert (data.labels["masks"][data.source] == 0).any()  # a solved task that goes on


def test_images_stay_in_the_file(tmp_path):
    recorded = walk(3)
    states = joined(recorded, "count")
    images = np.broadcast_to((50 * states)[:, None, None, None], (len(states), 8, 8, 3)).astype(np.uint8)
    data = read_transitions(write_ogbench(tmp_path / "d.npz", recorded, observations=images))
    assert data.images
    assert not isinstance(data.observation, np.ndarray)
    np.testing.assert_array_equal(data.observation[::-3], images[::-3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda columns: columns.update(next_observations=columns["observations"]), "save its compact dataset"),
        (lambda columns: columns.update(terminals=columns["terminals"] * 2), r"terminals: must be \(N,\) of 0 and 1"),
        (
            lambda columns: columns.update(valids=~columns["terminals"]),
            "row 2 is 0, and by valids it must be 1",
        ),
        (lambda columns: columns.update(actions=columns["actions"][1:]), r"actions: is \(14,\), and there are 15 obs"),
        (
            lambda columns: columns.update(terminals=columns["terminals"] | np.append(columns["terminals"][1:], True)),
            "come in pairs, as in a compact dataset, whose valids are missing",
        ),
        (lambda columns: columns.update(terminals=columns["terminals"] | True), "no episode has two frames"),
    ],
)
def test_another_layout_is_refused(tmp_path, change, message):
    columns = ogbench_columns(walk(3))
    change(columns)
    np.savez(tmp_path / "d.npz", **columns)
    with pytest.raises(DatasetError, match=message) as found:
        read_transitions(tmp_path / "d.npz")
    assert str(found.value).startswith(str(tmp_path / "d.npz"))
