"""Connected components of an undirected graph, in arrays."""

import numpy as np

from bisim_theory.data.transitions import Ids


def components(number: int, x: Ids, y: Ids) -> Ids:
    """Compute (number,) the smallest vertex of the component of each vertex.

    Args:
        number: vertices 0..number-1.
        x, y: (m,) the ends of the edges.
    """
    root = np.arange(number)
    while True:
        a, b = root[x], root[y]
        open_ = a != b
        if not open_.any():
            return root
        x, y, a, b = x[open_], y[open_], a[open_], b[open_]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while (root != root[root]).any():
            root = root[root]
