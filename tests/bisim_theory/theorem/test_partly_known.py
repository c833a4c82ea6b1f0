"""The smallest distance over R_D*, bounds and suggestions where p is unknown of some observations."""

import numpy as np
import pytest
from bisim_theory import Lipschitz, distance_bounds, empirical_bisimulation
from bisim_theory.relation.collect_next import collect_next
from bisim_theory.relation.level_table import table_relation
from bisim_theory.theorem.nearest import nearest_distinguished
from support.oracles import partly_known_dataset

INITIAL = {"unknown": 0.7, "initial": True, "one_action": True, "coverage": 0.9, "values": 3}
ANYWHERE = {"unknown": 0.4, "actions": 2, "coverage": 0.8}


@pytest.mark.parametrize("arguments", [INITIAL | {"reached": 60}, ANYWHERE], ids=["initial", "anywhere"])
def test_the_smallest_distance_is_that_of_all_pairs(monkeypatch, arguments):
    monkeypatch.setattr("bisim_theory.theorem.nearest.CHUNK", 16)
    monkeypatch.setattr("bisim_theory.theorem.nearest._FEW", 10)
    for seed in range(15):
        rng = np.random.default_rng(seed)
        data = partly_known_dataset(rng, frames=120, **arguments)
        relation = empirical_bisimulation(data)
        embedding = rng.normal(size=(data.frames, 3))
        ids = relation.observations
        apart = np.linalg.norm(embedding[ids][:, None] - embedding[ids], axis=2)
        distinguished = np.triu(relation.level(ids[:, None], ids) != 0)
        threshold = float(np.quantile(apart[distinguished], 0.3))
        found = nearest_distinguished(relation, embedding, threshold)
        assert found.distance == pytest.approx(apart[distinguished].min())
        assert relation.level(*found.pair) > 0
        assert found.close == (apart[distinguished] <= threshold).sum()


@pytest.mark.parametrize("arguments", [INITIAL | {"reached": 5}, ANYWHERE], ids=["initial", "anywhere"])
def test_without_residuals_the_bound_is_positive_exactly_on_the_relation(arguments):
    for seed in range(100):
        data = partly_known_dataset(np.random.default_rng(seed), frames=9, **arguments)
        relation = empirical_bisimulation(data)
        x, y = (ids.ravel() for ids in np.meshgrid(relation.observations, relation.observations))
        bounds = distance_bounds(data, x, y, np.zeros(len(data)), np.zeros(len(data)), Lipschitz(1.5, 2.0),
                                 leaf_residual=np.zeros(data.frames))  # fmt: skip
        level = relation.level(x, y).astype(int)
        assert ((bounds > 0) == (level > 0)).all()
        assert (bounds[level > 0] >= 0.5 / 1.5 ** (level[level > 0] - 1) - 1e-12).all()


def test_suggestions_do_not_depend_on_the_algorithm():
    suggested = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = partly_known_dataset(rng, frames=40, reached=25, **INITIAL)
        labels = rng.integers(3, size=data.frames)
        relation = empirical_bisimulation(data)
        found = collect_next(relation, labels)
        assert found == collect_next(table_relation(relation.behaviour), labels)
        suggested += len(found)
    assert suggested > 40
