import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dg_explorer.maths.mislabels import (
    area_under_roc,
    beyond_class,
    combine_signals,
    left_out_margin,
    mean_over_time,
    neighbour_disagreement,
    rank_share,
    spreads_beyond_class,
)


def test_area_under_roc_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    suspicion, truth = rng.integers(0, 8, 100) + 0.0, rng.random(100) < 0.3
    np.testing.assert_allclose(area_under_roc(suspicion, truth), roc_auc_score(truth, suspicion))
    assert np.isnan(area_under_roc(suspicion, np.zeros(100)))


def test_neighbours_agree_with_a_slow_search():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    got = neighbour_disagreement(features, labels, k=4)
    for i in range(40):
        distance = np.linalg.norm(features - features[i], axis=1)
        distance[i] = np.inf
        nearest = np.argsort(distance)[:4]
        weight = np.array([1, 1 / 2, 1 / 3, 1 / 4])
        slow = (weight * (labels[nearest] != labels[i])).sum() / weight.sum()
        assert abs(got[i] - slow) < 1e-12


def test_ranks_run_from_0_to_1_and_share_ties():
    np.testing.assert_allclose(rank_share([5, 1, 1, 9]), [2 / 3, 1 / 6, 1 / 6, 1])
    np.testing.assert_allclose(rank_share([np.nan, 1, 2]), [0.5, 0, 1])


def test_a_constant_signal_moves_nothing():
    signals = {"loss": np.array([3.0, 1.0, 2.0]), "flat": np.ones(3)}
    both = combine_signals(signals, {"loss": 1.0, "flat": 1.0})
    assert np.argsort(both).tolist() == [1, 2, 0]


def test_overflowed_losses_are_left_out_of_the_mean():
    assert mean_over_time(np.array([[1.0], [np.inf], [np.nan], [3.0]])) == 2.0
    assert np.isnan(mean_over_time(np.array([[np.nan]]))).all()


def test_a_left_out_margin_is_that_of_a_fit_without_the_example():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20)
    features = rng.normal(size=(20, 4)) + np.eye(3)[labels] @ rng.normal(size=(3, 4))
    design = (features - features.mean(0)) / features.std(0)
    design = np.column_stack([design, np.ones(20)])
    weight = (20 / 3 / np.bincount(labels))[labels]
    products = design.T @ (design * weight[:, None])
    penalty = 0.1 * np.trace(products) / 5 * np.eye(5)
    slow = []
    for i in range(20):
        rest = np.arange(20) != i
        x, w = design[rest], weight[rest, None]
        fit = np.linalg.solve(x.T @ (w * x) + penalty, x.T @ (w * np.eye(3)[labels[rest]]))
        answer = design[i] @ fit
        slow.append(answer[labels[i]] - np.delete(answer, labels[i]).max())
    np.testing.assert_allclose(left_out_margin(features, labels), slow, rtol=1e-9)


def test_a_class_of_two_has_no_left_out_margin():
    rng = np.random.default_rng(1)
    labels = np.r_[np.zeros(8, int), np.ones(8, int), 2, 2]
    found = left_out_margin(rng.normal(size=(18, 3)), labels)
    assert np.isnan(found).tolist() == (labels == 2).tolist()
    assert np.isnan(left_out_margin(rng.normal(size=(5, 3)), np.zeros(5))).all()


def test_a_class_that_is_late_as_a_class_is_not_beyond_itself():
    loss = np.r_[np.linspace(0, 0.2, 21), 5 + np.linspace(0, 0.2, 21), np.nan]
    labels = np.r_[np.zeros(21, int), np.ones(21, int), 1]
    found = beyond_class(loss, labels)
    np.testing.assert_allclose(found[:21], found[21:42], atol=1e-12)
    assert np.isnan(found[-1])
    spreads = spreads_beyond_class(np.r_[loss[:21], 2.0], np.zeros(22))
    slow = (2.0 - np.median(np.r_[loss[:21], 2.0])) / (
        1.4826 * np.median(np.abs(np.r_[loss[:21], 2.0] - np.median(np.r_[loss[:21], 2.0])))
    )
    assert spreads[-1] == pytest.approx(slow)
