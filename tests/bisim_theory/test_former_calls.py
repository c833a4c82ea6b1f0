"""Calls in their former form, which compute the same and warn."""

import numpy as np
import pytest
from bisim_theory import (
    Representation,
    TransitionDataset,
    cannot_collapse,
    check_theorem,
    collect_next,
    embeddings_needed,
    empirical_bisimulation,
    fold,
)

DATA = TransitionDataset(
    [3, 3, 0, 5, 4, 1, 2], [5, 5, 9, 0, 9, 0, 0], [5, 4, 2, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0, 1],
    labels={"count": [0, 1, 0, 1, 0, 1]},
)  # fmt: skip
COUNT = DATA.labels["count"]
NAMES = fold(DATA)
RELATION = empirical_bisimulation(DATA, NAMES)
MODEL = Representation(np.eye(6), np.eye(6)[DATA.successor], DATA.p.astype(float))
FORMS = [
    (cannot_collapse, (DATA, 0, 1), {"stands_for": NAMES}, (DATA, 0, 1, NAMES), {}),
    (check_theorem, (DATA, RELATION, MODEL, None, COUNT, NAMES), {}, (RELATION, MODEL), {"labels": COUNT}),
    (check_theorem, (DATA, RELATION, MODEL), {"stands_for": NAMES}, (RELATION, MODEL), {}),
    (check_theorem, (RELATION, MODEL), {"stands_for": NAMES}, (RELATION, MODEL), {}),
    (check_theorem, (), {"data": DATA, "relation": RELATION, "representation": MODEL}, (RELATION, MODEL), {}),
    (collect_next, (DATA, RELATION, COUNT, 1), {}, (RELATION, COUNT, 1), {}),
    (embeddings_needed, (DATA, RELATION, NAMES, COUNT), {}, (RELATION, COUNT), {}),
]


@pytest.mark.parametrize(("function", "former", "keywords", "present", "present_keywords"), FORMS)
def test_a_former_call_computes_the_same_and_warns(function, former, keywords, present, present_keywords):
    with pytest.warns(DeprecationWarning, match=rf"{function.__name__}\(data, .* is now {function.__name__}\("):
        found = function(*former, **keywords)
    assert repr(found) == repr(function(*present, **present_keywords))


def test_the_former_name_of_the_representatives_is_taken_and_warns():
    with pytest.warns(DeprecationWarning, match=r"is now empirical_bisimulation\(data, representative, "):
        relation = empirical_bisimulation(DATA, stands_for=NAMES)
    assert (relation.representative == NAMES).all()
    assert relation.distinguished_pairs_per_level == RELATION.distinguished_pairs_per_level


def test_an_unknown_argument_is_no_former_one():
    with pytest.raises(TypeError, match="nothing"):
        check_theorem(RELATION, MODEL, nothing=1)
    with pytest.warns(DeprecationWarning, match="is now"), pytest.raises(TypeError, match="nothing"):
        check_theorem(DATA, RELATION, MODEL, nothing=1)
