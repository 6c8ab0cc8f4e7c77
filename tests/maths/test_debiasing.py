import numpy as np

from dg_explorer.maths.debiasing import (
    advantage,
    balanced_removal,
    group_alignment,
    most_harmful,
    shortcut_contrast,
    worst_group,
)


def test_alignment_by_hand():
    # group losses ln 3 and 0 -> weights 3/4 and 1/4
    scores = np.array([[4.0, 0.0], [0.0, 4.0], [-4.0, -8.0]])
    got = group_alignment(scores, np.array([0, 0, 1]), np.array([0.0, 0.0, np.log(3)]))
    np.testing.assert_allclose(got, [0.25 * 2 - 0.75 * 4, 0.25 * 2 - 0.75 * 8])


def test_without_sharpness_all_groups_count_alike_whatever_their_size():
    rng = np.random.default_rng(0)
    scores, groups = rng.normal(size=(9, 4)), np.array([0] * 7 + [1] * 2)
    expected = (scores[:7].mean(0) + scores[7:].mean(0)) / 2
    got = group_alignment(scores, groups, rng.random(9), sharpness=0)
    np.testing.assert_allclose(got, expected)


def test_only_negative_examples_are_dropped_and_the_worst_first():
    assert most_harmful(np.array([0.1, -2, -1, 3]), most=3).tolist() == [1, 2]


def test_balanced_removal_takes_from_the_largest_group_until_they_are_equal():
    groups = np.array(["a"] * 6 + ["b"] * 3 + ["c"] * 1)
    for remove, left in ((3, [3, 3, 1]), (5, [2, 2, 1]), (7, [1, 1, 1])):
        kept = np.delete(groups, balanced_removal(groups, remove=remove))
        assert np.unique(kept, return_counts=True)[1].tolist() == left


def test_the_worst_group_is_named():
    right = np.array([1, 1, 0, 1, 0, 0])
    assert worst_group(right, np.array(["x", "x", "y", "y", "z", "z"])) == (0.0, "z")


def test_what_an_example_teaches_all_groups_alike_is_no_contrast():
    rng = np.random.default_rng(0)
    groups, losses = np.array([0] * 6 + [1] * 3), np.array([0.1] * 6 + [2.0] * 3)
    both = np.tile(rng.normal(size=5), (9, 1))
    np.testing.assert_allclose(shortcut_contrast(both, groups, losses), 0, atol=1e-12)
    one_sided = np.where(groups == 0, 1.0, -1.0)[:, None]  # helps the good group, hurts the bad
    got = shortcut_contrast(both + one_sided, groups, losses)
    worst = np.exp(2.0) / (np.exp(2.0) + np.exp(0.1))
    np.testing.assert_allclose(got, -2 * (2 * worst - 1))


def test_the_interval_over_one_start_covers_another_draw_as_often_as_it_says():
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(4000, 1, 7))
    covered = [low <= 0 <= high for _, low, high in (advantage(d[0, :1], d[:, 1:]) for d in drawn)]
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)


def test_a_draw_that_diverged_is_left_out_of_an_advantage():
    others = np.array([[1.0, np.nan], [2.0, 4.0], [np.nan, np.nan]])
    found = advantage(np.array([2.0, 5.0, 9.0]), others)
    assert found.mean == np.mean([1.0, 2.0])
    assert np.isnan(advantage(np.array([1.0]), np.array([[0.5]])).low)
