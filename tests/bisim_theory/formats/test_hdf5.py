"""Flat HDF5 files as stable-worldmodel writes them."""

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, read_transitions
from support.checks import check
from support.written_datasets import record, write_hdf5


def test_channels_first_become_last(tmp_path):
    recorded = record(2)
    first = [{**each, "observation": np.moveaxis(each["observation"], -1, 1)} for each in recorded]
    data = read_transitions(write_hdf5(tmp_path / "d.h5", first))
    assert data.images
    check(data, recorded)


def test_columns_that_are_no_labels_are_named_and_text_is_left_aside(tmp_path):
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
def test_wrong_columns_are_named(tmp_path, name, value, message):
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
