import numpy as np
import pytest
from bisim_theory.relation import minima, sorting
from bisim_theory.relation.prefixes import rectangles


def arrays():
    rng = np.random.default_rng(0)
    for length in (1, 2, 3, 15, 16, 17, 33, 100):
        yield from (rng.integers(5, size=length), np.arange(length), np.arange(length)[::-1], np.zeros(length, int))


@pytest.mark.parametrize("short", [0, 1 << 12])
def test_a_minimum_of_a_range_is_that_of_a_slice(monkeypatch, short):
    monkeypatch.setattr(minima, "SHORT", short)
    for values in arrays():
        start, stop = np.triu_indices(len(values) + 1, 1)
        found = minima.RangeMinima(values.astype(np.int32)).of(start, stop)
        assert found.tolist() == [values[i:j].min() for i, j in zip(start, stop, strict=True)]


@pytest.mark.parametrize("short", [0, 1 << 12])
@pytest.mark.parametrize("or_equal", [False, True])
def test_the_last_smaller_entry_before_each_is_that_of_a_loop(monkeypatch, short, or_equal):
    monkeypatch.setattr(minima, "SHORT", short)
    for values in arrays():
        expected = [
            max((j for j in range(i) if values[j] < value + or_equal), default=-1)
            for i, value in enumerate(values.tolist())
        ]
        assert minima.last_smaller(values, or_equal).tolist() == expected


def test_rectangles_hold_every_pair_once_where_its_trajectories_part():
    for common in arrays():
        r = rectangles(common.astype(np.int32))
        parts = np.full((len(common) + 1,) * 2, -1)
        for boundary, (start, middle, stop) in enumerate(zip(r.start, r.middle, r.stop, strict=True)):
            assert (parts[start:middle, middle:stop] == -1).all()
            parts[start:middle, middle:stop] = common[boundary]
        for x in range(len(parts)):
            assert parts[x, x + 1 :].tolist() == [common[x:y].min() for y in range(x + 1, len(parts))]


@pytest.mark.parametrize("thin", [1, 2, 10**9])
def test_trajectories_are_sorted_alike_from_their_ends_and_by_doubling(monkeypatch, thin):

    monkeypatch.setattr(sorting, "THIN", thin)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        vertices = int(rng.integers(1, 30))
        successor = rng.integers(-1, vertices, vertices)
        p, action = rng.integers(2, size=(2, vertices))
        symbol = np.where(successor < 0, 3 * p, 3 * p + action + 1)
        words = []
        for vertex in range(vertices):
            word, at = [], vertex
            while at >= 0 and len(word) < 4 * vertices:
                word += [p[at], symbol[at] % 3]
                at = successor[at]
            words.append(tuple(word))
        order = sorted(set(words))
        steps = sorting.Steps(symbol.astype(np.int8), 3, successor.astype(np.int32))
        found = sorting.sort_steps(steps)
        assert found.place.tolist() == [order.index(word) for word in words]
        for common, one, other in zip(found.prefixes.common, order, order[1:], strict=False):
            same = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            assert common == same
