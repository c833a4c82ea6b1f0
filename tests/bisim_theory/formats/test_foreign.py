"""Datasets written by other libraries, compared element by element with what was recorded."""

import builtins
import json
import os
import shutil

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, analyse, read_transitions, to_text, write_transitions
from bisim_theory.data.transitions import chunks
from bisim_theory.formats import FORMATS, Format, resolve
from gymnasium import spaces
from support.written_datasets import (
    record,
    record_vectors,
    spaces_of,
    to_tensordict,
    write_hdf5,
    write_minari,
    write_torchrl,
)


def frames_of(data, ids=None):
    frames = np.concatenate(list(chunks(data.observation, 5)))
    return frames if ids is None else frames[ids]


def check(data, recorded, discrete=True):
    """Check that every step is as it was recorded, in order."""

    def steps(name, rows=slice(None)):
        return np.concatenate([episode[name][rows] for episode in recorded])

    np.testing.assert_array_equal(frames_of(data, data.source), steps("observation", slice(-1)))
    np.testing.assert_array_equal(frames_of(data, data.successor), steps("observation", slice(1, None)))
    if discrete:
        np.testing.assert_array_equal(data.action, steps("action"))
        assert data.action_value is None
    else:
        np.testing.assert_array_equal(data.action_value, steps("action"))
    np.testing.assert_allclose(data.reward, steps("reward"), rtol=1e-6)
    np.testing.assert_array_equal(data.terminated, steps("terminated"))
    np.testing.assert_array_equal(data.truncated, steps("truncated"))
    number = np.repeat(np.arange(len(recorded)), [len(episode["action"]) for episode in recorded])
    np.testing.assert_array_equal(np.unique(data.episode, return_inverse=True)[1].reshape(-1), number)
    assert data.auxiliary is None
    assert data.frames == sum(len(episode["observation"]) for episode in recorded)
    first = np.unique(number, return_index=True)[1]
    assert not set(data.source[first]) & set(data.successor)  # no step leads to the first frame of an episode
    inside = np.delete(np.arange(len(data)), first)
    np.testing.assert_array_equal(data.source[inside], data.successor[inside - 1])  # an occurrence has one id


def check_label(recorded, data, name):
    """Check a label at the ids of sources and successors."""
    label = data.labels[name]
    before = np.concatenate([episode["count"][:-1] for episode in recorded])
    after = np.concatenate([episode["count"][1:] for episode in recorded])
    np.testing.assert_array_equal(label[data.source], before)
    np.testing.assert_array_equal(label[data.successor], after)


WRITERS = {"minari": write_minari, "torchrl": write_torchrl, "hdf5": write_hdf5}


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


def test_images_and_discrete_actions(tmp_path, write):
    recorded = record(episodes=6)
    data = read_transitions(write(tmp_path / "d.h5", recorded))
    check(data, recorded)
    assert data.images
    check_label(recorded, data, "inner/count" if write is write_minari else "count")
    np.testing.assert_array_equal(data.observation[3:9], frames_of(data)[3:9])
    assert "action_abstraction" not in data.metadata
    with pytest.raises(DatasetError, match="discrete"):
        read_transitions(tmp_path / "d.h5", actions="sign")


def test_vectors_and_continuous_actions(tmp_path, write):
    recorded = record_vectors()
    more = {} if write is write_minari else {"key": "observation"}
    path = write(tmp_path / "d.h5", recorded, **more)
    with pytest.raises(DatasetError, match=r"continuous; name how .* --actions sign or --actions bins:K") as found:
        read_transitions(path)
    assert str(found.value).startswith(str(path))
    data = read_transitions(path, actions="sign")
    check(data, recorded, discrete=False)
    assert not data.images
    assert data.metadata["action_abstraction"] == "sign"
    value = np.concatenate([episode["action"] for episode in recorded]) >= 0
    np.testing.assert_array_equal(data.action, 2 * value[:, 0] + value[:, 1])
    assert len(np.unique(data.content_ids())) == data.frames
    write_transitions(tmp_path / "t.npz", data)
    again = read_transitions(tmp_path / "t.npz", actions="bins:3")
    assert again.metadata["action_abstraction"] == "bins:3"
    assert again.auxiliary is None
    np.testing.assert_array_equal(read_transitions(tmp_path / "t.npz").action, data.action)
    np.testing.assert_array_equal(frames_of(again), frames_of(data))


def test_vectors_that_are_equal_but_for_the_sign_of_zero_are_one_content(tmp_path):
    recorded = record_vectors(1)
    recorded[0]["observation"][:2] = [[0.0, 1, 2], [-0.0, 1, 2]]
    data = read_transitions(write_hdf5(tmp_path / "d.h5", recorded, key="observation"), actions="sign")
    assert data.content_ids().tolist() == [0, 0, 2, 3, 4, 5]
    recorded[0]["observation"][4, 1] = np.nan
    with pytest.raises(DatasetError, match="observation: row 4 is not finite"):
        read_transitions(write_hdf5(tmp_path / "n.h5", recorded, key="observation"), actions="sign")


# Minari


def test_minari_by_its_id_in_the_local_store_and_by_the_folder_around_it(tmp_path, monkeypatch):
    recorded = record(2)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    folder = tmp_path / "counting" / "test-v0"
    write_minari(folder / "data", recorded)
    for path in ("counting/test-v0", folder, folder / "data"):
        check(read_transitions(path), recorded)
    assert resolve("counting/test-v0") == (folder, None)
    with pytest.raises(DatasetError, match="counting/test-v1: does not exist"):
        read_transitions("counting/test-v1")
    assert [path.name for path in tmp_path.iterdir()] == ["counting"]


@pytest.mark.parametrize("episodes", [1, 3])
def test_minari_images_in_jpeg_are_refused(tmp_path, episodes):
    folder = write_minari(tmp_path / "d", record(episodes), jpeg_encoding=True)
    with pytest.raises(DatasetError, match=r"JPEG-encoded.*jpeg_encoding=False"):
        read_transitions(folder)


def test_minari_vectors_do_not_suffer_from_the_flag(tmp_path):
    recorded = record_vectors()
    check(read_transitions(write_minari(tmp_path / "d", recorded, jpeg_encoding=True), actions="sign"), recorded, False)


@pytest.mark.parametrize("jpeg_encoding", [False, True])
def test_minari_takes_the_only_image_out_of_a_dictionary(tmp_path, jpeg_encoding):
    recorded = record(2)
    image, _ = spaces_of(recorded)
    inner = spaces.Dict({"image": image, "n": spaces.Box(0, 1, (2,), np.float32)})
    space = spaces.Dict({"view": spaces.Tuple([inner, spaces.Discrete(3)])})

    def observe(frames):
        rest = np.zeros((len(frames), 2), np.float32)
        return {"view": ({"image": frames, "n": rest}, np.zeros(len(frames), int))}

    folder = write_minari(tmp_path / "d", recorded, jpeg_encoding=jpeg_encoding, observe=observe, space=space)
    if jpeg_encoding:
        with pytest.raises(DatasetError, match="JPEG-encoded"):
            read_transitions(folder)
    else:
        check(read_transitions(folder), recorded)


def test_minari_says_which_entries_there_are_where_none_is_the_image(tmp_path):
    recorded = record(1)
    image, _ = spaces_of(recorded)
    space = spaces.Dict({"left": image, "right": image})
    both = {"observe": lambda frames: {"left": frames, "right": frames}, "space": space}
    with pytest.raises(DatasetError, match=r"2 images .* among \['left', 'right'\]"):
        read_transitions(write_minari(tmp_path / "d", recorded, **both))


def test_minari_makes_no_environment_and_reads_no_other_data_format(tmp_path):
    folder = write_minari(tmp_path / "d", record(1))
    text = (folder / "metadata.json").read_text()
    without = text.replace('"observation_space"', '"env_spec": "{}", "other"')
    (folder / "metadata.json").write_text(without)
    with pytest.raises(DatasetError, match="observation_space: is missing"):
        read_transitions(folder)
    (folder / "metadata.json").write_text(text.replace('"data_format": "hdf5"', '"data_format": "arrow"'))
    with pytest.raises(DatasetError, match="data format 'arrow'; create it with data_format='hdf5'"):
        read_transitions(folder)


# TorchRL


def test_torchrl_reads_only_what_is_filled(tmp_path):
    recorded = record(3)
    check(read_transitions(write_torchrl(tmp_path / "d", recorded, capacity=100)), recorded)
    check(read_transitions(tmp_path / "d" / "storage"), recorded)
    with pytest.raises(DatasetError, match=r"never written.*buffer\.dumps"):
        read_transitions(write_torchrl(tmp_path / "e", recorded, capacity=100, dump=False))
    check(read_transitions(write_torchrl(tmp_path / "f", recorded, dump=False)), recorded)


def test_torchrl_one_hot_actions_and_plain_memmaps(tmp_path):
    import torch

    recorded = record(3)
    data = to_tensordict(recorded, action=lambda value: torch.nn.functional.one_hot(value, 2).bool())
    data.memmap(tmp_path / "d")
    check(read_transitions(tmp_path / "d"), recorded)


def test_torchrl_interleaved_trajectories_are_followed_by_their_ids(tmp_path):
    recorded = record(4)
    data = to_tensordict(recorded)
    order = np.argsort(np.concatenate([np.arange(len(each["action"])) for each in recorded]), kind="stable")
    data[order].contiguous().memmap(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    assert found.frames == sum(len(each["observation"]) for each in recorded)
    np.testing.assert_array_equal(frames_of(found, found.source), data["pixels"].numpy()[order])
    np.testing.assert_array_equal(frames_of(found, found.successor), data["next", "pixels"].numpy()[order])


def test_torchrl_a_reset_that_looks_like_the_last_frame_is_another_occurrence(tmp_path):
    recorded = record(3)
    for episode in recorded:
        episode["observation"][[0, -1]] = 0
    check(read_transitions(write_torchrl(tmp_path / "d", recorded)), recorded)
    data = to_tensordict(recorded)
    del data["collector"]
    data.memmap(tmp_path / "without")
    check(read_transitions(tmp_path / "without"), recorded)


def test_torchrl_a_next_frame_that_does_not_come_next_is_an_occurrence_of_its_own(tmp_path):
    data = to_tensordict(record(1, steps=4))
    pixels = data["next", "pixels"]
    pixels[1, 0, 0, 0] ^= 1
    data.memmap(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    assert found.successor.tolist()[:3] == [1, len(found), 3]
    np.testing.assert_array_equal(frames_of(found, found.successor), pixels.numpy())


def test_torchrl_what_stands_behind_the_newest_row_does_not_follow_it(tmp_path):
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer

    data = to_tensordict(record(1, steps=9, grace=False, target=0, max_count=4))
    del data["collector"]
    rows = len(data) - 2
    data["pixels"][:] = 0
    data["next", "pixels"][:] = 0
    buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(rows, scratch_dir=tmp_path / "s"), batch_size=2)
    for step in data:
        buffer.extend(step[None])
    buffer.dumps(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    ended = data["next", "done"].numpy()[:, 0]
    expected = [row + 1 if row not in (1, rows - 1) and not ended[row] else -1 for row in range(2, rows)]
    assert [new if new < rows else -1 for new in found.successor[2:].tolist()] == expected
    assert found.successor[0] == 1
    assert found.successor[1] >= rows


def test_torchrl_unpickles_nothing(tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    import pickle

    recorded = record(2)
    folder = write_torchrl(tmp_path / "d", recorded)
    for place in (folder, folder / "storage", folder / "storage" / "next"):
        for name in ("other.pickle", "prefetch.pkl"):
            (place / name).write_bytes(pickle.dumps(Payload()))
    check(read_transitions(folder), recorded)
    assert not (tmp_path / "executed").exists()


def test_torchrl_batches_of_batches_are_refused(tmp_path):
    data = to_tensordict(record(1, steps=4))
    data[: len(data) // 2 * 2].reshape(2, -1).memmap(tmp_path / "d")
    with pytest.raises(DatasetError, match=r"batch shape \(2, .*flatten it"):
        read_transitions(tmp_path / "d")


# HDF5


def test_hdf5_channels_first_become_last(tmp_path):
    recorded = record(2)
    first = [{**each, "observation": np.moveaxis(each["observation"], -1, 1)} for each in recorded]
    data = read_transitions(write_hdf5(tmp_path / "d.h5", first))
    assert data.images
    check(data, recorded)


def test_hdf5_columns_that_are_no_labels_are_named_and_text_is_left_aside(tmp_path):
    recorded = record(2)
    rows = sum(len(each["observation"]) for each in recorded)
    path = write_hdf5(tmp_path / "d.h5", recorded, gap=np.full(rows, np.nan), text=["x"] * rows, state=np.eye(rows))
    data = read_transitions(path)
    assert data.metadata["labels_left_out"] == ["gap"]
    assert set(data.labels) == {"count", "step_idx", "state"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ep_len", [1, 10**6], "ep_len: holds 1 to 1000000"),
        ("ep_len", [5, 5], r"ep_len: episode \d reaches frame"),
        ("ep_offset", [0, -1], "ep_offset: holds -1"),
        ("ep_offset", [0.0, 1.0], r"ep_offset: must be \(E,\) integers"),
        ("action", [0, 1], "action: is"),
        ("terminated", "halves", "terminated: must be 0 or 1"),
        ("pixels", None, "pixels: is missing"),
    ],
)
def test_hdf5_wrong_columns_are_named(tmp_path, name, value, message):
    path = write_hdf5(tmp_path / "d.h5", record(2))
    with h5py.File(path, "a") as file:
        if value == "halves":
            value = np.full(len(file[name]), 0.5)
        del file[name]
        if value is not None:
            file[name] = np.array(value)
    with pytest.raises(DatasetError, match=message) as found:
        read_transitions(path)
    assert str(found.value).startswith(str(path))


# What points elsewhere, or is missing


def test_values_kept_in_other_files_are_refused(tmp_path):
    path = write_hdf5(tmp_path / "d.h5", record(2))
    other = write_hdf5(tmp_path / "other.h5", record(2))
    with h5py.File(path, "a") as file:
        shape = file["pixels"].shape
        del file["pixels"]
        layout = h5py.VirtualLayout(shape, "u1")
        layout[:] = h5py.VirtualSource(other, "pixels", shape)
        file.create_virtual_dataset("pixels", layout)
    with pytest.raises(DatasetError, match="pixels: is kept in other files"):
        read_transitions(path)
    with h5py.File(path, "a") as file:
        del file["pixels"]
        file.create_dataset("pixels", shape, "u1", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(DatasetError, match="pixels: is kept in other files"):
        read_transitions(path)
    with h5py.File(path, "a") as file:
        del file["pixels"]
        file["pixels"] = h5py.ExternalLink(str(other), "pixels")
    with pytest.raises(DatasetError, match="pixels: is missing"):
        read_transitions(path)


def test_links_out_of_a_folder_are_refused(tmp_path):
    recorded = record(2)
    cases = {
        write_minari(tmp_path / "m", recorded): "main_data.hdf5",
        write_torchrl(tmp_path / "t", recorded): "storage/pixels.memmap",
    }
    for folder, name in cases.items():
        outside = tmp_path / f"outside-{folder.name}"
        shutil.move(folder / name, outside)
        (folder / name).symlink_to(outside)
        with pytest.raises(DatasetError, match="is a link that leads out of"):
            read_transitions(folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(DatasetError, match="no regular file"):
            read_transitions(folder)


def test_holes_are_not_taken_for_data(tmp_path):
    path = write_hdf5(tmp_path / "d.h5", record(2))
    with h5py.File(path, "a") as file:
        for name in ("pixels", "count"):
            del file[name]
        file.create_dataset("pixels", (10**9, 32, 32, 3), "u1", chunks=(1, 32, 32, 3))
    with pytest.raises(DatasetError, match="observations expand"):
        read_transitions(path)
    folder = write_torchrl(tmp_path / "t", record(2))
    for meta in (folder / "storage").rglob("meta.json"):
        about = json.loads(meta.read_text())
        rows = about["shape"][0]
        meta.write_text(json.dumps(about).replace(f"[{rows}", f"[{1000 * rows}000"))
    for path in (folder / "storage").rglob("*.memmap"):
        os.truncate(path, path.stat().st_size * 10**6)  # a hole, which takes no space
    (folder / "storage" / "storage_metadata.json").write_text(json.dumps({"len": rows * 10**6}))
    with pytest.raises(DatasetError, match="expand from"):
        read_transitions(folder)


def test_minari_infos_that_hold_themselves_come_to_an_end(tmp_path):
    folder = write_minari(tmp_path / "d", record(2))
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        for name in "abcdefgh":
            file[f"episode_0/infos/{name}"] = file["episode_0/infos"]
    with pytest.raises(DatasetError, match="infos: holds more than 1000"):
        read_transitions(folder)


@pytest.mark.parametrize(
    ("write", "kind", "extra"), [(write_minari, "a Minari dataset", "minari"), (write_hdf5, "an HDF5 file", "hdf5")]
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, write, kind, extra):
    path = write(tmp_path / "d.h5", record(1))
    real = builtins.__import__

    def hidden(name, *rest):
        if name.split(".")[0] == "h5py":
            raise ModuleNotFoundError("No module named 'h5py'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", hidden)
    words = rf"is {kind}, and reading it needs the extra {extra}: pip install 'bisim-theory\[{extra}\]'"
    with pytest.raises(DatasetError, match=words):
        read_transitions(path)


def test_a_format_that_is_added_is_detected(tmp_path, monkeypatch):
    data = TransitionDataset([0, 1], [0, 0], [1, 1], [0, 1])
    path = tmp_path / "steps.txt"
    path.write_text("0 0 1 0\n1 0 1 1\n")

    def read(path, actions):
        source, action, successor, p = np.loadtxt(path, int).T
        return TransitionDataset(source, action, successor, p)

    text = Format("a text file", lambda path: path.suffix == ".txt", read)
    monkeypatch.setattr("bisim_theory.formats.FORMATS", [text, *FORMATS])
    found = read_transitions(path)
    for name in ("source", "action", "successor", "auxiliary"):
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name))


def test_a_folder_in_no_format_is_refused_with_those_that_are_read(tmp_path):
    with pytest.raises(DatasetError, match=r"is none of a LeRobot dataset, a storage of TorchRL, a Minari dataset, "):
        read_transitions(tmp_path)


# What the reader assumed, and what it did not read


def test_the_report_says_how_rows_were_read(tmp_path, write):
    data = read_transitions(write(tmp_path / "d.h5", record(2)))
    text = to_text(analyse(data, auxiliary="constant"))
    assert f"Read as: {data.metadata['convention']}\n" in text
    write_transitions(tmp_path / "t.npz", data)
    assert read_transitions(tmp_path / "t.npz").metadata["convention"] == data.metadata["convention"]


def test_the_report_prints_what_was_left_out_on_lines_of_its_own():
    metadata = {
        "convention": "x\n\x1b[31mVerdict: holds",
        "left_out": ["one", 2, "three" * 1000],
        "steps_without_successor": 1,
        "labels_left_out": ["gap", "name"],
    }
    report = analyse(TransitionDataset([0, 1], [0, 0], [1, 1], [0, 1], metadata=metadata))
    lines = to_text(report).splitlines()
    assert r"Read as: x\n\x1b[31mVerdict: holds" in lines
    assert "Left out: 1 step whose successor is not stored" in lines
    assert "Left out: columns that cannot be labels: gap, name" in lines
    assert [len(line) for line in lines if line.startswith(("Left out: one", "Left out: three"))] == [13, 513]


def test_a_format_of_one_observation_takes_no_key(tmp_path):
    write_transitions(tmp_path / "t.npz", TransitionDataset([0, 1], [0, 0], [1, 1], [0, 1]))
    with pytest.raises(DatasetError, match="holds one observation; leave --observation out"):
        read_transitions(tmp_path / "t.npz", observation="pixels")
