"""Flat HDF5 files as stable-worldmodel writes them."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, analyse, read_transitions
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
        ("pixels", None, "pixels: missing for the layout of stable-worldmodel"),
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


def test_what_is_not_read_is_said(tmp_path):
    recorded = record(2)
    rows = sum(len(each["observation"]) for each in recorded)
    goal, state = np.zeros((rows, 4, 4, 3), np.uint8), np.arange(rows)
    path = write_hdf5(tmp_path / "d.h5", recorded, goal=goal, observation=state, text=["x"] * rows)
    data = read_transitions(path)
    check(data, recorded)
    np.testing.assert_array_equal(data.labels["observation_label"], state)
    assert data.metadata["left_out"] == [
        "goal, as the observation is pixels (--observation goal takes it)",
        "observation, as the observation is pixels; it is the label observation_label "
        "(--observation observation takes it)",
        "text: must hold numbers, is 'object'",
    ]
    numbers = read_transitions(path, observation="observation")
    np.testing.assert_array_equal(np.asarray(numbers.observation), state)
    assert (
        numbers.metadata["left_out"][1] == "pixels, as the observation is observation (--observation pixels takes it)"
    )
    for key in ("reward", "ep_len", "nothing"):
        with pytest.raises(DatasetError, match=f"--observation {key}: is none of its observations, .*'goal'"):
            read_transitions(path, observation=key)


@pytest.mark.parametrize("last", [-(2**63), "first", 7])
def test_what_stands_in_the_last_action_and_the_first_reward_of_an_episode_is_no_step(tmp_path, last):
    """A reset writes NaN, of which integers make a fill value, or, in earlier versions, the episode's first action."""
    recorded = record(3)
    path = write_hdf5(tmp_path / "d.h5", recorded)
    expected = read_transitions(path)
    with h5py.File(write_hdf5(tmp_path / "e.h5", recorded), "a") as file:
        for start, length in zip(file["ep_offset"][:], file["ep_len"][:], strict=True):
            file["action"][start + length - 1] = file["action"][start] if last == "first" else last
            file["reward"][start] = 99.0
            file["terminated"][start] = True
    found = read_transitions(tmp_path / "e.h5")
    check(found, recorded)
    levels = [analyse(data, auxiliary="reward").relation.distinguished_pairs_per_level for data in (found, expected)]
    assert levels[0] == levels[1]


# Filters, and files that are being written

WRITE = """
import sys
import h5py, hdf5plugin
with h5py.File(sys.argv[1], "a") as file:
    pixels = file["pixels"][:]
    del file["pixels"]
    file.create_dataset("pixels", data=pixels, chunks=(1, *pixels.shape[1:]), compression=hdf5plugin.Blosc())
"""
READ = """
import sys
sys.modules["hdf5plugin"] = None
from bisim_theory.cli import main
sys.exit(main([sys.argv[1], "--auxiliary", "reward"]))
"""


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_a_filter_that_is_not_installed_is_named_with_its_package(tmp_path):
    recorded = record(2)
    path = write_hdf5(tmp_path / "d.h5", recorded)
    assert run(WRITE, path).returncode == 0
    without = run(READ, path)
    assert without.returncode == 2
    assert without.stderr == (
        f"bisim-check: error: {path}: pixels: is compressed by 'blosc' (HDF5 filter 32001), which needs the package "
        "hdf5plugin, or another that has it: pip install './packages/bisim-theory[hdf5]' in the clone\n"
    )
    check(read_transitions(path), recorded)


OPEN = """
import os, sys
import h5py
file = h5py.File(sys.argv[1], "a", libver="latest")
if sys.argv[2] == "swmr":
    file.swmr_mode = True
file.flush()
if sys.argv[2] == "gone":
    os._exit(0)
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["held", "swmr", "gone"])
def test_a_file_that_is_being_written_is_not_called_damaged(tmp_path, how):
    path = write_hdf5(tmp_path / "d.h5", record(1))
    command = [sys.executable, "-c", OPEN, path, how]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    writer.stdout.readline()
    with pytest.raises(DatasetError, match=rf"{path}: is still open for writing, or was not closed by its writer"):
        read_transitions(path)
    writer.communicate()


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = write_hdf5(tmp_path / "d.h5", record(1))

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(DatasetError, match=r"d.h5: cannot be read \(Permission denied\)"):
        read_transitions(path)
