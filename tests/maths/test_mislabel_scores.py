import numpy as np
from sklearn.metrics import roc_auc_score

from dg_explorer.maths.mislabels import (
    area_under_roc,
    combine_signals,
    mean_over_time,
    neighbour_disagreement,
    rank_share,
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
