import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from dg_explorer.errors import NonFiniteError
from dg_explorer.evaluation.lds import MisalignedScoresError, linear_datamodeling_score


def linear_world(noise=0.0, n_subsets=40, n_test=5, n_train=12, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_test, n_train))
    masks = rng.random((n_subsets, n_train)) < 0.5
    outputs = masks @ scores.T + noise * rng.standard_normal((n_subsets, n_test))
    return scores, masks, outputs


def labelled(scores, masks, outputs):
    train, test = np.arange(scores.shape[1]) + 100, np.arange(scores.shape[0]) + 7
    return (
        xr.DataArray(scores, dims=("test", "train"), coords={"test": test, "train": train}),
        xr.DataArray(masks, dims=("subset", "train"), coords={"train": train}),
        xr.DataArray(outputs, dims=("subset", "test"), coords={"test": test}),
    )


def test_scores_that_generated_the_outputs_have_lds_one():
    result = linear_datamodeling_score(*linear_world())
    assert float(result.lds) == pytest.approx(1)


def test_lds_is_the_mean_of_spearman_correlations():
    scores, masks, outputs = linear_world(noise=3)
    slow = [spearmanr(masks @ scores[q], outputs[:, q]).statistic for q in range(len(scores))]
    result = linear_datamodeling_score(scores, masks, outputs)
    np.testing.assert_allclose(result.per_query, slow)
    assert float(result.lds) == pytest.approx(np.mean(slow))


def test_examples_are_joined_by_id_and_not_by_position():
    scores, masks, outputs = labelled(*linear_world())
    shuffled = scores.isel(train=slice(None, None, -1), test=slice(None, None, -1))
    assert float(linear_datamodeling_score(shuffled, masks, outputs).lds) == pytest.approx(1)


def test_interval_covers_zero_for_permuted_scores_about_as_often_as_it_says():
    covered = []
    for seed in range(40):
        _, masks, outputs = linear_world(noise=1, seed=seed)
        other, _, _ = linear_world(seed=seed + 1000)
        result = linear_datamodeling_score(other, masks, outputs, n_bootstrap=200)
        covered.append(float(result.low) <= 0 <= float(result.high))
    assert np.mean(covered) >= 0.85


def test_interval_is_narrower_with_more_subsets():
    few = linear_datamodeling_score(*linear_world(noise=3, n_subsets=30))
    many = linear_datamodeling_score(*linear_world(noise=3, n_subsets=600))
    assert float(many.high - many.low) < 0.5 * float(few.high - few.low)


def test_scores_of_several_epochs_are_compared_with_the_outputs_of_the_same_epoch():
    scores, masks, outputs = labelled(*linear_world())
    timed = xr.concat([scores, -scores], dim=xr.DataArray([3, 9], dims="epoch", name="epoch"))
    both = xr.concat([outputs, outputs], dim=xr.DataArray([9, 3], dims="epoch", name="epoch"))
    result = linear_datamodeling_score(timed, masks, both)
    np.testing.assert_allclose(result.lds.sel(epoch=[3, 9]), [1, -1])


def test_equal_scores_predict_nothing():
    _, masks, outputs = linear_world()
    balanced = np.zeros((5, 12))
    assert float(linear_datamodeling_score(balanced, masks, outputs).lds) == 0


def test_an_id_that_one_side_lacks_is_named():
    scores, masks, outputs = labelled(*linear_world())
    with pytest.raises(MisalignedScoresError, match="such as 100"):
        linear_datamodeling_score(scores, masks.isel(train=slice(1, None)), outputs)


def test_labelled_and_bare_arrays_are_not_mixed():
    scores, masks, outputs = labelled(*linear_world())
    with pytest.raises(MisalignedScoresError, match="labels"):
        linear_datamodeling_score(scores.values, masks, outputs)


def test_a_diverged_retraining_leaves_its_subset_out_for_that_query_only():
    scores, masks, outputs = linear_world()
    outputs = np.array(outputs, float) + np.random.default_rng(1).normal(size=outputs.shape)
    whole = linear_datamodeling_score(scores, masks, outputs)
    kept = np.delete(np.arange(len(masks)), 4)
    right = linear_datamodeling_score(scores, masks[kept], outputs[kept]).per_query[1]
    outputs[4, 1] = np.nan
    found = linear_datamodeling_score(scores, masks, outputs)
    np.testing.assert_allclose(found.per_query[1], right)
    others = np.delete(np.arange(len(scores)), 1)
    np.testing.assert_allclose(found.per_query[others], whole.per_query[others])
    assert found.n_left_out.values.tolist() == [0, 1, 0, 0, 0]
    outputs[:, 1] = np.nan
    without = linear_datamodeling_score(scores, masks, outputs)
    assert np.isnan(without.per_query[1])
    np.testing.assert_allclose(without.lds, whole.per_query[others].mean())


def test_a_score_that_is_nan_is_refused_with_its_examples():
    scores, masks, outputs = linear_world()
    scores = np.array(scores, float)
    scores[2, 7] = np.nan
    with pytest.raises(NonFiniteError, match="training example 7 for test example 2"):
        linear_datamodeling_score(scores, masks, outputs)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (np.stack([np.roll(np.arange(12), k) for k in range(20)]), "true or false"),
        (np.ones((20, 12), dtype=bool), "All subsets are the same"),
    ],
)
def test_lists_of_ids_and_equal_subsets_are_no_masks(masks, words):
    numbers = np.random.default_rng(0)
    with pytest.raises(MisalignedScoresError, match=words):
        linear_datamodeling_score(numbers.normal(size=(3, 12)), masks, numbers.normal(size=(20, 3)))
