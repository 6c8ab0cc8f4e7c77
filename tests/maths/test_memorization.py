import numpy as np

from dg_explorer.maths.memorization import memorization_gap, subset_memorization


def test_gap_is_train_minus_test():
    assert memorization_gap([1.0, 1.0], [0.25, 1.0]).tolist() == [0.75, 0.0]


def test_subset_estimates_agree_with_a_slow_average_over_models():
    rng = np.random.default_rng(0)
    used = rng.random((30, 6)) < 0.6
    right, test = rng.random((30, 6)) < 0.7, rng.random((30, 4)) < 0.5
    found = subset_memorization(used, right, test)
    for i in range(6):
        inside, outside = used[:, i], ~used[:, i]
        slow = right[inside, i].mean() - right[outside, i].mean()
        assert abs(found.memorization[i] - slow) < 1e-12
        for q in range(4):
            slow = test[inside, q].mean() - test[outside, q].mean()
            assert abs(found.influence[q, i] - slow) < 1e-12


def test_an_example_right_only_when_trained_on_is_fully_memorized():
    used = np.array([[True, False], [False, True], [True, True], [False, False]])
    assert subset_memorization(used, used).memorization.tolist() == [1.0, 1.0]


def test_an_example_in_every_subset_has_no_estimate():
    used = np.array([[True, True], [True, False]])
    found = subset_memorization(used, np.ones((2, 2), dtype=bool))
    assert np.isnan(found.memorization[0])
    assert found.memorization[1] == 0.0


def test_the_error_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    p_in, p_out, covered = 0.9, 0.4, []
    for _ in range(400):
        used = rng.random((60, 1)) < 0.5
        right = rng.random((60, 1)) < np.where(used, p_in, p_out)
        found = subset_memorization(used, right)
        covered.append(abs(found.memorization[0] - 0.5) < 1.96 * found.memorization_error[0])
    assert 0.91 <= np.mean(covered) <= 0.99
