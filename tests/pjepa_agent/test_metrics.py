import math

import numpy as np
import pytest
from pjepa_agent.metrics import MetricsFile, nearest_centroid_accuracy, pairwise_distances, within_across_ratio


def test_pairwise_distances_keep_their_digits_far_from_the_origin():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 5)) + 1e4, rng.normal(size=(30, 5)) + 1e4
    expected = np.linalg.norm(a[:, None] - b, axis=-1)
    np.testing.assert_allclose(pairwise_distances(a, b), expected, rtol=1e-9)


def test_nearest_centroid_accuracy_by_hand():
    reference, labels = np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([3, 3, 5, 5])
    scored = np.array([[5.0], [7.0], [1.0], [20.0]])
    assert nearest_centroid_accuracy(reference, labels, scored, np.array([3, 3, 3, 5])) == 0.75


def test_within_across_ratio_by_hand():
    embedding, labels = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([0, 0, 1, 1])
    assert within_across_ratio(embedding, labels) == pytest.approx(1 / 10)
    assert math.isnan(within_across_ratio(np.ones((4, 2)), labels))


def test_metrics_file_keeps_rows_up_to_a_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    for update in (0, 10, 20):
        metrics.append({"update": update, "loss": math.nan if update == 0 else 0.5 * update})
    assert path.read_text() == "update,loss\n0,nan\n10,5\n20,10\n"
    again = MetricsFile(path, until=10)
    again.append({"update": 15, "loss": 1.25})
    assert again.column("update") == [0, 10, 15]
    assert path.read_text() == "update,loss\n0,nan\n10,5\n15,1.25\n"
