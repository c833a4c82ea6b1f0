import dataclasses

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
from bisim_theory.transitions import chunks

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
        ({"observation": np.zeros((F, 4, 5, 3))}, "observation: must be"),
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

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
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
