import numpy as np
import pytest
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.evaluation.probes import mean_position, occupancy, probe


@pytest.fixture(scope="module")
def labels():
    return tuple(
        CountingDomain(CollectionConfig()).balanced_observations(number, seed)[1] for number, seed in ((60, 0), (30, 1))
    )


def embed(labels, *parts, seed=0):
    """Embeddings that hold some of the labels, rotated and with a little noise."""
    columns = {
        "count": lambda: np.eye(9)[labels["count"]],
        "shape": lambda: np.eye(4)[labels["shape"]],
        "color": lambda: labels["color"] / 100,
        "position": lambda: np.nan_to_num(mean_position(labels, 64), nan=30) / 10,
        "occupancy": lambda: np.nan_to_num(occupancy(labels, 64)) * 5,
        "noise": lambda: np.random.default_rng(seed).normal(size=(len(labels["count"]), 5)),
    }
    values = np.concatenate([columns[part]() for part in parts], 1)
    return values @ np.linalg.qr(np.random.default_rng(9).normal(size=(values.shape[1],) * 2))[0]


def test_probes_read_what_is_there_and_nothing_else(labels):
    parts = ("count", "shape", "color", "position", "occupancy")
    for kept in (parts, ("count", "noise"), ("color", "shape", "noise")):
        found = probe(embed(labels[0], *kept), labels[0], embed(labels[1], *kept, seed=1), labels[1], 64)
        for kind in ("linear", "mlp"):
            for name in ("count", "shape"):
                score, chance = found[kind][name], found["chance"][name]
                assert score > 0.9 if name in kept else score < chance + 0.2, (kept, kind, name)
            for name in ("color", "position"):
                assert found[kind][name] > 0.8 if name in kept else found[kind][name] < 0.1, (kept, kind, name)
        assert (found["linear"]["occupancy"] > 0.9) == ("occupancy" in kept)


def test_an_mlp_reads_what_no_linear_probe_can(labels):
    def rings(labels, seed):
        angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(labels["count"]))
        radius = np.where(labels["shape"] < 2, 1, 5)
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)

    found = probe(rings(labels[0], 0), labels[0], rings(labels[1], 1), labels[1], 64)
    assert found["mlp"]["shape"] > 0.4 > 0.33 > found["linear"]["shape"]


def test_probes_of_a_point_are_chance(labels):
    found = probe(np.ones((540, 3)), labels[0], np.ones((270, 3)), labels[1], 64)
    for kind in ("linear", "mlp"):
        assert found[kind]["count"] == pytest.approx(1 / 9)
        assert max(found[kind][name] for name in ("color", "position", "occupancy")) < 0.05
    assert found["chance"]["count"] == pytest.approx(1 / 9)
    assert found["chance"]["shape"] == pytest.approx(0.25, abs=0.06)


def test_places_of_objects_by_hand():
    positions = [[-1, -1, -1, -1], [3, 60, -1, -1], [3, 3, 60, 61], [17, 18, 32, 31]]
    labels = {"count": np.array([0, 1, 2, 2]), "positions": np.array(positions)}
    mean, share = mean_position(labels, 64), occupancy(labels, 64)
    assert np.isnan(mean[0]).all()
    assert np.isnan(share[0]).all()
    assert mean[1:].tolist() == [[3, 60], [31.5, 32], [24.5, 24.5]]
    assert {(i, j): share[i, j] for i, j in np.argwhere(share > 0).tolist()} == {
        (1, 3): 1, (2, 0): 0.5, (2, 15): 0.5, (3, 1): 0.5, (3, 9): 0.5,
    }  # fmt: skip


def test_the_count_says_nothing_of_where_objects_are(labels):
    count = labels[0]["count"]
    for target in (mean_position, occupancy):
        values = target(labels[0], 64)[count > 0]
        means = np.stack([values[count[count > 0] == k].mean(0) for k in range(1, 9)])
        explained = np.square(means[count[count > 0] - 1] - values.mean(0)).sum() / values.var(0).sum() / len(values)
        assert explained < 0.05
