"""Files of robomimic: one whose observations robomimic extracted, and files in its layout, whole and broken."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, read_transitions
from support.written_rows import check_steps, joined, pictures, vectors, walk, write_robomimic

FIXTURE = Path(__file__).parents[2] / "fixtures" / "robomimic.hdf5"


def test_a_file_that_robomimic_extracted():
    recorded = walk(12)
    data = read_transitions(FIXTURE)
    check_steps(data, recorded, frames=False)
    states = joined(recorded, "count", slice(-1))
    np.testing.assert_array_equal(data.observation[:][data.source], np.column_stack([states, vectors(states)]))
    np.testing.assert_array_equal(data.terminated, joined(recorded, "terminated"))
    valid = np.isin(data.episode, [2, 10])
    np.testing.assert_array_equal(data.labels["mask/valid"][data.source], valid)
    np.testing.assert_array_equal(data.labels["mask/valid"][data.successor], valid)
    assert "steps_without_successor" not in data.metadata
    assert "an observation is count, place side by side" in data.metadata["convention"]
    assert "fit this reading of the rewards, and not the other one" in data.metadata["convention"]


def test_demonstrations_are_in_the_order_of_their_numbers(tmp_path):
    recorded = walk(12)
    with h5py.File(write_robomimic(tmp_path / "d.hdf5", recorded)) as file:
        assert list(file["data"])[:4] == ["demo_0", "demo_1", "demo_10", "demo_11"]
    check_steps(read_transitions(tmp_path / "d.hdf5"), recorded, frames=False)


def test_without_successors_the_next_row_follows_and_the_last_step_is_counted(tmp_path):
    recorded = walk(12)
    data = read_transitions(write_robomimic(tmp_path / "d.hdf5", recorded, following=False))
    kept = [{name: column[:-1] for name, column in episode.items()} for episode in recorded]
    check_steps(data, kept, frames=False)
    assert data.metadata["steps_without_successor"] == 12
    assert not data.terminated.any()


def test_a_last_successor_that_a_converter_filled_in_is_no_successor(tmp_path):
    recorded = walk(12)
    path = write_robomimic(tmp_path / "d.hdf5", recorded)
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            for name in demo["next_obs"]:
                demo[f"next_obs/{name}"][-1] = demo[f"obs/{name}"][-1]
    data = read_transitions(path)
    check_steps(data, [{name: column[:-1] for name, column in episode.items()} for episode in recorded], frames=False)
    assert data.metadata["steps_without_successor"] == 12
    assert "the last next_obs of each demonstration" in data.metadata["left_out"][0]
    assert data.frames == len(data) + 12


def test_an_image_is_kept_together_with_the_other_entries(tmp_path):
    recorded = walk(3)
    path = write_robomimic(tmp_path / "d.hdf5", recorded, images=True)
    data = read_transitions(path)
    check_steps(data, recorded, frames=False)
    assert data.images
    np.testing.assert_array_equal(
        data.observation[:][data.successor], pictures(joined(recorded, "count", slice(1, None)))
    )
    assert data.metadata["observation_parts"] == ["count", "place"]
    chosen = read_transitions(path, observation="place")
    np.testing.assert_array_equal(chosen.observation[:][chosen.source], joined(recorded, "observation", slice(-1)))
    assert any("eye, as the observation is place" in said for said in chosen.metadata["left_out"])
    assert "observation_parts" not in chosen.metadata
    with pytest.raises(DatasetError, match=r"--observation ear: is missing; obs has \['count', 'eye', 'place'\]"):
        read_transitions(path, observation="ear")


def test_several_images_need_a_choice(tmp_path):
    path = write_robomimic(tmp_path / "d.hdf5", walk(3), images=True)
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            demo["obs/hand"], demo["next_obs/hand"] = demo["obs/eye"][:], demo["next_obs/eye"][:]
    with pytest.raises(DatasetError, match=r"has 2 images, \['eye', 'hand'\]; choose one with --observation eye"):
        read_transitions(path)


def test_a_filter_that_names_others_is_left_out_which_is_said(tmp_path):
    masks = {"train": ["demo_0"], "other": ["demo_7"], "numbers": [1]}
    data = read_transitions(write_robomimic(tmp_path / "d.hdf5", walk(3), masks=masks))
    assert set(data.labels) >= {"mask/train"}
    assert not {"mask/other", "mask/numbers"} & set(data.labels)
    assert "'mask/other', which lists no demonstrations of the file" in data.metadata["left_out"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda demo: demo.__delitem__("obs"), "data/demo_1/obs: is missing, and other demonstrations have it"),
        (lambda demo: demo.__delitem__("next_obs"), "data/demo_1/next_obs: is missing, and other demonstrations"),
        (lambda demo: demo.__delitem__("rewards"), "data/demo_1/rewards: is missing, and other demonstrations have it"),
        (lambda demo: demo["obs"].__delitem__("place"), "data/demo_1/obs/place: is missing"),
        (lambda demo: demo["dones"].__setitem__(0, 2), "dones: must be (N,) of 0 and 1"),
        (
            lambda demo: replace(demo, "rewards", np.zeros(2)),
            "data/demo_1/rewards: has 2 rows, and there are 4 actions",
        ),
        (lambda demo: replace(demo, "obs/place", np.zeros((4, 3), np.float32)), "data/demo_1/obs/place: is (4, 3)"),
    ],
)
def test_another_layout_is_refused(tmp_path, change, message):
    path = write_robomimic(tmp_path / "d.hdf5", walk(3))
    with h5py.File(path, "a") as file:
        change(file["data/demo_1"])
    with pytest.raises(DatasetError) as found:
        read_transitions(path)
    assert message in str(found.value)
    assert str(found.value).startswith(str(path))


def replace(demo, name, values):
    del demo[name]
    demo[name] = values


def test_raw_demonstrations_are_refused_with_what_to_do(tmp_path):
    path = write_robomimic(tmp_path / "d.hdf5", walk(3))
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            del demo["obs"], demo["next_obs"]
    with pytest.raises(DatasetError, match=r"data/demo_0: has no obs, as robosuite records it; .*states_to_obs"):
        read_transitions(path)
