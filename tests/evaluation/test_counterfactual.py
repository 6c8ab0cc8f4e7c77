import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import ttest_1samp
from torch import nn

from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.errors import (
    DataError,
    DGExplorerError,
    NonFiniteError,
    SettingError,
    UnknownExampleError,
)
from dg_explorer.evaluation.lds import linear_datamodeling_score
from dg_explorer.evaluation.lds_by_method import NoScoresError, scores_by_epoch
from dg_explorer.evaluation.light import validity_light
from dg_explorer.evaluation.mislabels import mislabel_auroc
from dg_explorer.evaluation.retraining import random_subsets, subset_retraining
from dg_explorer.evaluation.retrainings.brittle import brittleness
from dg_explorer.evaluation.retrainings.counterfactual import (
    counterfactual_check,
    leave_one_out,
    window_ablation,
)
from dg_explorer.evaluation.retrainings.lds_over_time import lds_over_time
from dg_explorer.evaluation.retrainings.removal_draws import Draws
from dg_explorer.evaluation.smoothness import metasmoothness, sign_agreement
from dg_explorer.run import Run
from dg_explorer.schema import SIGN
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.training import Training


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 2).double()


@pytest.fixture(scope="module")
def training():
    """Two separable classes; example 10 is the only one that knows the third input."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(16, 3, generator=generator, dtype=torch.float64)
    labels = (inputs[:, 0] > 0).long()
    inputs[:, 2] = 0
    inputs[0] = torch.tensor([0.0, 0.0, 2.0])
    labels[0] = 1
    test_inputs = torch.tensor([[0.0, 0.0, 2.0], [2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]).double()
    return Training(
        model=linear,
        inputs=inputs,
        labels=labels,
        test_inputs=test_inputs,
        test_labels=torch.tensor([1, 1, 0]),
        optimizer=OptimizerSettings(kind="sgd", lr=1.0),
        n_epochs=12,
        record_at=(4, 12),
        train_ids=np.arange(16) + 10,
        test_ids=np.array([7, 8, 9]),
    )


def test_removing_the_one_example_that_matters_leaves_the_random_band(training):
    check = counterfactual_check(training=training, remove=[10], n_random=12)
    # One example of 16 is drawn at random too, so draws that hit it are left aside.
    change = check.change.sel(epoch=12, test=7)
    others = check.random_change.sel(epoch=12, test=7)
    others = others.where(abs(others - change) > 1e-9, drop=True)
    assert others.size >= 8
    assert float(change) < 10 * float(others.min()) < 0
    band = check.random_change.sel(epoch=12, test=7).quantile([0.025, 0.975])
    np.testing.assert_allclose(
        band, [check.band_low.sel(epoch=12, test=7), check.band_high.sel(epoch=12, test=7)]
    )


def test_random_removals_are_drawn_among_those_given(training):
    check = counterfactual_check(training=training, remove=[10], among=[13, 17], n_random=8)
    effects = leave_one_out(training=training, train=[13, 17])
    draws = check.random_change.sel(epoch=12, test=7)
    assert set(draws.round(9).values) == set((-effects.sel(epoch=12, test=7)).round(9).values)
    with pytest.raises(DataError, match=r"3 examples are to be removed.*among 2"):
        counterfactual_check(training=training, remove=[10, 11, 12], among=[13, 17])


def test_draws_of_the_same_labels_leave_out_as_many_of_each(training):
    removed = [10, 11, 14]
    check = counterfactual_check(training=training, remove=removed, n_random=3, verbose=False)
    draws = Draws(training, np.array(removed))
    labels, rng = training.labels.numpy(), np.random.default_rng(0)
    wanted = np.bincount(labels[np.isin(training.train_ids, removed)], minlength=2)
    for weights in (draws.same_labels(rng) for _ in range(20)):
        np.testing.assert_array_equal(np.bincount(labels[weights == 0], minlength=2), wanted)
    assert check.same_labels_change.sizes == {"draw": 3, "epoch": 2, "test": 3}
    among = counterfactual_check(training=training, remove=[10], among=[13, 17], n_random=2)
    assert "same_labels_change" not in among


def test_other_starts_are_trainings_of_their_own(training, capsys):
    how = {"training": training, "remove": [10], "n_random": 6}
    check = counterfactual_check(**how, seeds=[3, 4])
    for seed in (3, 4):
        again = training.with_changes(seed=seed)
        effect = -leave_one_out(training=again, train=[10]).sel(train=10)
        np.testing.assert_allclose(check.start_change.sel(start=seed), effect, atol=1e-12)
    assert check.start_random_change.sizes["start_draw"] == 3
    said = capsys.readouterr().out
    assert said.strip().splitlines() == check.attrs["words"]
    chosen = check.start_change.sel(epoch=12).mean("test")
    others = check.start_random_change.sel(epoch=12).mean("test").mean("start_draw")
    law = ttest_1samp(chosen - others, 0).confidence_interval()
    assert f"interval {law.low:+.2f} to {law.high:+.2f}" in said


def test_the_words_say_which_start_they_are_about(training, capsys):
    counterfactual_check(training=training, remove=[10], n_random=4)
    assert "from this start" in (said := capsys.readouterr().out)
    assert "other starts was not tried" in said
    recorded = training.with_changes(one_start=True)
    counterfactual_check(training=recorded, remove=[10], n_random=4)
    assert "training of a record, which holds one" in capsys.readouterr().out
    with pytest.raises(SettingError, match="which holds one"):
        counterfactual_check(training=recorded, remove=[10], seeds=[1])


def test_a_check_of_one_removal_is_its_leave_one_out_with_the_sign_turned(training):
    check = counterfactual_check(None, [7, 9], training=training, remove=[13], n_random=2)
    effect = leave_one_out(training=training, train=[13], test=[7, 9])
    np.testing.assert_allclose(check.change, -effect.sel(train=13), atol=1e-12)


def test_test_examples_come_back_in_the_order_asked_for(training):
    check = counterfactual_check(None, [9, 7], training=training, remove=[10], n_random=2)
    straight = counterfactual_check(None, [7, 9], training=training, remove=[10], n_random=2)
    assert check.test.values.tolist() == [9, 7]
    np.testing.assert_array_equal(check.change.sel(test=7), straight.change.sel(test=7))


def test_leave_one_out_is_close_to_the_derivative_in_a_smooth_training(training):
    effects = leave_one_out(training=training, train=training.train_ids)
    scores = UnrolledAttributor(training).attribute().score
    together = np.corrcoef(effects.values.ravel(), scores.sel(train=effects.train).values.ravel())
    assert together[0, 1] > 0.95


def test_dropping_an_example_in_every_window_is_dropping_it(training):
    effects = window_ablation(training=training, train=10, windows=[0, 12])
    alone = leave_one_out(training=training, train=[10])
    np.testing.assert_allclose(effects.sel(window=0), alone.sel(train=10), atol=1e-12)


def test_dropping_an_example_after_an_epoch_changes_nothing_before_it(training):
    effects = window_ablation(training=training, train=10, windows=[0, 4, 12])
    assert (effects.sel(window=1, epoch=4) == 0).all()
    assert abs(effects.sel(window=1, epoch=12, test=7)) > 0


def test_an_unknown_example_to_remove_is_named(training):
    with pytest.raises(UnknownExampleError, match="training example has id 3"):
        counterfactual_check(training=training, remove=[3])


def test_the_one_supporter_makes_its_query_brittle(training):
    scores = UnrolledAttributor(training).attribute(epochs=[12]).score.squeeze("epoch", drop=True)
    found = brittleness(scores, training=training, sizes=(1, 2))
    without_any = leave_one_out(training=training, train=[10], test=[7], at=[12]).item()
    change = found.output.sel(size=0, test=7) - found.output.sel(size=1, test=7)
    assert float(change) == pytest.approx(without_any)
    assert np.isnan(found.smallest.sel(test=8))


def test_lds_of_the_derivative_beats_its_permutation(training):
    masks = random_subsets(24, training.train_ids, keep=0.8)
    truth = subset_retraining(training, masks)
    score = UnrolledAttributor(training).attribute().score
    permuted = score.copy(data=np.random.default_rng(0).permuted(score.values, axis=2))
    lds = lds_over_time(scores={"unrolled": score, "permuted": permuted}, truth=truth).lds
    assert (lds.sel({"method": "unrolled"}) > 0.8).all()
    assert (lds.sel({"method": "unrolled"}) > lds.sel({"method": "permuted"}) + 0.4).all()


def test_checking_without_scores_says_how_to_get_some(training):
    with pytest.raises(NoScoresError, match="attribute"):
        lds_over_time(training=training)


def test_scores_by_epoch_are_those_of_the_checkpoints(training):
    by_epoch = scores_by_epoch(training, "gradient_dot", [8, 7])
    alone = scores_by_epoch(training.with_changes(record_at=(12,)), "gradient_dot", [8, 7])
    np.testing.assert_allclose(by_epoch.sel(epoch=12), alone.sel(epoch=12))
    assert by_epoch.test.values.tolist() == [8, 7]


def test_sign_agreement_is_one_on_a_line_and_minus_one_on_a_zigzag():
    base = torch.tensor([1.0, 1.0])
    assert sign_agreement(base, base[None] + 1, base[None] + 3).item() == 1
    assert sign_agreement(base, base[None] + 1, base[None]).item() == -1


def test_sign_agreement_weighs_parameters_by_how_far_they_moved():
    base = torch.zeros(2)
    once, twice = torch.tensor([[3.0, 1.0]]), torch.tensor([[6.0, 0.0]])
    assert sign_agreement(base, once, twice).item() == pytest.approx((3 - 1) / 4)


def test_a_convex_training_is_metasmooth(training):
    result = metasmoothness(training=training)
    assert result.metasmoothness.sel(epoch=12) > 0.9


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    values, flags = rng.integers(0, 5, 30), rng.random(30) < 0.3
    bad, good = values[flags], values[~flags]
    slow = np.mean([(b > g) + 0.5 * (b == g) for b in bad for g in good])
    assert float(mislabel_auroc(values, flags).auroc) == pytest.approx(slow)
    with pytest.raises(DataError, match="some of each kind"):
        mislabel_auroc(values, np.zeros(30, bool))
    unknown = np.r_[values, np.nan, np.nan].astype(float), np.r_[flags, True, False]
    found = mislabel_auroc(*unknown)
    assert float(found.auroc) == pytest.approx(slow)
    assert int(found.n_left_out) == 2
    with pytest.raises(DataError, match="NaN"):
        mislabel_auroc(np.full(30, np.nan), flags)


CHECKS = {
    "counterfactual_check": (counterfactual_check, {"remove": [10]}),
    "leave_one_out": (leave_one_out, {"train": [10]}),
    "window_ablation": (window_ablation, {"train": 10, "windows": [0, 4]}),
    "metasmoothness": (metasmoothness, {}),
    "lds_over_time": (lds_over_time, {"scores": {"one": xr.DataArray([0], dims="epoch")}}),
    "brittleness": (lambda run=None, **how: brittleness(xr.DataArray(), **how), {}),
}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("nonsense", [None, 5, "a training"])
def test_a_check_without_a_training_says_what_it_lacks(name, nonsense):
    check, how = CHECKS[name]
    with pytest.raises(SettingError, match=f"{name}.*training_of_run"):
        check(training=nonsense, **how)


@pytest.mark.parametrize("name", ["counterfactual_check", "leave_one_out", "window_ablation"])
def test_a_check_of_nothing_says_what_it_lacks(name, training):
    check, how = CHECKS[name]
    with pytest.raises(SettingError, match=f"{name}.*{next(iter(how))}=, the id"):
        check(training=training)


@pytest.mark.parametrize(
    ("check", "how", "said"),
    [
        (counterfactual_check, {"remove": [10.5]}, "whole number"),
        (counterfactual_check, {"remove": [10], "n_random": 0}, "n_random=0"),
        (counterfactual_check, {"remove": range(10, 26)}, "nothing is left"),
        (counterfactual_check, {"remove": [10], "at": [99]}, "99"),
        (window_ablation, {"train": 10, "windows": [4, 0]}, "ascending"),
        (window_ablation, {"train": [10, 11], "windows": [0, 4]}, "train"),
        (metasmoothness, {"h": 0}, "h=0"),
        (metasmoothness, {"directions": 0}, "directions=0"),
    ],
)
def test_a_setting_without_sense_is_named(training, check, how, said):
    with pytest.raises(DGExplorerError, match=said):
        check(training=training, **how)


def test_a_training_that_diverges_gives_no_verdict(training):
    wild = training.with_changes(optimizer=OptimizerSettings(kind="sgd", lr=float("inf")))
    with pytest.raises(NonFiniteError, match="diverged"):
        counterfactual_check(training=wild, remove=[10], n_random=2)


@pytest.fixture
def run(training):
    return Run.create(
        name="check",
        train_examples={"label": training.labels.numpy(), "train": training.train_ids},
        test_examples={"label": training.test_labels.numpy(), "test": training.test_ids},
    )


def add_metasmoothness(run, values):
    run.add(
        "validity/metasmoothness",
        xr.Dataset(
            {"metasmoothness": ("epoch", np.array(values))},
            coords={"epoch": np.arange(len(values)) * 10},
        ),
    )


def test_between_two_measurements_the_worse_counts_and_beyond_them_none(run):
    add_metasmoothness(run, [0.95, 0.6, 0.1])
    colours = [validity_light(run, epoch).colour for epoch in (0, 1, 9, 10, 11, 20, 21, 100)]
    assert colours == ["green", "amber", "amber", "amber", "red", "red", "grey", "grey"]
    assert not validity_light(run, 20).causal
    assert "epoch 10, the worse of the two measured around it (0 and 10)" in str(
        validity_light(run, 1)
    )
    assert "not measured here, only from epoch 0 to 20" in str(validity_light(run, 100))


def test_a_measurement_of_scores_that_were_replaced_is_older_than_its_data(run, training):
    add_metasmoothness(run, [0.95, 0.95])
    score = UnrolledAttributor(training).attribute().score
    run.add("scores/mine", score.to_dataset())
    truth = subset_retraining(training, random_subsets(24, training.train_ids, keep=0.8))
    lds_over_time(run, truth=truth)
    epoch = int(score.epoch[0])
    assert validity_light(run, epoch, method="mine").colour == "green"
    run.add("scores/mine", (score * -1).to_dataset(), overwrite=True)
    light = validity_light(run, epoch, method="mine")
    assert light.colour == "amber"
    assert "older than its data" in str(light)
    run.add("scores/mine", score.to_dataset(), overwrite=True)
    assert validity_light(run, epoch, method="mine").colour == "green"


def test_an_unchecked_run_has_no_causal_light(run):
    light = validity_light(run, 5)
    assert light.colour == "grey"
    assert not light.causal
    assert "metasmoothness" in str(light)


def test_scores_that_predict_nothing_are_red_however_smooth_the_training(run, training):
    add_metasmoothness(run, [0.95, 0.95])
    masks = random_subsets(24, training.train_ids, keep=0.8)
    truth = subset_retraining(training, masks)
    score = UnrolledAttributor(training).attribute().score
    rng = np.random.default_rng(0)
    noise = score.copy(data=rng.permuted(score.values, axis=2))
    lds_over_time(run, scores={"unrolled": score, "noise": noise}, truth=truth)
    assert validity_light(run, 4, method="unrolled").colour == "green"
    assert validity_light(run, 4, method="noise").colour in ("amber", "red")


def test_lds_trains_to_the_epochs_that_the_record_names(training):
    named = training.with_changes(labels_of_epochs={4: 0, 12: 1})
    score = np.random.default_rng(0).normal(size=(2, len(training.test_ids), training.n_train))
    coords = {"epoch": [0, 1], "test": training.test_ids, "train": training.train_ids}
    scores = xr.DataArray(score, coords, ("epoch", "test", "train"))
    found = lds_over_time(scores={"drawn": scores}, training=named, n_subsets=6)
    masks = random_subsets(6, training.train_ids, keep=0.95)
    truth = subset_retraining(training.with_changes(record_at=(4, 12)), masks)
    counted = scores.assign_coords(epoch=[4, 12])
    expected = linear_datamodeling_score(counted, truth["mask"], truth["output"])
    assert found.epoch.values.tolist() == [0, 1]
    np.testing.assert_array_equal(found.lds.sel({"method": "drawn"}), expected.lds)


def test_results_live_in_the_record(run, training):
    metasmoothness(run, training=training)
    counterfactual_check(run, training=training, remove=[10], n_random=3)
    scores = UnrolledAttributor(training).attribute()
    run.add("scores/unrolled", scores)
    lds_over_time(run, training=training, n_subsets=8)
    effects = leave_one_out(run, training=training, train=[10, 12])
    window_ablation(run, training=training, train=10, windows=[0, 4, 12])
    names = ("metasmoothness", "removal", "lds", "leave_one_out", "window_ablation")
    assert {f"checks/{name}/1" for name in names} <= set(run.groups())
    np.testing.assert_array_equal(run["checks/leave_one_out"]["effect"], effects)
    assert run["checks/window_ablation"]["window_end"].values.tolist() == [4, 12]
    assert run["scores/unrolled"].attrs["sign"] == SIGN


def test_what_a_run_keeps_is_not_trained_again_by_checks_of_removal(training, monkeypatch):
    run = Run.create(name="kept")
    moments = training.with_changes(record_at=tuple(range(1, 13)))
    removed = training.train_ids[:3]
    asked = {"training": moments, "at": [6, 12], "models_at_once": 4}
    alone = counterfactual_check(remove=removed, n_random=5, verbose=False, **asked)
    kept = counterfactual_check(run, remove=removed, n_random=5, verbose=False, **asked)
    for name in ("change", "random_change", "same_labels_change"):
        if name in alone:
            np.testing.assert_allclose(kept[name], alone[name], atol=1e-5)
    effects = leave_one_out(run, train=removed, **asked)
    np.testing.assert_allclose(effects, leave_one_out(train=removed, **asked), atol=1e-5)
    rows = run["checks/retrainings/1"]
    assert rows["epoch"].values.tolist() == moments.recorded_epochs().tolist()
    assert (rows["why"] == "random").sum() == 5

    def no_training(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("dg_explorer.evaluation.retrainings.again.train_many", no_training)
    again = counterfactual_check(run, remove=removed, n_random=5, verbose=False, **asked)
    np.testing.assert_array_equal(again["random_change"], kept["random_change"])
    np.testing.assert_array_equal(leave_one_out(run, train=removed, **asked), effects)
