"""Lance tables: a fixture that stable-worldmodel wrote, and tables in its layout, whole and broken."""

import pickle
import shutil
from pathlib import Path

import lance
import numpy as np
import pyarrow
import pytest
from bisim_theory import DatasetError, read_transitions
from bisim_theory.cli import main
from support.written_rows import NO_ACTION, check_steps, collected, decoded, jpeg, pictures, walk, write_lance

FIXTURE = Path(__file__).parents[2] / "fixtures" / "ring.lance"


def rewrite(folder, change):
    """Change the columns of a table, given as a dictionary of Arrow arrays."""
    table = lance.dataset(str(folder)).to_table()
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    change(columns)
    shutil.rmtree(folder)
    lance.write_dataset(pyarrow.table(columns), str(folder))


def test_a_table_that_stable_worldmodel_wrote():
    recorded = walk(4)
    data = read_transitions(FIXTURE)
    check_steps(data, recorded, frames=False)
    np.testing.assert_array_equal(data.terminated, np.concatenate([episode["terminated"] for episode in recorded]))
    assert not data.truncated.any()
    assert "steps_without_successor" not in data.metadata
    assert "repeated steps fit this reading of the rewards, and not the other one" in data.metadata["convention"]
    assert data.labels["count"].dtype == np.int64  # floats in the table
    states = np.concatenate([episode["count"] for episode in recorded])
    difference = data.observation[:].astype(int) - pictures(states)
    assert abs(difference).max() <= 2
    assert data.images
    assert data.metadata["lossy_observations"] is True
    assert data.metadata["left_out"][0].startswith("which images are equal, as they are JPEG-coded")


def test_the_fixture_holds_the_fill_value_of_a_reset():
    action = lance.dataset(str(FIXTURE)).to_table(columns=["action"]).column("action").to_pylist()
    assert [float(NO_ACTION)] in action


def test_a_row_that_was_lost_with_the_reset_makes_no_difference_to_the_others(tmp_path):
    """Tables of before July 2026 lack the row of the reset, and have the first action at the end of the episode."""
    recorded = walk(6)

    def without_reset(episode):
        rows = {name: column[1:] for name, column in collected(episode).items()}
        return {**rows, "action": np.append(episode["action"][1:], episode["action"][0])}

    data = read_transitions(write_lance(tmp_path / "old.lance", recorded, collect=without_reset))
    shorter = [{name: column[1:] for name, column in episode.items()} for episode in recorded]
    check_steps(data, shorter, frames=False)


def test_a_folder_that_holds_one_table_names_it(tmp_path):
    recorded = walk(3)
    write_lance(tmp_path / "d" / "ring.lance", recorded)
    write_lance(tmp_path / "d" / "ring_episodes.lance", recorded)
    check_steps(read_transitions(tmp_path / "d"), recorded, frames=False)
    write_lance(tmp_path / "d" / "other.lance", recorded)
    with pytest.raises(DatasetError, match="is none of"):
        read_transitions(tmp_path / "d")


def test_continuous_actions(tmp_path):
    recorded = walk(3)
    for episode in recorded:
        episode["action"] = episode["action"] - 0.5
    folder = write_lance(tmp_path / "d.lance", recorded)
    with pytest.raises(DatasetError, match="continuous; name how"):
        read_transitions(folder)
    data = read_transitions(folder, actions="sign")
    np.testing.assert_array_equal(data.action_value[:, 0], np.concatenate([each["action"] for each in recorded]))
    assert "taken as codes" not in data.metadata["convention"]


def test_whole_actions_are_codes_unless_an_abstraction_is_named(tmp_path):
    folder = write_lance(tmp_path / "d.lance", walk(3))
    assert "being whole numbers, taken as codes" in read_transitions(folder).metadata["convention"]
    assert read_transitions(folder, actions="bins:2").action_value.shape[1] == 1


def test_frames_are_decoded_as_pillow_does_and_travel_to_other_processes(tmp_path):
    frames = read_transitions(FIXTURE).observation
    blobs = lance.dataset(str(FIXTURE)).to_table(columns=["pixels"]).column("pixels").to_pylist()
    expected = np.stack([decoded(blob) for blob in blobs])
    np.testing.assert_array_equal(frames[::-2], expected[::-2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(frames))[3:5], expected[3:5])


def test_one_of_several_images_is_chosen(tmp_path):
    def two(episode):
        rows = collected(episode)
        rows["pixels_left"], rows["pixels_right"] = 255 - rows["pixels"], rows.pop("pixels")
        return rows

    folder = write_lance(tmp_path / "d.lance", walk(3), collect=two)
    with pytest.raises(DatasetError, match=r"has several images; choose one with --observation, of \['pixels_left'"):
        read_transitions(folder)
    data = read_transitions(folder, observation="pixels_left")
    assert data.observation[:].max() == 255
    assert data.metadata["left_out"][1:] == ["pixels_right: another image, which --observation can choose"]
    np.testing.assert_array_equal(
        read_transitions(folder, observation="state").observation[0], walk(3)[0]["observation"][0]
    )
    with pytest.raises(DatasetError, match="--observation eye: is missing; it has"):
        read_transitions(folder, observation="eye")


def test_a_table_without_images_has_no_observation_unless_it_is_named_so(tmp_path):
    def plain(episode):
        rows = collected(episode)
        del rows["pixels"]
        return rows

    folder = write_lance(tmp_path / "d.lance", walk(3), collect=plain)
    data = read_transitions(folder)
    assert data.observation is None
    assert "could not be tested, since there are no observations" in data.metadata["convention"]
    rewrite(folder, lambda columns: columns.update(observation=columns.pop("state")))
    check_steps(read_transitions(folder), walk(3))


def gap(columns):
    keep = pyarrow.array(np.arange(len(columns["action"])) != 2)
    columns.update({name: column.filter(keep) for name, column in columns.items()})


def mingle(columns):
    order = pyarrow.array(np.argsort(np.arange(len(columns["action"])) % 2, kind="stable"))
    columns.update({name: column.take(order) for name, column in columns.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (gap, "step_idx: row 2 holds 3, so rows are missing; write it again"),
        (mingle, "episode_idx: the rows of an episode do not follow one another"),
        (lambda columns: columns.pop("action"), "action: is missing, or holds no numbers; the table must have"),
        (lambda columns: columns.update(terminated=columns["reward"]), "terminated: must be one number a row, 0 or 1"),
        (
            lambda columns: columns.update(pixels=pyarrow.array([b"\xff\xd8"] * len(columns["action"]))),
            "pixels: row 0 is no image",
        ),
    ],
)
def test_another_table_is_refused_in_one_line(tmp_path, change, message):
    folder = write_lance(tmp_path / "d.lance", walk(3))
    rewrite(folder, change)
    with pytest.raises(DatasetError) as found:
        read_transitions(folder)
    assert message in str(found.value)
    assert str(found.value).startswith(str(folder))


def test_images_of_another_size_are_refused(tmp_path):
    folder = write_lance(tmp_path / "d.lance", walk(3))

    def enlarge(columns):
        blobs = columns["pixels"].to_pylist()
        blobs[5] = jpeg(np.zeros((8, 8, 3), np.uint8))
        columns["pixels"] = pyarrow.array(blobs, pyarrow.binary())

    rewrite(folder, enlarge)
    with pytest.raises(DatasetError, match=r"pixels: row 5 is an image \(8, 8, 3\), row 0 is \(16, 16, 3\)"):
        read_transitions(folder).observation[:]


def test_text_is_left_out_which_is_said(tmp_path):
    folder = write_lance(tmp_path / "d.lance", walk(3))
    rewrite(folder, lambda columns: columns.update(note=pyarrow.array(["x"] * len(columns["action"]))))
    assert read_transitions(folder).metadata["left_out"][1:] == ["note: holds no numbers"]


def test_a_panic_of_lance_is_one_line(tmp_path, capfd):
    folder = write_lance(tmp_path / "d.lance", walk(3))
    manifest = next((folder / "_versions").glob("*.manifest"))
    content = bytearray(manifest.read_bytes())
    for start in range(0, len(content), 40):
        manifest.write_bytes(content[:start] + b"\xff\xff\xff\x7f" + content[start + 4 :])
        status = main([str(folder), "--auxiliary", "reward"])
        error = capfd.readouterr().err
        assert status in (0, 2)
        assert status == 0 or error.count("\n") == 1, error  # Lance may warn of what it can do without
        assert "panicked" not in error


def test_a_link_out_of_the_table_is_refused(tmp_path):
    folder = write_lance(tmp_path / "d.lance", walk(3))
    file = next((folder / "data").iterdir())
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="is a link that leads out of"):
        read_transitions(folder)
