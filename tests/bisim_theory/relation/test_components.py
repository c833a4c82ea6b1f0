import numpy as np
from bisim_theory.relation.components import components
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def test_components_are_those_of_scipy_named_by_their_smallest_vertex():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        number = int(rng.integers(1, 60))
        x, y = rng.integers(number, size=(2, int(rng.integers(0, number + 1))))
        label = connected_components(coo_array((np.ones(len(x)), (x, y)), shape=(number, number)), directed=False)[1]
        smallest = np.array([np.flatnonzero(label == each)[0] for each in label])
        assert (components(number, x, y) == smallest).all()


def test_a_long_path_in_any_order_is_one_component():
    path = np.random.default_rng(0).permutation(100_000)
    assert (components(len(path), path[:-1], path[1:]) == 0).all()
