"""Frames that are too many for memory: the same batches, gathered from the file."""

import dataclasses
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from bisim_theory import TransitionDataset, read_transitions, write_transitions
from bisim_theory.formats.frames import JoinedFrames, PlainFrames
from pjepa_agent.collection import disk_frames, frames
from pjepa_agent.collection.disk_frames import DiskFrames
from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.config.fields import ConfigError

CPU = torch.device("cpu")


def make_data(observation):
    count = len(observation)
    source = np.delete(np.arange(count - 1), np.arange(6, count - 1, 7))  # episodes of seven frames
    return TransitionDataset(
        source=source,
        successor=source + 1,
        action=source % 2,
        action_value=np.eye(2, dtype=np.float32)[source % 2],
        auxiliary=(source % 3).astype(float),
        observation=observation,
    )


def images(count=70, shape=(5, 4, 3)):
    return np.random.default_rng(0).integers(256, size=(count, *shape), dtype=np.uint8)


def mapped(path, array):
    array.tofile(path)
    return PlainFrames(path, array.dtype, array.shape)


def batches(data, **options):
    replay = DatasetReplay(data, 16, 3, CPU, 3, **options)
    return replay, [*(replay.sample() for _ in range(3))], replay.observations(9)


def check_equal(one, other):
    (_, first, spread), (_, second, other_spread) = one, other
    assert torch.equal(spread, other_spread)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a.keys())  # noqa: SIM118 - a TensorDict


@pytest.fixture
def _short_memory(monkeypatch):
    monkeypatch.setattr(frames, "available_memory", lambda: 1000)


@pytest.mark.parametrize("array", [images(), images().astype(np.float64)[:, :, 0, 0]], ids=["images", "vectors"])
def test_batches_from_a_file_are_those_from_memory(tmp_path, array):
    data = make_data(array)
    expected = batches(data)
    halves = [mapped(tmp_path / f"{number}.bin", half) for number, half in enumerate(np.split(array, [33]))]
    stored = dataclasses.replace(data, observation=JoinedFrames(halves))
    found = batches(stored, placement="disk")
    assert isinstance(found[0].frames, DiskFrames)
    check_equal(found, expected)
    wanted = torch.uint8 if array.dtype == np.uint8 else torch.float32
    assert found[1][0]["observation"].dtype == expected[1][0]["observation"].dtype == wanted


@pytest.mark.usefixtures("_short_memory")
def test_frames_stay_on_disk_where_memory_is_short(tmp_path, caplog):
    data = make_data(images())
    stored = dataclasses.replace(data, observation=mapped(tmp_path / "frames.bin", images()))
    with caplog.at_level(logging.INFO):
        assert isinstance(DatasetReplay(stored, 16, 0, CPU).frames, DiskFrames)
    assert "from their file, since memory is short for" in caplog.text
    assert not isinstance(DatasetReplay(stored, 16, 0, CPU, placement="host").frames, DiskFrames)
    assert not isinstance(DatasetReplay(data, 16, 0, CPU).frames, DiskFrames)  # they are in memory anyway


def test_frames_go_into_memory_where_there_is_enough(tmp_path):
    stored = make_data(mapped(tmp_path / "frames.bin", images()))
    assert not isinstance(DatasetReplay(stored, 16, 0, CPU).frames, DiskFrames)


@pytest.mark.usefixtures("_short_memory")
def test_compressed_frames_are_unpacked_once(tmp_path, caplog):
    data = make_data(images())
    write_transitions(tmp_path / "transitions.npz", data)
    copy = tmp_path / "frames.npy"
    with caplog.at_level(logging.INFO):
        found = batches(read_transitions(tmp_path / "transitions.npz"), unpacked=copy)
    assert len([each for each in caplog.messages if each.startswith("unpacking")]) == 1
    check_equal(found, batches(data))
    np.testing.assert_array_equal(np.load(copy), images())
    written = copy.stat().st_mtime_ns
    check_equal(batches(read_transitions(tmp_path / "transitions.npz"), unpacked=copy), found)
    assert copy.stat().st_mtime_ns == written
    copy.write_bytes(copy.read_bytes()[:-1])  # what is no copy is replaced
    check_equal(batches(read_transitions(tmp_path / "transitions.npz"), unpacked=copy), found)


@pytest.mark.usefixtures("_short_memory")
def test_compressed_frames_without_room_are_refused_in_one_line(tmp_path, monkeypatch):
    write_transitions(tmp_path / "transitions.npz", make_data(images()))
    data = read_transitions(tmp_path / "transitions.npz")
    with pytest.raises(ConfigError, match=r"compressed .npz file cannot be read at random; save it with numpy.savez"):
        DatasetReplay(data, 16, 0, CPU)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(disk_frames.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"frames.npy: unpacking the frames takes 0.0 GB, and 0.0 GB are free"):
        DatasetReplay(data, 16, 0, CPU, unpacked=tmp_path / "frames.npy")
    assert not (tmp_path / "frames.npy").exists()


@pytest.mark.usefixtures("_short_memory")
def test_uncompressed_npz_files_are_read_where_they_lie(tmp_path):
    data = make_data(images())
    columns = {name: getattr(data, name) for name in ("source", "successor", "action", "action_value", "auxiliary")}
    np.savez(tmp_path / "transitions.npz", observation=images(), **columns)
    found = batches(read_transitions(tmp_path / "transitions.npz"))
    assert isinstance(found[0].frames, DiskFrames)
    check_equal(found, batches(data))


RESIDENT = """
import os, resource, sys
import numpy as np, torch
from bisim_theory import TransitionDataset
from bisim_theory.formats.frames import PlainFrames
from pjepa_agent.collection.replay import DatasetReplay

torch.set_num_threads(1)
count, path = 150_000, sys.argv[1]
with open(path, "wb") as file:
    file.truncate(count * 64 * 64 * 3)
source = np.arange(count - 1)
data = TransitionDataset(
    source=source, successor=source + 1, action=source % 2, action_value=np.eye(2)[source % 2], auxiliary=source % 2,
    observation=PlainFrames(path, np.dtype(np.uint8), (count, 64, 64, 3)),
)
replay = DatasetReplay(data, 256, 0, torch.device("cpu"), placement="disk")
replay.sample()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(40):
    replay.sample()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures resident memory as Linux does")
def test_batches_of_frames_on_disk_leave_none_in_memory(tmp_path):
    """1.8 GB of frames, of which 40 batches touch some 20,000 pieces: mapped for good they would stay resident."""
    done = subprocess.run([sys.executable, "-c", RESIDENT, str(tmp_path / "f")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 60
