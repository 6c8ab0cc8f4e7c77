import numpy as np

from dg_explorer.maths.extents import NAMES, extents


def test_boxes_hold_all_points_that_are_numbers():
    spots = np.random.default_rng(0).normal(size=(3, 50, 2))
    found = extents(spots)
    np.testing.assert_allclose(found["low"], spots.min(1), rtol=1e-6)
    np.testing.assert_allclose(found["high"], spots.max(1), rtol=1e-6)
    spots[1, 7] = np.nan, 1e9
    spots[2, 8, 1] = -np.inf
    found = extents(spots)
    for epoch, left_out in ((1, 7), (2, 8)):
        others = np.delete(spots[epoch], left_out, axis=0)
        np.testing.assert_allclose(found["low"][epoch], others.min(0), rtol=1e-6)
        np.testing.assert_allclose(found["high"][epoch], others.max(0), rtol=1e-6)


def test_a_few_far_points_are_outside_the_near_box_only():
    spots = np.random.default_rng(0).uniform(-1, 1, (1, 400, 3))
    spots[0, :3, 1] = 40
    found = extents(spots)
    assert found["high"][0, 1] == 40
    assert 0.9 < found["near_high"][0, 1] <= 1
    assert (found["near_low"] >= found["low"]).all()


def test_an_epoch_without_points_has_no_box():
    spots = np.full((2, 5, 2), np.nan)
    spots[1] = 1
    found = extents(spots)
    for name in NAMES:
        assert np.isnan(found[name][0]).all()
        assert (found[name][1] == 1).all()
    assert extents(np.zeros((2, 0, 2)))["low"].shape == (2, 2)


def test_of_many_points_a_sample_is_judged_and_the_whole_box_is_exact():
    spots = np.random.default_rng(0).normal(size=(1, 30_000, 2)).astype(np.float32)
    found = extents(spots)
    np.testing.assert_array_equal(found["low"][0], spots[0].min(0))
    assert (found["near_high"] <= found["high"]).all()
