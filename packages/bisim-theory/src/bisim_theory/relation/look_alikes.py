"""Equal observations that differ in a label: no encoder tells them apart."""

from dataclasses import dataclass

import numpy as np

from bisim_theory.data.transitions import Ids


@dataclass(frozen=True)
class LookAlikes:
    """Pairs of equal observations that differ in a wanted label: no encoder tells them apart, whatever p is.

    Attributes:
        pairs: how many there are.
        example: ids of the observations of one of them; None where there is none.
    """

    pairs: int
    example: tuple[int, int] | None


def find_look_alikes(code: Ids, content: Ids) -> LookAlikes:
    """Count the pairs of equal content whose labels differ, of all observations, joined or not.

    Args:
        code: (F,) integers, equal for observations whose labels are.
        content: (F,) ids in which observations of equal content have one id, that of the first of them.
    """
    key = content.astype(np.int64) * (int(code.max()) + 1) + code
    pairs = _pairs_of_equal(content) - _pairs_of_equal(key)
    if not pairs:
        return LookAlikes(0, None)
    order = np.lexsort((code, content))
    same = content[order[1:]] == content[order[:-1]]
    first = int(np.flatnonzero(same & (code[order[1:]] != code[order[:-1]]))[0])
    x, y = sorted(order[first : first + 2].tolist())
    return LookAlikes(pairs, (x, y))


def ambiguous_observations(code: Ids, occurring: Ids, content: Ids | None) -> Ids:
    """Return the ids of observations that stand for equal ones whose labels differ; none where none were joined.

    Args:
        code: (F,) integers, equal for observations whose labels are.
        occurring: ids of the observations of the transitions.
        content: as of `find_look_alikes`; None where contents are not compared.
    """
    if content is None or (content[occurring] != occurring).any():  # equal observations were not joined
        return np.empty(0, np.int64)
    return np.intersect1d(content[code != code[content]], occurring)


def _pairs_of_equal(key: Ids) -> int:
    sizes = np.unique(key, return_counts=True)[1].astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())
