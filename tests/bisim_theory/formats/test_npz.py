import dataclasses
import io
import os
import zipfile

import numpy as np
import pytest
from bisim_theory import (
    DatasetError,
    TransitionDataset,
    read_representation,
    read_transitions,
    write_representation,
    write_transitions,
)
from bisim_theory.data.transitions import chunks

N, F = 5, 7


def full_dataset():
    rng = np.random.default_rng(0)
    return TransitionDataset(
        source=np.arange(N),
        action=rng.integers(2, size=N),
        successor=np.arange(N) + 1,
        auxiliary=rng.normal(size=(N, 3)),
        observation=rng.integers(256, size=(F, 4, 5, 3)).astype(np.uint8),
        action_value=rng.normal(size=(N, 2)),
        reward=rng.normal(size=N),
        terminated=np.arange(N) == 2,
        truncated=np.arange(N) == 4,
        episode=np.zeros(N, int),
        labels={"count": np.arange(F), "color": rng.integers(256, size=(F, 3))},
        metadata={"environment": "x", "n": 4},
    )


def test_transitions_survive_the_file(tmp_path):
    data = full_dataset()
    write_transitions(tmp_path / "transitions.npz", data)
    for path in (tmp_path, tmp_path / "transitions.npz"):
        back = read_transitions(path)
        for field in dataclasses.fields(data):
            if field.name not in ("observation", "labels", "metadata"):
                np.testing.assert_array_equal(getattr(back, field.name), getattr(data, field.name))
        assert back.metadata == data.metadata
        assert back.labels.keys() == data.labels.keys()
        np.testing.assert_array_equal(back.labels["color"], data.labels["color"])
        np.testing.assert_array_equal(np.concatenate(list(chunks(back.observation, 3))), data.observation)
        np.testing.assert_array_equal(back.observation[2:4], data.observation[2:4])
        np.testing.assert_array_equal(back.observation[0:2], data.observation[0:2])
        np.testing.assert_array_equal(back.content_ids(), data.content_ids())
    assert [p.name for p in tmp_path.iterdir()] == ["transitions.npz"]


def test_representation_survives_the_file_and_speaks_of_the_callables(tmp_path):
    data = full_dataset()
    write_representation(
        tmp_path / "r.npz",
        data,
        encode=lambda images: images.reshape(len(images), -1)[:, :2] / 255,
        predict=lambda z, a: z + a,
        auxiliary=lambda z: np.stack([z[:, 0], z[:, 1], z.sum(1)], 1),
    )
    back = read_representation(tmp_path / "r.npz")
    embedding = data.observation.reshape(F, -1)[:, :2] / 255
    np.testing.assert_allclose(back.embedding, embedding)
    np.testing.assert_allclose(back.predicted_embedding, embedding[:N] + data.action_value)
    np.testing.assert_allclose(back.predicted_auxiliary[:, 2], embedding[:N].sum(1))
    means = np.stack([data.action_value[data.action == code].mean(0) for code in data.action])
    np.testing.assert_allclose(back.predicted_embedding_canonical, embedding[:N] + means)
    assert (back.lipschitz_dynamics, back.lipschitz_auxiliary) == (None, None)


def test_optional_fields_of_a_representation_are_read_and_checked(tmp_path):
    arrays = {
        "embedding": np.zeros((F, 2)),
        "predicted_embedding": np.zeros((N, 2)),
        "predicted_auxiliary": np.zeros(N),
    }
    np.savez(tmp_path / "r.npz", **arrays, lipschitz_dynamics=2.5, lipschitz_auxiliary=np.float32(1))
    back = read_representation(tmp_path / "r.npz")
    assert (back.lipschitz_dynamics, back.lipschitz_auxiliary) == (2.5, 1.0)
    assert back.predicted_embedding_canonical is None
    for name, value, message in [
        ("lipschitz_dynamics", [1.0, 2.0], r"lipschitz_dynamics: must be one number, is \(2,\)"),
        ("lipschitz_auxiliary", 0.0, "lipschitz_auxiliary: must be a positive number"),
        ("lipschitz_auxiliary", np.nan, "lipschitz_auxiliary: must be a positive number"),
        ("predicted_embedding_canonical", np.zeros((N, 3)), "predicted_embedding_canonical: is"),
        ("predicted_embedding_canonical", np.full((N, 2), np.inf), "predicted_embedding_canonical: row 0"),
    ]:
        np.savez(tmp_path / "r.npz", **arrays, **{name: value})
        with pytest.raises(DatasetError, match=message):
            read_representation(tmp_path / "r.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": np.arange(N) / 2}, r"source: must be \(N,\) integers"),
        ({"source": np.arange(N)[:, None]}, r"source: must be \(N,\) integers, is \(5, 1\)"),
        ({"source": np.array([], int)}, "there are no transitions"),
        ({"source": -np.arange(N)}, "source: holds the negative index -4"),
        ({"successor": np.arange(N) + 9}, "successor: holds index 13 and there are 7 observations"),
        ({"successor": np.arange(N - 1)}, "successor: has 4 rows, source has 5"),
        ({"successor": np.array([2**63] * N, np.uint64)}, "does not fit 64 signed bits"),
        ({"auxiliary": np.array([0, 1, np.nan, 0, 0])}, "auxiliary: row 2 is not finite"),
        ({"auxiliary": np.array(["a"] * N)}, "auxiliary: must be"),
        ({"auxiliary": np.array([None] * N)}, "auxiliary: holds Python objects"),
        ({"auxiliary": np.zeros((N, 0))}, "auxiliary: has no columns"),
        ({"reward": np.zeros(N + 1)}, "reward: has 6 rows"),
        ({"action_value": np.zeros(N)}, "action_value: must be"),
        ({"terminated": np.zeros(N)}, "terminated: must be"),
        ({"observation": np.zeros((F, 4, 0, 3))}, "observation: must be"),
        ({"observation": np.zeros(F, complex)}, "observation: must be"),
        ({"observation": np.array([0, 1, 2, np.inf, 4, 5, 6])}, "observation: row 3 is not finite"),
        ({"labels": {"count": np.zeros((F, 0))}}, "count: has no columns"),
        ({"labels": {"count": np.zeros(F - 1)}}, "labels: differ in their number"),
        ({"labels": {"action": np.zeros(F)}}, "labels: 'action' is the name of another array"),
        ({"labels": {"count": np.full(F, np.inf)}}, "count: row 0 is not finite"),
    ],
)
def test_wrong_fields_are_named(change, message):
    with pytest.raises(DatasetError, match=message):
        dataclasses.replace(full_dataset(), **change)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "transitions.npz"
    write_transitions(path, full_dataset())
    before = path.read_bytes()

    def fail(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="No space left"):
        write_transitions(path, full_dataset())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_refused_in_every_precision(dtype, value):
    auxiliary = np.zeros(N, dtype)
    dataclasses.replace(full_dataset(), auxiliary=auxiliary)
    auxiliary[3] = value
    with pytest.raises(DatasetError, match="auxiliary: row 3 is not finite"):
        dataclasses.replace(full_dataset(), auxiliary=auxiliary)


@pytest.mark.parametrize(
    "observation",
    [
        np.arange(F),
        np.linspace(-1, 1, 3 * F, dtype=np.float32).reshape(F, 3),
        np.zeros((F, 2, 8, 13), np.uint8),
        np.ones((F, 2, 2), bool),
    ],
)
def test_observations_may_be_any_numbers(tmp_path, observation):
    data = dataclasses.replace(full_dataset(), observation=observation, auxiliary=None)
    write_transitions(tmp_path / "t.npz", data)
    back = read_transitions(tmp_path / "t.npz")
    np.testing.assert_array_equal(np.concatenate(list(chunks(back.observation, 3))), observation)
    np.testing.assert_array_equal(back.content_ids(), data.content_ids())
    assert len(np.unique(data.content_ids())) == len(np.unique(observation, axis=0))
    assert not back.images
    assert back.auxiliary is None


def test_codes_are_made_anew_from_what_was_done(tmp_path):
    data = full_dataset()
    write_transitions(tmp_path / "t.npz", data)
    back = read_transitions(tmp_path / "t.npz", actions="sign")
    np.testing.assert_array_equal(back.action, (data.action_value >= 0) @ [2, 1])
    assert back.metadata == {**data.metadata, "action_abstraction": "sign", "action_codes": {"sign": 2}}
    write_transitions(tmp_path / "d.npz", dataclasses.replace(data, action_value=None))
    with pytest.raises(DatasetError, match="--actions sign needs action_value"):
        read_transitions(tmp_path / "d.npz", actions="sign")


def add_array(archive, name, header, data, compression=zipfile.ZIP_DEFLATED):
    """Write an array with any header and with bytes from an iterator."""
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, header)
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        file._zinfo.compress_type = compression
        file._compressor = zipfile._get_compressor(compression, 9)
        file.write(start.getvalue())
        for piece in data:
            file.write(piece)


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_pickled_objects_are_not_unpickled(tmp_path):
    objects = np.array([Payload(str(tmp_path / "executed")), None], dtype=object)
    for name in ("source", "observation", "metadata", "color"):
        arrays = {each: [0, 0] for each in ("source", "action", "successor")}
        np.savez(tmp_path / "t.npz", **{**arrays, name: objects})
        with pytest.raises(DatasetError, match=f"{name}: holds Python objects, which are never loaded"):
            read_transitions(tmp_path / "t.npz")
    assert not (tmp_path / "executed").exists()


ZEROS = bytes(1 << 24)


@pytest.mark.parametrize("name", ["observation", "count"])
def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked(tmp_path, name):
    path = tmp_path / "t.npz"
    frames = 40 * len(ZEROS) // 64
    np.savez(path, source=np.arange(4), action=np.zeros(4, int), successor=np.arange(4))
    with zipfile.ZipFile(path, "a") as archive:
        add_array(archive, name, {"descr": "|u1", "fortran_order": False, "shape": (frames, 64)}, [ZEROS] * 40)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DatasetError, match=r"expand from [\d,]+ to [\d,]+ bytes.*write it uncompressed"):
        read_transitions(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_expand_without_bound_are_refused(tmp_path, compression):
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        add_array(archive, "source", {"descr": "<i8", "fortran_order": False, "shape": (2,)}, [bytes(16)], compression)
        for name in ("action", "successor"):
            add_array(archive, name, {"descr": "<i8", "fortran_order": False, "shape": (2,)}, [bytes(16)])
    with pytest.raises(DatasetError, match="source: is compressed in a way that NumPy does not write"):
        read_transitions(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"descr": "<i8", "shape": (-1, -2)}, r"has the shape \(-1, -2\)"),
        ({"descr": "<i8", "shape": (2**61,)}, "declares 18446744073709551616 bytes"),
        ({"descr": "<i8", "shape": (2**62, 0)}, "is damaged|must be|declares"),
        ({"descr": "|O", "shape": (2,)}, "holds Python objects"),
        ({"descr": "<U0", "shape": (2**40,)}, "must hold numbers"),
        ({"descr": "|V16", "shape": ()}, "must hold numbers"),
        ({"descr": [("a", "<i8")], "shape": (2,)}, "must hold numbers"),
        ({"descr": "<i8", "shape": (3,)}, "declares 24 bytes and has 16"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, header, message):
    np.savez(tmp_path / "t.npz", action=[0, 0], successor=[0, 0])
    with zipfile.ZipFile(tmp_path / "t.npz", "a") as archive:
        add_array(archive, "source", {"fortran_order": False, **header}, [bytes(16)])
    with pytest.raises(DatasetError, match=message):
        read_transitions(tmp_path / "t.npz")


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "x" * 300, ""])
def test_names_that_cannot_be_printed_are_refused(tmp_path, name):
    np.savez(tmp_path / "t.npz", source=[0], action=[0], successor=[0], **{name: np.zeros(3)})
    with pytest.raises(DatasetError, match="unusable name") as found:
        read_transitions(tmp_path / "t.npz")
    assert str(found.value).isprintable()


def test_bools_from_a_file_are_zero_or_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        for name in ("source", "action", "successor"):
            add_array(archive, name, {"descr": "<i8", "fortran_order": False, "shape": (2,)}, [bytes(16)])
        add_array(archive, "terminated", {"descr": "|b1", "fortran_order": False, "shape": (2,)}, [b"\x07\x00"])
    assert read_transitions(tmp_path / "t.npz").terminated.view(np.uint8).tolist() == [1, 0]


@pytest.mark.parametrize("largest", [5, 2**31 - 1, 2**31])
def test_codes_are_read_into_32_bits_where_all_fit_and_written_in_64(tmp_path, largest):
    rows = np.arange(300_000)  # several pieces
    action = np.where(rows == 299_000, largest, 0)
    data = TransitionDataset(rows, action, rows + 1, rows % 2, episode=-rows)
    write_transitions(tmp_path / "t.npz", data)
    with np.load(tmp_path / "t.npz") as stored:
        assert {stored[name].dtype for name in ("source", "action", "successor", "episode")} == {np.dtype(np.int64)}
    found = read_transitions(tmp_path / "t.npz")
    assert found.source.dtype == found.successor.dtype == found.episode.dtype == np.int32
    assert found.action.dtype == (np.int32 if largest < 2**31 else np.int64)
    for name in ("source", "action", "successor", "episode"):
        assert (getattr(found, name) == getattr(data, name)).all()
