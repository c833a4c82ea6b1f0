"""Datasets that Minari's own storage wrote."""

import io
import json
import random

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, analyse, read_transitions, to_text, write_transitions
from bisim_theory.formats import resolve
from bisim_theory.formats.hdf5_arrays import Hdf5File
from bisim_theory.formats.jpeg import EncodedImages
from gymnasium import spaces
from minari.serialization import serialize_space
from PIL import Image
from support.checks import check
from support.mutations import MUTATIONS
from support.written_datasets import record, record_vectors, spaces_of, write_minari


def test_by_its_id_in_the_local_store_and_by_the_folder_around_it(tmp_path, monkeypatch):
    recorded = record(2)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    folder = tmp_path / "counting" / "test-v0"
    write_minari(folder / "data", recorded)
    for path in ("counting/test-v0", folder, folder / "data"):
        check(read_transitions(path), recorded)
    assert resolve("counting/test-v0") == (folder, None)
    with pytest.raises(DatasetError) as caught:
        read_transitions("counting/test-v1")
    assert f" in Minari's store {tmp_path} (MINARI_DATASETS_PATH names another)" in str(caught.value)
    with pytest.raises(DatasetError, match=r"data\.npz: does not exist$"):  # which is no id
        read_transitions("data.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["counting"]


def jpeg(image):
    """An image after Pillow has coded and decoded it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG")
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("steps", [1, 4])
def test_images_in_jpeg_are_decoded_and_told_apart_by_occurrence(tmp_path, steps):
    recorded = record(2, steps=steps)
    data = read_transitions(write_minari(tmp_path / "d", recorded, jpeg_encoding=True))
    for episode in recorded:
        episode["observation"] = np.stack([jpeg(image) for image in episode["observation"]])
    check(data, recorded)
    assert data.lossy
    assert data.images
    report = analyse(data, auxiliary="reward")
    assert (report.identity, report.content) == ("occurrence", None)
    assert f"Left out: {data.metadata['left_out'][0]}\n" in to_text(report)
    assert "JPEG" in data.metadata["left_out"][0]
    for options in ({"identity": "content"}, {"auxiliary": "random"}):
        with pytest.raises(DatasetError, match="observation: holds JPEG-coded images, of which equal ones may differ"):
            analyse(data, **{"auxiliary": "reward", **options})
    write_transitions(tmp_path / "t.npz", data)
    assert read_transitions(tmp_path / "t.npz").lossy


def test_a_damaged_image_is_named_with_its_array(tmp_path):
    folder = write_minari(tmp_path / "d", record(1), jpeg_encoding=True)
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        encoded = file["episode_0/observations"]
        encoded[1] = encoded[1][:100]
    data = read_transitions(folder)
    with pytest.raises(DatasetError, match=r"main_data.hdf5: episode_0/observations: is damaged \("):
        data.observation[:3]
    assert data.observation[0].shape == data.observation.shape[1:]


def test_images_of_another_size_are_not_decoded(tmp_path, monkeypatch):
    folder = write_minari(tmp_path / "d", record(1), jpeg_encoding=True)
    file = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(file, "JPEG")
    with h5py.File(folder / "main_data.hdf5", "a") as hdf5:
        encoded = hdf5["episode_0/observations"]
        encoded = [np.frombuffer(file.getvalue(), "u1"), *encoded[1:]]
        del hdf5["episode_0/observations"]
        hdf5.create_dataset("episode_0/observations", data=encoded, dtype=h5py.vlen_dtype(np.uint8))
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(DatasetError, match="an image has 8000 x 8000 pixels, not 32 x 32"):
        read_transitions(folder).observation[0]


def test_vectors_do_not_suffer_from_the_flag(tmp_path):
    recorded = record_vectors()
    check(read_transitions(write_minari(tmp_path / "d", recorded, jpeg_encoding=True), actions="sign"), recorded, False)


# Observations of several entries


def nested(recorded):
    """A space that holds the recorded images beside other entries, and the function that makes observations of it."""
    image, _ = spaces_of(recorded)
    inner = spaces.Dict({"image": image, "n": spaces.Box(0, 1, (2, 2), np.float32), "task": spaces.Text(9)})
    space = spaces.Dict({"view": spaces.Tuple([inner, spaces.Discrete(3)])})

    def observe(frames):
        rest = np.arange(4 * len(frames), dtype=np.float32).reshape(-1, 2, 2)
        return {"view": ({"image": frames, "n": rest, "task": ["go"] * len(frames)}, np.arange(len(frames)) % 3)}

    return {"observe": observe, "space": space}


@pytest.mark.parametrize("jpeg_encoding", [False, True])
def test_an_image_is_kept_together_with_the_other_entries(tmp_path, jpeg_encoding):
    recorded = record(2)
    folder = write_minari(tmp_path / "d", recorded, jpeg_encoding=jpeg_encoding, **nested(recorded))
    data = read_transitions(folder)
    if not jpeg_encoding:
        check(data, recorded)
    image, vector, number = "view/_index_0/image", "view/_index_0/n", "view/_index_1"
    assert data.metadata["observation_parts"] == [vector, number]
    assert data.metadata["convention"].endswith(f"; an observation is {image} together with {vector}, {number}")
    frames = [len(episode["observation"]) for episode in recorded]
    np.testing.assert_array_equal(data.labels[number], np.concatenate([np.arange(n) % 3 for n in frames]))
    rows = np.concatenate([np.arange(4 * n).reshape(n, 4) for n in frames])
    np.testing.assert_array_equal(data.labels[vector], rows)
    assert data.metadata["left_out"][0] == "view/_index_0/task, of the space 'Text', which holds no numbers"


def test_observations_that_differ_in_an_entry_beside_the_image_are_two(tmp_path):
    """What is seen next depends on a direction that the image does not show."""
    rows = {0: [1, 2, 3], 1: [1, 4, 3]}
    recorded = [
        {
            "observation": np.array(images, np.uint8)[:, None, None, None] + np.zeros((3, 7, 7, 3), np.uint8),
            "action": np.zeros(2, int),
            "reward": np.zeros(2),
            "terminated": np.zeros(2, bool),
            "truncated": np.array([False, True]),
        }
        for images in rows.values()
    ]
    directions = iter(rows)

    def observe(frames):
        return {"direction": np.full(len(frames), next(directions)), "image": frames}

    image, _ = spaces_of(recorded)
    space = spaces.Dict({"direction": spaces.Discrete(4), "image": image})
    folder = write_minari(tmp_path / "d", recorded, observe=observe, space=space)
    data = read_transitions(folder)
    assert analyse(data, identity="content", auxiliary="constant").content.conflicts == 0
    assert data.content_ids().tolist() == list(range(6))
    assert analyse(data, auxiliary="direction").relation.distinguished_pairs_per_level == [9]
    write_transitions(tmp_path / "t.npz", data)
    assert read_transitions(tmp_path / "t.npz").content_ids().tolist() == list(range(6))

    alone = read_transitions(folder, observation="image")
    check(alone, recorded)
    assert alone.content_ids().tolist() == [0, 1, 2, 0, 4, 2]
    sentence = "direction, as the observation is image; it is the label direction (--observation direction takes it)"
    assert alone.metadata["left_out"] == [sentence]
    assert alone.labels["direction"].tolist() == [0, 0, 0, 1, 1, 1]
    report = analyse(alone, auxiliary="constant", identity="occurrence")
    assert report.content.conflicts == 1
    assert f"Left out: {sentence}\n" in to_text(report)

    numbers = read_transitions(folder, observation="direction")
    assert numbers.observation[:].tolist() == [0, 0, 0, 1, 1, 1]
    assert numbers.metadata["left_out"] == ["image, as the observation is direction (--observation image takes it)"]
    with pytest.raises(DatasetError, match=r"--observation x: is none of its observations, \['direction', 'image'\]"):
        read_transitions(folder, observation="x")


def test_entries_without_an_image_become_one_vector_in_the_order_of_the_space(tmp_path):
    recorded = record_vectors()

    def observe(frames):
        return {"observation": frames, "achieved": np.arange(len(frames)), "desired": frames[:, None, :2] > 0}

    space = spaces.Dict(
        {
            "observation": spaces.Box(-9, 9, (3,), np.float32),
            "achieved": spaces.Discrete(99),
            "desired": spaces.MultiBinary((1, 2)),
        }
    )
    data = read_transitions(write_minari(tmp_path / "d", recorded, observe=observe, space=space), actions="sign")
    vectors = [episode["observation"] for episode in recorded]
    rows = [np.concatenate([np.arange(len(each))[:, None], each[:, :2] > 0, each], 1) for each in vectors]
    np.testing.assert_array_equal(np.asarray(data.observation), np.concatenate(rows))
    assert data.metadata["convention"].endswith("; an observation is achieved, desired, observation side by side")
    assert set(data.labels) == {"achieved", "desired", "observation_label"}
    assert not {"left_out", "observation_parts"} & set(data.metadata)


def test_tuples_of_numbers_become_one_vector(tmp_path):
    recorded = record(3)

    def observe(frames):
        return tuple(np.arange(len(frames)) + k for k in range(3))

    space = spaces.Tuple([spaces.Discrete(99)] * 3)  # as of Blackjack
    data = read_transitions(write_minari(tmp_path / "d", recorded, observe=observe, space=space))
    assert data.observation[1].tolist() == [1, 2, 3]
    assert data.observation.dtype == np.int64


def with_parts_of_actions(folder, parts):
    """Write the actions of a dataset anew, as Minari writes those of a Dict space."""
    space = {name: json.loads(serialize_space(each)) for name, (each, _) in parts.items()}
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["action_space"] = json.dumps({"type": "Dict", "subspaces": space})
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        for episode in file.values():
            actions = episode["actions"][:]
            del episode["actions"]
            for name, (_, values) in parts.items():
                episode[f"actions/{name}"] = values(actions)
            episode.require_group("actions")
    return folder


def test_discrete_parts_of_an_action_are_joined_in_the_order_of_the_space(tmp_path):
    recorded = record(3)
    parts = {
        "second": (spaces.Discrete(3), lambda actions: 2 - actions),
        "first": (spaces.MultiDiscrete([2, 2]), lambda actions: np.stack([actions, 0 * actions], 1)),
    }
    data = read_transitions(with_parts_of_actions(write_minari(tmp_path / "d", recorded), parts))
    done = np.concatenate([episode["action"] for episode in recorded])
    rows = data.metadata["action_codes"]["rows"]
    assert [rows[code] for code in data.action] == [[2 - each, each, 0] for each in done]
    assert data.metadata["convention"].endswith("an action is second, first side by side")


def test_continuous_parts_of_an_action_are_joined_and_mixed_ones_refused(tmp_path):
    recorded = record(2, discrete=False)
    box = spaces.Box(-1, 1, (1,), np.float32)
    parts = {"gas": (box, lambda actions: actions), "brake": (box, lambda actions: -actions)}
    data = read_transitions(with_parts_of_actions(write_minari(tmp_path / "d", recorded), parts), actions="sign")
    done = np.concatenate([episode["action"] for episode in recorded])
    np.testing.assert_array_equal(data.action_value, np.concatenate([done, -done], 1))
    parts["gear"] = (spaces.Discrete(2), lambda actions: (actions[:, 0] > 0).astype(int))
    with pytest.raises(DatasetError, match=r"d2: actions: some parts are continuous.*; record them"):
        read_transitions(with_parts_of_actions(write_minari(tmp_path / "d2", recorded), parts), actions="sign")
    with pytest.raises(DatasetError, match="action_space: has no parts"):
        read_transitions(with_parts_of_actions(write_minari(tmp_path / "d3", recorded), {}), actions="sign")


def test_of_several_images_one_has_to_be_chosen(tmp_path):
    recorded = record(1)
    image, _ = spaces_of(recorded)
    space = spaces.Dict({"left": image, "right": image})
    both = {"observe": lambda frames: {"left": frames, "right": 255 - frames}, "space": space}
    folder = write_minari(tmp_path / "d", recorded, **both)
    with pytest.raises(DatasetError, match=r"2 images .*, \['left', 'right'\]; choose one with --observation left"):
        read_transitions(folder)
    check(read_transitions(folder, observation="left"), recorded)


def test_a_dataset_of_one_array_has_no_key_to_choose(tmp_path):
    folder = write_minari(tmp_path / "d", record(1))
    with pytest.raises(DatasetError, match="of which it holds one; leave --observation out"):
        read_transitions(folder, observation="pixels")


# Episodes that differ


def test_numbers_of_several_types_are_promoted(tmp_path):
    """Rewards of 0 in one episode and 0.5 in another, as MiniGrid returns them."""
    recorded = record(3)
    for number, episode in enumerate(recorded):
        episode["reward"] = np.zeros(len(episode["action"]), int) if number == 1 else episode["reward"] + 0.5
        episode["action"] = episode["action"].astype([np.int64, np.int32, np.uint8][number])
    data = read_transitions(write_minari(tmp_path / "d", recorded))
    check(data, recorded)
    assert data.reward.dtype == np.float64
    assert analyse(data, auxiliary="reward").verdict == "relation-only"


def test_bools_are_no_numbers(tmp_path):
    recorded = record(2)
    recorded[1]["reward"] = recorded[1]["reward"] > 0
    with pytest.raises(DatasetError, match="episode_1/rewards: is bool, and episode_0/rewards is float64"):
        read_transitions(write_minari(tmp_path / "d", recorded))


def test_infos_of_text_are_said_to_be_left_out(tmp_path):
    sentence = "infos name: hold no numbers, one row for each observation of every episode"
    data = read_transitions(write_minari(tmp_path / "d", record(2)))
    assert sentence in data.metadata["left_out"]
    assert f"Left out: {sentence}\n" in to_text(analyse(data, auxiliary="reward"))


def test_a_step_whose_observation_is_not_stored_is_counted(tmp_path):
    """As many observations as steps, as some episodes of published datasets have."""
    recorded = record(3)
    folder = write_minari(tmp_path / "d", recorded)
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        for name in ("observations", "infos/color", "infos/inner/count", "infos/name"):
            rows = file[f"episode_0/{name}"][:-1]
            del file[f"episode_0/{name}"]
            file[f"episode_0/{name}"] = rows
    data = read_transitions(folder)
    steps = len(recorded[0]["action"]) - 1
    for name, rows in {"observation": steps + 1, "count": steps + 1}.items():
        recorded[0][name] = recorded[0][name][:rows]
    for name in ("action", "reward", "terminated", "truncated"):
        recorded[0][name] = recorded[0][name][:steps]
    check(data, recorded)
    assert data.metadata["steps_without_successor"] == 1
    assert "some episodes lack their last observation" in data.metadata["convention"]
    assert "Left out: 1 step whose successor is not stored" in to_text(analyse(data, auxiliary="reward"))


@pytest.mark.parametrize("steps", [0, 99])
def test_any_other_number_of_steps_is_refused(tmp_path, steps):
    folder = write_minari(tmp_path / "d", record(2))
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        values = file["episode_1/rewards"][:]
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = np.resize(values, steps)
    with pytest.raises(DatasetError, match=r"episode_1/rewards: is \(\d+,\), and there are \d+ observations"):
        read_transitions(folder)


def test_no_local_store_and_no_home_mean_no_dataset(tmp_path, monkeypatch):
    for place in (tmp_path / "none", ""):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(place))
        monkeypatch.setenv("HOME", str(tmp_path / "gone"))
        with pytest.raises(DatasetError, match=r"^counting/test-v0: does not exist, and there is no dataset of"):
            read_transitions("counting/test-v0")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])
    with pytest.raises(DatasetError, match=r"^counting/test-v0: does not exist, and there is no dataset of"):
        read_transitions("counting/test-v0")


def test_makes_no_environment_and_reads_no_other_data_format(tmp_path):
    folder = write_minari(tmp_path / "d", record(1))
    text = (folder / "metadata.json").read_text()
    without = text.replace('"observation_space"', '"env_spec": "{}", "other"')
    (folder / "metadata.json").write_text(without)
    with pytest.raises(DatasetError, match="observation_space: is missing"):
        read_transitions(folder)
    (folder / "metadata.json").write_text(text.replace('"data_format": "hdf5"', '"data_format": "arrow"'))
    with pytest.raises(DatasetError, match="data format 'arrow'; create it with data_format='hdf5'"):
        read_transitions(folder)


def test_damaged_images_end_in_an_image_or_in_one_line(tmp_path):
    folder = write_minari(tmp_path / "d", record(3, steps=6), jpeg_encoding=True)
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        content = bytes(file["episode_0/observations"][0])
        del file["episode_0/observations"]
        damaged, rng = [], random.Random(0)
        for _ in range(300):
            damaged.append(bytearray(content))
            rng.choice(MUTATIONS)(damaged[-1], rng)
        rows = [np.frombuffer(bytes(each), "u1") for each in damaged]
        file.create_dataset("images", data=rows, dtype=h5py.vlen_dtype(np.uint8))
    images = EncodedImages(Hdf5File(folder / "main_data.hdf5"), "images", [32, 32, 3])
    outcomes = [outcome(images, row) for row in range(len(images))]
    assert set(outcomes) == {(32, 32, 3), 1}


def outcome(images, row):
    """The shape of an image, or the number of lines of the error."""
    try:
        return images[row].shape
    except DatasetError as error:
        return len(str(error).splitlines())
