"""Datasets written by other libraries, compared element by element with what was recorded."""

import builtins
import json
import os
import shutil

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, analyse, read_transitions, to_json, to_text, write_transitions
from bisim_theory.formats import FORMATS, Format
from support.checks import check, check_label, frames_of
from support.reports import read_page
from support.written_datasets import (
    record,
    record_vectors,
    write_hdf5,
    write_minari,
    write_torchrl,
)

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
    with pytest.raises(DatasetError, match="pixels: missing for the layout of stable-worldmodel"):
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
    words = rf"is {kind}, and reading it needs the extra {extra}: pip install './packages/bisim-theory\[{extra}\]'"
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
    with pytest.raises(DatasetError, match=r"is none of a LeRobot dataset, .*a storage of TorchRL, a Minari dataset, "):
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
    found = to_json(report)
    assert found["convention"] == r"x\n\x1b[31mVerdict: holds"
    assert found["steps_without_successor"] == 1
    assert len(found["left_out"]) == 4
    page = read_page(report)
    assert all(sentence in page.text for sentence in (found["convention"], *found["left_out"]))
    lines = to_text(report).splitlines()
    assert r"Read as: x\n\x1b[31mVerdict: holds" in lines
    assert "Left out: 1 step whose successor is not stored" in lines
    assert "Left out: columns that cannot be labels: gap, name" in lines
    assert [len(line) for line in lines if line.startswith(("Left out: one", "Left out: three"))] == [13, 513]


def test_a_format_of_one_observation_takes_no_key(tmp_path):
    write_transitions(tmp_path / "t.npz", TransitionDataset([0, 1], [0, 0], [1, 1], [0, 1]))
    with pytest.raises(DatasetError, match="holds one observation; leave --observation out"):
        read_transitions(tmp_path / "t.npz", observation="pixels")
