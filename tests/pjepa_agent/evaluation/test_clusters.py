import math

import numpy as np
import pytest
from pjepa_agent.evaluation.clusters import (
    between_within_variance,
    gap_over_radius,
    nearest_centroid_accuracy,
    pairwise_distances,
    silhouette,
    spread,
    within_across_ratio,
)
from pjepa_agent.evaluation.effective_rank import lidar, rankme


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


def test_variances_and_gap_by_hand():
    embedding = np.array([[0.0, 0], [2, 0], [10, 0], [10, 4], [20, 1], [22, 1]])
    labels = np.array([0, 0, 1, 1, 2, 2])
    # Centroids (1, 0), (10, 2), (21, 1); mean squares 1, 4, 1 around them.
    between = ((1 - 32 / 3) ** 2 + (10 - 32 / 3) ** 2 + (21 - 32 / 3) ** 2 + 2) / 3
    assert between_within_variance(embedding, labels) == pytest.approx(between / 2)
    assert gap_over_radius(embedding, labels) == pytest.approx(math.sqrt(81 + 4) / 2)


def test_spread_by_hand():
    assert spread(np.array([[0.0, 0], [6, 8]])) == pytest.approx(5)
    assert spread(np.full((7, 3), 0.1, np.float32)) == 0


@pytest.mark.parametrize("measure", [between_within_variance, gap_over_radius])
def test_ratios_of_points(measure):
    labels = np.repeat([0, 1], 3)
    assert math.isnan(measure(np.full((6, 2), 0.1, np.float32), labels))
    assert measure(np.repeat([[0.0], [1.0]], 3, axis=0), labels) == math.inf


@pytest.mark.parametrize("measure", [within_across_ratio, between_within_variance, gap_over_radius, silhouette])
def test_arrangement_does_not_depend_on_place_and_scale(measure):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    embedding = rng.normal(size=(60, 4)) + labels[:, None]
    assert measure(1e-3 * embedding + 5, labels) == pytest.approx(measure(embedding, labels), rel=1e-6)


def test_the_share_of_the_variance_that_labels_explain():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    embedding = rng.normal(size=(100, 3)) + 2 * labels[:, None]
    codes = np.eye(4)[labels]
    predicted = codes @ np.linalg.lstsq(codes, embedding, rcond=None)[0]
    share = 1 - np.square(embedding - predicted).sum() / np.square(embedding - embedding.mean(0)).sum()
    assert between_within_variance(embedding, labels) == pytest.approx(share / (1 - share))


def test_silhouette_by_hand():
    embedding, labels = np.array([[0.0], [1.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
    expected = [(11 - 1) / 11, (10 - 1) / 10, (9.5 - 2) / 9.5, (11.5 - 2) / 11.5]
    assert silhouette(embedding, labels) == pytest.approx(np.mean(expected))
    assert math.isnan(silhouette(np.ones((4, 2)), labels))


def test_rankme_counts_directions():
    rng = np.random.default_rng(0)
    orthogonal = np.linalg.qr(rng.normal(size=(50, 20)))[0]
    assert rankme(orthogonal) == pytest.approx(20, rel=1e-4)
    assert rankme(np.outer(rng.normal(size=50), rng.normal(size=20))) == pytest.approx(1, abs=1e-3)
    assert rankme(orthogonal[:, :5] @ rng.normal(size=(5, 5))) < 5
    assert math.isnan(rankme(np.zeros((4, 2))))
    assert math.isnan(rankme(np.full((4, 2), np.inf)))


@pytest.mark.parametrize("shape", [(60, 8), (8, 60)])
def test_rankme_is_its_formula(shape):
    embedding = np.random.default_rng(1).normal(size=shape)
    singular = np.linalg.svd(embedding, compute_uv=False)
    share = singular / singular.sum() + 1e-7
    # As wide as the papers' sum: the singular values that are zero do not matter.
    assert rankme(embedding) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)


def test_lidar_counts_the_directions_that_tell_scenes_apart():
    rng = np.random.default_rng(0)
    scenes = np.repeat(np.arange(200), 10)
    noise = rng.normal(size=(2000, 12))
    means = np.zeros((200, 12))
    means[:, :3] = 100 * np.linalg.qr(rng.normal(size=(200, 3)))[0] * math.sqrt(200)
    apart, merged = means[scenes] + noise, noise
    assert lidar(apart, scenes) == pytest.approx(3, rel=0.02)
    assert lidar(merged, scenes) > 11  # nothing tells scenes apart, in no direction more than in another
    # RankMe would count directions in which views of one scene differ; LiDAR weighs them down.
    stretched = apart * np.array([1, 1, 1] + [100] * 9)
    assert lidar(stretched, scenes) < 4 < rankme(stretched)
    assert lidar(7 * apart - 3, scenes) == pytest.approx(lidar(apart, scenes), rel=1e-6)
    assert math.isnan(lidar(np.ones((2000, 3)), scenes))


def test_lidar_is_its_formula():
    rng = np.random.default_rng(2)
    views = rng.normal(size=(30, 5, 1)) * np.array([3.0, 1, 0.1]) + rng.normal(size=(30, 5, 3))
    means = views.mean(1)
    between = np.cov(means.T, bias=True)
    within = np.mean([np.cov(view.T, bias=True) for view in views], 0)
    within += 1e-4 * np.trace(between + within) / 3 * np.eye(3)
    values = np.linalg.eigvals(np.linalg.inv(within) @ between).real  # similar to the symmetric product
    share = values / values.sum() + 1e-7
    expected = np.exp(-(share * np.log(share)).sum())
    assert lidar(views.reshape(150, 3), np.repeat(np.arange(30), 5)) == pytest.approx(expected, rel=1e-6)
