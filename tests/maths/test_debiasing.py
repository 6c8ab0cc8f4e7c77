import numpy as np

from dg_explorer.maths.debiasing import balanced_removal, group_alignment, most_harmful, worst_group


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
