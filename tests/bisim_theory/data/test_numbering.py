import numpy as np
import pytest
from bisim_theory.data import numbering


@pytest.mark.parametrize("attempts", [0, 1, 8])
@pytest.mark.parametrize("below", [1, 3, 60, 10**6, 2**63])
def test_keys_share_a_number_iff_they_are_equal_however_they_collide(monkeypatch, attempts, below):
    monkeypatch.setattr(numbering, "BLOCK", 7)
    monkeypatch.setattr(numbering, "ATTEMPTS", max(attempts, 1))
    if attempts == 0:  # a hash that has one slot for all keys
        monkeypatch.setattr(numbering._Slots, "__call__", lambda self, keys: np.zeros(len(keys), np.int64))
    rng = np.random.default_rng(below)
    for length in range(40):
        key = rng.choice(rng.integers(below, size=max(length // 2, 1)), length)
        code, first = numbering.number(key, below)
        assert (key[first[code]] == key).all()
        assert first.tolist() == sorted(np.unique(key, return_index=True)[1].tolist())
        assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("block", [7, 1 << 16])
def test_integers_are_ordered_as_by_a_stable_sort(monkeypatch, block):
    monkeypatch.setattr(numbering, "BLOCK", block)
    rng = np.random.default_rng(0)
    for below in (1, 2, 24, 25, 2**16, 2**16 + 1, 2**31, 2**33):
        code = rng.choice(rng.integers(below, size=50), 200)
        assert (numbering.order_of(code, below) == np.argsort(code, kind="stable")).all()


@pytest.mark.parametrize(
    "values",
    [
        [],
        [False, True, True],
        [0.0, -0.0, 1e-300, -1e-300, 0.1, 0.1],
        np.array([-128, 127, 0, -128], np.int8),
        np.array([0, 2**64 - 1, 2**63, 2**64 - 1], np.uint64),
        np.array([-(2**63), 2**63 - 1, -(2**63)]),
        np.array([2**63 - 1, 2**63 - 2]),
        np.array([2**64 - 1, 2**64 - 2], np.uint64),
        np.array([0.1, 0.2, 0.1], np.float32),
        np.arange(3000)[::-1] % 1000 - 500,
    ],
)
def test_different_numbers_are_found_in_their_order(values):
    values = np.asarray(values)
    found, code = numbering.distinct(values)
    expected, inverse = np.unique(values, return_inverse=True)
    assert (found == expected).all()
    assert found.dtype == values.dtype
    assert (code == inverse).all()


def test_counts_equal_those_of_a_loop(monkeypatch):
    code = np.random.default_rng(0).integers(5, size=100)
    for block in (1, 3, 1000):
        monkeypatch.setattr(numbering, "BLOCK", block)
        assert numbering.count(code, 6).tolist() == [(code == each).sum() for each in range(6)]
        assert numbering.positions(code == 2).tolist() == np.flatnonzero(code == 2).tolist()
        assert numbering.first_positions(np.append(code, range(5)), 5).tolist() == [
            code.tolist().index(each) for each in range(5)
        ]
