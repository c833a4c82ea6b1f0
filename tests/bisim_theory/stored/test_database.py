"""Numbers that occur in a column, counted by a bit for each."""

import numpy as np
import pytest
from bisim_theory.relation.backends import database as module
from bisim_theory.relation.backends.database import Database


@pytest.fixture(scope="module")
def database():
    with Database(1 << 28, threads=1) as opened:
        yield opened


@pytest.mark.parametrize("most", [10**9, 0])
@pytest.mark.parametrize("below", [1, 2, 7, 8, 9, 1000])
def test_different_numbers_are_counted_as_numpy_does(database, monkeypatch, below, most):
    monkeypatch.setattr(module, "MOST_BITS", most)
    value = np.random.default_rng(below).integers(below, size=50)
    database.load("given_values", {"value": value})
    assert database.different("value", "given_values", below) == len(np.unique(value))
    database.execute("delete from given_values")
    assert database.different("value", "given_values", below) == 0


@pytest.mark.parametrize("below", [1, 8, 9, 1000])
def test_the_bits_of_the_numbers_that_occur_are_set(database, below):
    value = np.random.default_rng(below).integers(below, size=below)
    database.load("given_values", {"value": value})
    bits = np.unpackbits(database.occurring("value", "given_values", below))
    assert np.flatnonzero(bits).tolist() == np.unique(value).tolist()
