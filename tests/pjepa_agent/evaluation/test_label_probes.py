import numpy as np
import pytest
from pjepa_agent.evaluation.label_probes import every_other_episode, probe_labels
from support.corridor import walks


@pytest.fixture(scope="module")
def labels():
    rng = np.random.default_rng(0)
    return {
        "kind": rng.integers(3, size=400),
        "alive": rng.integers(2, size=400).astype(bool),
        "speed": rng.normal(size=400),
        "place": rng.normal(size=(400, 2)),
        "score": rng.permutation(400),
        "always": np.ones(400, int),
        "step_idx": np.arange(400),
    }


def half(number):
    return np.arange(number) % 2 == 0


def test_probes_read_what_is_there_and_nothing_else(labels):
    columns = {
        "kind": np.eye(3)[labels["kind"]], "alive": labels["alive"][:, None], "speed": labels["speed"][:, None],
        "place": labels["place"], "score": labels["score"][:, None] / 100,
    }  # fmt: skip
    noise = np.random.default_rng(1).normal(size=(400, 3))
    for kept in (columns, ("kind", "place"), ("alive", "speed", "score"), ()):
        parts = [noise, *(columns[name] for name in kept)]
        rows = np.concatenate(parts, 1)
        rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(rows.shape[1],) * 2))[0]
        found = probe_labels(rows @ rotation, labels, half(400))
        assert set(found["linear_probe"]) == set(columns)
        for name in columns:
            score, chance = found["linear_probe"][name], found["chance"][name]
            assert score > 0.95 if name in kept else score < chance + 0.15, (kept, name)


def test_kinds_of_scores_and_their_floors(labels):
    found = probe_labels(np.zeros((400, 2)), labels, half(400))
    kinds = {"kind": "accuracy", "alive": "accuracy", "speed": "R^2", "place": "R^2", "score": "R^2"}
    assert found["probe_score"] == kinds
    assert found["chance"]["speed"] == 0
    most = np.bincount(labels["kind"][::2]).argmax()
    assert found["chance"]["kind"] == np.mean(labels["kind"][1::2] == most)
    assert found["linear_probe"]["kind"] == pytest.approx(found["chance"]["kind"])


def test_components_that_never_vary_do_not_count(labels):
    place = np.stack([labels["speed"], np.zeros(400)], 1)
    found = probe_labels(labels["speed"][:, None], {"place": place}, half(400))
    assert found["linear_probe"]["place"] > 0.99


def test_probes_are_fitted_on_every_other_episode():
    data = walks(episodes=5)
    fit = every_other_episode(data)
    for ids in (data.source, data.successor):
        np.testing.assert_array_equal(fit[ids], data.episode % 2 == 0)
