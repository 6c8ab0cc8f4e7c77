import numpy as np
import pytest

from benchmarks import smooth_truth as module
from benchmarks.smooth_checks import negative_controls, sign_flips, what_pairs_share, without
from benchmarks.smooth_truth import smooth_training, smooth_truth
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.evaluation.lds_by_method import scores_by_epoch
from dg_explorer.evaluation.smoothness import metasmoothness


@pytest.mark.parametrize("drop", module.DROPS)
@pytest.mark.parametrize("seed", module.SEEDS)
def test_every_subset_lacks_the_share_it_says(seed, drop):
    mask = smooth_truth(seed, drop).mask
    assert (mask.sum("train") == round((1 - drop) * 317)).all()
    assert len(np.unique(mask.values, axis=0)) == module.N_SUBSETS


def test_the_asset_is_small_enough_to_ship():
    assert module.ASSET.stat().st_size < 4_000_000


def test_halves_share_no_subset_and_make_up_the_whole():
    halves = [smooth_truth(0, half=half).subset.values for half in ("tuning", "reporting")]
    assert not set(halves[0]) & set(halves[1])
    assert len(halves[0]) + len(halves[1]) == module.N_SUBSETS


def test_removing_more_changes_more():
    few, many = (smooth_truth(0, drop) for drop in module.DROPS)
    assert abs(many.output - many.full).mean() > abs(few.output - few.full).mean()


def test_recipes_refuse_a_setting_they_do_not_have():
    with pytest.raises(TypeError, match="weight_decay"):
        modular_addition("smooth", momentum=0.9)


def test_predicted_sign_flips_have_other_signs_and_no_example_twice():
    import xarray as xr

    rng = np.random.default_rng(0)
    scores = xr.DataArray(
        rng.standard_normal((2, 4, 30)),
        dims=("epoch", "test", "train"),
        coords={"epoch": [1, 9], "test": np.arange(4) + 7, "train": np.arange(30) + 100},
    )
    pairs = sign_flips(scores, early=1, late=9, n=10)
    assert len({train for _, train in pairs}) == 10
    for test, train in pairs:
        early, late = scores.sel(test=test, train=train).values
        assert early * late < 0


def test_metasmoothness_tells_the_two_recipes_apart():
    smooth, usual = (
        metasmoothness(training=modular_addition(recipe, n_steps=120), directions=1)
        for recipe in ("smooth", "fast")
    )
    assert smooth.metasmoothness.item() > 0.95
    assert usual.metasmoothness.item() < 0.6


def test_methods_of_several_checkpoints_use_those_before_the_epoch_only():
    training = modular_addition("smooth", n_steps=30, record_at=(10, 30))
    test = training.test_ids[:2]
    both = scores_by_epoch(training, "gradient_dot", test, history=(10, 20))
    alone = {
        epoch: scores_by_epoch(
            training.with_changes(record_at=(epoch,)), "gradient_dot", test
        ).squeeze("epoch", drop=True)
        for epoch in (10, 20, 30)
    }
    np.testing.assert_allclose(both.sel(epoch=10), alone[10])
    np.testing.assert_allclose(both.sel(epoch=30), sum(alone.values()) / 3)


def test_the_training_is_recorded_where_the_truth_is():
    assert smooth_training(1).recorded_epochs().tolist() == list(module.RECORD_AT)


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("seed", module.SEEDS)
def test_scores_that_ought_to_predict_nothing_have_intervals_over_zero(seed):
    found = negative_controls(seed, n_queries=32)
    for name in (
        "permuted",
        "untrained, without what pairs share",
        "of shuffled labels, without what pairs share",
    ):
        assert float(found[name]["low"]) <= 0 <= float(found[name]["high"]), name
    # and the same treatment leaves scores that do predict something their LDS
    assert float(found["trained, without what pairs share"]["low"]) > 0.1


def test_nothing_that_pairs_share_is_left_in_scores_without_it():
    test, train = np.array([5, 40, 300]), np.arange(0, 529, 3)
    shared = what_pairs_share(test, train)
    assert shared["answer"][1, 5] == ((40 // 23 + 40 % 23 - 15 // 23 - 15 % 23) % 23 == 0)
    scores = np.random.default_rng(0).normal(size=(3, len(train)))
    left = without(scores + 4 * shared["answer"] - 2 * shared["first"], shared)
    np.testing.assert_allclose(left, without(scores, shared), atol=1e-9)
    for part in shared.values():
        np.testing.assert_allclose((left * part).sum(1), 0, atol=1e-9)
