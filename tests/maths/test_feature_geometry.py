"""Separability, dimension and neural collapse: against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestCentroid

from dg_explorer.maths.dimension import effective_rank, participation_ratio
from dg_explorer.maths.neural_collapse import neural_collapse
from dg_explorer.maths.separability import fisher_ratio, scatter_matrices, silhouette


def blobs(seed=0, n=60, n_classes=3, width=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    return rng.normal(size=(n, width)) + 2 * rng.normal(size=(n_classes, width))[labels], labels


@pytest.mark.parametrize("block", [7, 512])
def test_silhouette_equals_scikit_learn(block):
    features, labels = blobs()
    labels[0] = 99  # alone in its class
    got = silhouette(features + 1e4, labels, block=block)
    np.testing.assert_allclose(got, silhouette_score(features, labels), rtol=1e-9)


def test_scatter_within_and_between_add_up_to_the_covariance():
    features, labels = blobs(1)
    within, between = scatter_matrices(features, labels)
    np.testing.assert_allclose(within + between, np.cov(features.T, ddof=0), atol=1e-12)


def test_fisher_ratio_equals_the_eigenvalues_of_discriminant_analysis():
    features, labels = blobs(2)
    fit = LinearDiscriminantAnalysis(solver="eigen").fit(features, labels)
    within = fit.covariance_
    projected = fit.scalings_[:, :2]
    means = np.array([features[labels == c].mean(0) for c in range(3)])
    share = np.bincount(labels) / len(labels)
    between = (means - features.mean(0)).T @ np.diag(share) @ (means - features.mean(0))
    slow = sum(v @ between @ v / (v @ within @ v) for v in projected.T)
    np.testing.assert_allclose(fisher_ratio(features, labels), slow, rtol=1e-6)


def test_fisher_ratio_does_not_change_under_any_linear_map():
    features, labels = blobs(3)
    turned = features @ np.random.default_rng(0).normal(size=(5, 5))
    np.testing.assert_allclose(fisher_ratio(features, labels), fisher_ratio(turned, labels))


def test_one_class_or_constant_features_give_nan_not_a_number_that_looks_real():
    features, labels = blobs(4)
    assert np.isnan(silhouette(features, np.zeros(60)))
    assert np.isnan(fisher_ratio(features, np.zeros(60)))
    assert all(np.isnan(neural_collapse(features, np.zeros(60))))
    constant = np.full((60, 5), 0.1)
    assert silhouette(constant, labels) == 0
    assert fisher_ratio(constant, labels) == 0
    assert np.isnan(effective_rank(constant))
    assert np.isnan(participation_ratio(constant))
    assert np.isnan(neural_collapse(constant, labels).nc1)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_k_equal_directions_have_rank_k(k):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(50, k)) - 0)[0]
    basis = np.linalg.qr(basis - basis.mean(0))[0]  # centred and orthonormal
    features = basis @ np.linalg.qr(rng.normal(size=(8, k)))[0].T + 7
    np.testing.assert_allclose(effective_rank(features), k, rtol=1e-6)
    np.testing.assert_allclose(participation_ratio(features), k, rtol=1e-6)


def test_effective_rank_of_two_unequal_directions_by_hand():
    # singular values 3 : 1 -> entropy of (3/4, 1/4)
    features = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]], dtype=float)
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    np.testing.assert_allclose(effective_rank(features), expected, rtol=1e-12)
    np.testing.assert_allclose(participation_ratio(features), 100 / 82, rtol=1e-12)


def test_full_collapse_is_zero_on_all_four():
    simplex = np.eye(4) - 1 / 4
    labels = np.repeat(np.arange(4), 10)
    found = neural_collapse(simplex[labels] + 3, labels, 5 * simplex, -5 * simplex @ np.full(4, 3))
    np.testing.assert_allclose(found, 0, atol=1e-12)


def test_collapse_measures_by_hand_on_two_classes():
    # means at -1 and +1, variance 1/4 within: S_W / S_B = .25, halved
    features = np.array([[-1.5], [-0.5], [0.5], [1.5]])
    found = neural_collapse(features, np.array([0, 0, 1, 1]), np.array([[1.0], [1.0]]))
    np.testing.assert_allclose(found.nc1, 0.125, rtol=1e-12)
    assert found.nc2_norms == 0
    assert found.nc2_angles == 0
    # unit weights (1, 1)/sqrt 2 against means (-1, 1)/sqrt 2
    np.testing.assert_allclose(found.nc3, 2.0, rtol=1e-12)
    # the classifier says class 0 for all; half of the examples are nearer to mean 1
    assert found.nc4 == 0.5


def test_nc4_agrees_with_the_nearest_centroid_classifier():
    features, labels = blobs(5)
    rng = np.random.default_rng(6)
    weight, bias = rng.normal(size=(3, 5)), rng.normal(size=3)
    nearest = NearestCentroid().fit(features, labels).predict(features)
    said = (features @ weight.T + bias).argmax(1)
    assert neural_collapse(features, labels, weight, bias).nc4 == (nearest != said).mean()
