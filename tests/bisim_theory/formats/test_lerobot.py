"""LeRobot datasets: a fixture that LeRobot wrote, and folders in its layout, whole and broken."""

import builtins
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from bisim_theory import DatasetError, read_transitions
from bisim_theory.cli import main
from support.written_rows import check_steps, walk, write_lerobot

FIXTURE = Path(__file__).parents[2] / "fixtures" / "lerobot"
EPISODES, DATA = "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"


def edit(path, change):
    """Change the columns of a Parquet file, given as a dictionary of lists."""
    columns = pyarrow.parquet.read_table(path).to_pydict()
    change(columns)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def edit_info(folder, **changes):
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_dataset_that_lerobot_wrote():
    data = read_transitions(FIXTURE)
    check_steps(data, walk(4))
    assert data.metadata["steps_without_successor"] == 4
    assert "repeated steps fit this reading of the rewards, and not the other one" in data.metadata["convention"]
    assert set(data.labels) == {"count", "frame_index", "task_index", "timestamp"}


def test_episodes_in_several_files(tmp_path):
    recorded = walk(12)
    check_steps(read_transitions(write_lerobot(tmp_path / "d", recorded, per_file=5)), recorded)


def test_continuous_actions_need_a_name(tmp_path):
    recorded = walk(3)
    for episode in recorded:
        episode["action"] = np.stack([episode["action"] - 0.5, np.ones(len(episode["action"]))], 1)
    folder = write_lerobot(tmp_path / "d", recorded)
    with pytest.raises(DatasetError, match="continuous; name how"):
        read_transitions(folder)
    data = read_transitions(folder, actions="sign")
    np.testing.assert_array_equal(data.action_value, np.concatenate([episode["action"] for episode in recorded]))


def test_rewards_that_a_converter_left_at_the_row_they_lead_to_are_noticed(tmp_path):
    recorded = walk(12)
    for episode in recorded:  # as without the shift by one row
        episode["reward"] = np.append(0, episode["reward"]).astype(np.float32)
    data = read_transitions(write_lerobot(tmp_path / "d", recorded))
    assert (
        "contradict it: the rewards look like those of the step into the row, off by one" in data.metadata["convention"]
    )


def test_several_observations_stand_side_by_side_or_one_is_chosen(tmp_path):
    recorded = walk(3)
    more = [np.arange(len(episode["count"])) for episode in recorded]
    folder = write_lerobot(tmp_path / "d", recorded, **{"observation.clock": more})
    data = read_transitions(folder)
    assert data.observation.shape == (data.frames, 3)
    np.testing.assert_array_equal(np.asarray(data.observation)[:, 2], np.concatenate(more))
    chosen = read_transitions(folder, observation="observation.clock")
    np.testing.assert_array_equal(np.asarray(chosen.observation), np.concatenate(more))
    np.testing.assert_array_equal(chosen.labels["observation.state"], np.asarray(data.observation)[:, :2])
    assert read_transitions(folder, observation="clock").observation.shape == chosen.observation.shape
    with pytest.raises(DatasetError, match=r"--observation eye: is missing, or holds no numbers; it has"):
        read_transitions(folder, observation="eye")


def test_videos_are_not_decoded_which_is_said(tmp_path):
    folder = write_lerobot(tmp_path / "d", walk(3))
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    edit_info(folder, features={**features, "observation.eye": {"dtype": "video", "shape": [8, 8, 3]}})
    left_out = read_transitions(folder).metadata["left_out"]
    assert left_out[0] == (
        "observation.eye: is no number and is not decoded, so observations are compared by observation.state alone"
    )


def test_a_dataset_of_videos_alone_is_read_by_occurrence(tmp_path):
    folder = write_lerobot(tmp_path / "d", walk(3))
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    features["observation.state"]["dtype"] = "video"
    edit_info(folder, features=features)
    data = read_transitions(folder)
    assert data.observation is None
    assert data.frames == sum(len(episode["count"]) for episode in walk(3))
    with pytest.raises(DatasetError, match="observation: is needed to compare contents"):
        data.content_ids()


def test_rewards_are_optional(tmp_path):
    folder = write_lerobot(tmp_path / "d", walk(3))
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    edit_info(folder, features={name: each for name, each in features.items() if not name.startswith("next.")})
    data = read_transitions(folder)
    assert data.reward is None
    assert data.metadata["convention"].endswith("its successor")


def test_a_column_that_the_description_lacks_is_left_out_which_is_said(tmp_path):
    folder = write_lerobot(tmp_path / "d", walk(3))
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    del features["observation.state"]
    edit_info(folder, features=features)
    data = read_transitions(folder)
    assert data.observation is None
    assert "observation.state: is no feature of meta/info.json" in data.metadata["left_out"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v2.1"}, "is 'v2.1'; convert it with lerobot: python -m lerobot.scripts.convert_dataset"),
        ({"codebase_version": "v4.0"}, "is 'v4.0'; versions v3.x are read"),
        ({"codebase_version": None}, "is None; versions v3.x are read"),
        ({"storage_format": "lance"}, "keeps its rows as 'lance'"),
        ({"data_path": "{chunk_index.__class__}"}, "keeps its rows as 'parquet' in '{chunk_index.__class__}'"),
        ({"total_episodes": 4}, "lists 3 episodes that are not 0 to 3, each once"),
        ({"total_frames": 16}, "total_frames: is 16, and the episodes have 15"),
        ({"features": [1]}, "features: must be an object"),
    ],
)
def test_another_description_is_refused_with_what_to_do(tmp_path, changes, message, capsys):
    folder = write_lerobot(tmp_path / "d", walk(3))
    edit_info(folder, **changes)
    assert main([str(folder), "--auxiliary", "reward"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def shorten(columns):
    columns["length"][1] -= 1


def overlap(columns):
    columns["dataset_from_index"][1] -= 1
    columns["length"][1] += 1


def swap(columns):
    """Give two episodes of different lengths each other's rows; alone, the map is consistent."""
    lengths = [columns["length"][number] for number in (1, 0, 2)]
    columns["length"] = lengths
    columns["dataset_to_index"] = np.cumsum(lengths).tolist()
    columns["dataset_from_index"] = [0, *columns["dataset_to_index"][:-1]]


def repeat(columns):
    columns["episode_index"][2] = 1


def scatter(columns):
    columns["data/file_index"] = [0, 1, 0]


def misplace(columns):
    columns["data/file_index"] = [7, 7, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorten, "episode 1 of length 4 is said to be rows 4 to 9"),
        (overlap, "episode 1 of length 6 is said to be rows 3 to 9"),
        (swap, "episode_index: row 4 holds 1, and by meta/episodes it must be 0"),
        (repeat, "lists 3 episodes that are not 0 to 2, each once"),
        (scatter, "the episodes of one data file do not follow one another"),
        (misplace, "file-007.parquet: is missing"),
    ],
)
def test_a_broken_map_of_episodes_is_refused(tmp_path, change, message):
    folder = write_lerobot(tmp_path / "d", walk(3))
    edit(folder / EPISODES, change)
    with pytest.raises(DatasetError) as found:
        read_transitions(folder)
    assert message in str(found.value)
    assert str(found.value).startswith(str(folder))


def test_rows_that_are_missing_or_out_of_order_are_refused(tmp_path):
    folder = write_lerobot(tmp_path / "d", walk(3))
    edit(folder / DATA, lambda columns: columns["frame_index"].reverse())
    with pytest.raises(DatasetError, match="frame_index: row 0 holds 5, and by meta/episodes it must be 0"):
        read_transitions(folder)
    edit(folder / DATA, lambda columns: [column.pop() for column in columns.values()])
    with pytest.raises(DatasetError, match="has 14 rows, and its episodes have 15"):
        read_transitions(folder)


def test_a_missing_value_is_refused(tmp_path):
    folder = write_lerobot(tmp_path / "d", walk(3))
    edit(folder / DATA, lambda columns: columns["next.reward"].__setitem__(3, None))
    with pytest.raises(DatasetError, match=r"next\.reward: a value is missing \(null\)"):
        read_transitions(folder)


def test_without_pyarrow_the_message_names_the_extra(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *more, **named):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *more, **named)

    folder = write_lerobot(tmp_path / "d", walk(3))
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DatasetError, match=r"the extra lerobot: pip install './packages/bisim-theory\[lerobot\]'"):
        read_transitions(folder)


def test_an_id_is_found_in_the_local_store(tmp_path, monkeypatch):
    recorded = walk(3)
    write_lerobot(tmp_path / "me" / "ring", recorded)
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "me")
    check_steps(read_transitions("me/ring"), recorded)
    with pytest.raises(DatasetError) as caught:
        read_transitions("me/other")
    assert str(caught.value) == (
        "me/other: does not exist, and there is no dataset of that id in "
        f"LeRobot's store {tmp_path} (HF_LEROBOT_HOME names another)"
    )
