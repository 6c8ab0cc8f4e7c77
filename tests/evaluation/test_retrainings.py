"""Kept retrainings and What if?: done once, true, left out where they diverge."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr

import dg_explorer as dg
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.evaluation.retrainings import again
from dg_explorer.evaluation.retrainings.counterfactual import retrain_with_weights
from dg_explorer.evaluation.retrainings.kept import FAMILY, kept_retrainings

EPOCHS = (5, 10, 20)


@pytest.fixture(scope="module")
def training():
    return modular_addition("smooth", p=5, width=6, n_steps=20, record_at=EPOCHS)


def run_of(training, path=None) -> dg.Run:
    """A run that recorded a training at its moments."""
    run = dg.Run.create(
        path,
        name="small",
        train_examples={"train": training.train_ids, "label": training.labels.numpy()},
        test_examples={"test": training.test_ids, "label": training.test_labels.numpy()},
        time_unit="step",
    )
    whole = np.ones((1, training.n_train), np.float32)
    output, accuracy = again.outputs_and_accuracy(training, whole)
    epoch = {"epoch": training.recorded_epochs()}
    margin = ("epoch", "test"), output[0]
    run.add(
        "dynamics/test",
        xr.Dataset(
            {"margin": margin, "loss": (margin[0], np.log1p(np.exp(-output[0])))},
            epoch | {"test": training.test_ids},
        ),
    )
    run.add("metrics", xr.Dataset({"test_accuracy": ("epoch", accuracy[0])}, epoch))
    return run


@pytest.fixture
def run(training):
    return run_of(training)


def counted(monkeypatch) -> list[int]:
    """How many models each call of `train_many` trains, as it is called."""
    trained, real = [], again.train_many

    def count(training, weights, *rest, **how):
        trained.append(len(weights))
        return real(training, weights, *rest, **how)

    monkeypatch.setattr(again, "train_many", count)
    return trained


def test_a_kept_retraining_is_what_training_with_these_weights_gives(run, training):
    kept = dg.retrain(run, training, share=0.2, n=3)
    output, accuracy = retrain_with_weights(training, kept["weight"].values, EPOCHS, 1)
    np.testing.assert_allclose(kept["output"], output, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kept["accuracy"], accuracy, rtol=1e-6)


def test_no_retraining_is_done_twice(run, training, monkeypatch):
    trained = counted(monkeypatch)
    dg.retrain(run, training, share=0.2, n=3)
    dg.retrain(run, training, share=0.2, n=5)
    dg.what_if(run, train=training.train_ids[:2]).retrain(training)
    dg.what_if(run, train=training.train_ids[:2]).retrain(training)
    assert trained == [4, 2, 1]
    assert kept_retrainings(run).sizes["retraining"] == 7


def test_retrainings_that_ended_in_nan_are_counted_and_left_out(run, training, monkeypatch):
    real = again.outputs_and_accuracy

    def with_nan(training, weights, *rest):
        output, accuracy = real(training, weights, *rest)
        output[-1] = np.nan
        return output, accuracy

    monkeypatch.setattr(again, "outputs_and_accuracy", with_nan)
    kept = dg.retrain(run, training, share=0.2, n=9)
    assert kept.attrs["n_diverged"] == 1
    assert kept.sizes["retraining"] == 9
    assert np.isfinite(dg.what_if(run, train=training.train_ids[:3]).random_low).all()


def test_what_a_stopped_call_finished_is_kept(run, training):
    done = []
    dg.retrain(
        run,
        training,
        share=0.2,
        n=6,
        models_at_once=2,
        on_result=lambda rows: done.append(rows.sizes["retraining"]),
        stop=lambda: sum(done) >= 4,
    )
    assert kept_retrainings(run).sizes["retraining"] == sum(done) == 4


def test_a_kill_loses_no_finished_retraining(tmp_path):
    code = f"""
import os, sys
sys.path[:0] = {[str(p) for p in sys.path]!r}
import dg_explorer as dg
from test_retrainings import modular_addition, run_of, EPOCHS
training = modular_addition("smooth", p=5, width=6, n_steps=20, record_at=EPOCHS)
run = run_of(training, {str(tmp_path / "run")!r})
seen = []
dg.retrain(run, training, share=.2, n=5, models_at_once=2,
           on_result=lambda rows: seen.append(0) or (len(seen) == 2 and os._exit(9)))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert kept_retrainings(dg.Run.open(tmp_path / "run")).sizes["retraining"] == 4


def test_the_band_is_the_quantiles_of_random_removals_of_about_as_many(run, training):
    kept = dg.retrain(run, training, share=(0.2, 0.5), n=20)
    removed = (kept["weight"].values == 0).sum(1)
    test = int(training.test_ids[1])
    answer = dg.what_if(run, train=training.train_ids[:3], test=test, level=0.8)
    alike = kept.isel(retraining=np.flatnonzero(removed == 3))["output"].sel(test=test)
    assert alike.sizes["retraining"] == 10
    np.testing.assert_allclose(answer.random_low, np.quantile(alike, 0.1, axis=0), rtol=1e-6)
    np.testing.assert_allclose(answer.random_high, np.quantile(alike, 0.9, axis=0), rtol=1e-6)


def test_the_true_curve_is_that_of_training_without_the_examples_and_is_listed(run, training):
    gone, test = training.train_ids[[0, 4]], int(training.test_ids[2])
    weights = (~np.isin(training.train_ids, gone)).astype(float)[None]
    output, accuracy = retrain_with_weights(training, weights, EPOCHS, 1)
    before = dg.what_if(run, train=gone, test=test)
    after = before.retrain(training)
    assert before.true is None
    np.testing.assert_allclose(after.true, output[0, :, 2], rtol=1e-5)
    np.testing.assert_allclose(after.accuracy_true, accuracy[0], rtol=1e-6)
    (listed,) = dg.what_ifs(run)
    assert json.dumps(listed.to_dict()) == json.dumps(after.to_dict())


def test_without_retrainings_there_is_the_recorded_curve_and_a_reason(run, training):
    answer = dg.what_if(run, train=training.train_ids[:1])
    recorded = run["dynamics/test"]["margin"].mean("test")
    np.testing.assert_allclose(answer.now, recorded)
    assert answer.expected is None
    assert answer.random_low is None
    assert answer.reason
    assert "recorded without replay=True" in answer.reason
    assert "retrain(run, training)" in str(answer)


def test_removing_a_whole_class_says_that_nothing_compares(run, training):
    gone = training.train_ids[training.labels.numpy() == training.labels.numpy()[0]]
    assert "All training examples of label" in str(dg.what_if(run, train=gone))


@pytest.mark.parametrize(
    ("train", "error", "said"),
    [
        ([10**6], dg.UnknownExampleError, "No training example has id 1000000"),
        ([], dg.SettingError, "No training example is named"),
        (None, dg.SettingError, "nothing is left to train on"),
    ],
)
def test_removals_that_make_no_sense_are_refused(run, training, train, error, said):
    with pytest.raises(error, match=said):
        dg.what_if(run, train=training.train_ids.tolist() if train is None else train)


def test_replicas_start_and_shuffle_anew(run, training):
    replicas = dg.replicate(run, training, starts=3)
    assert replicas["start"].values.tolist() == [1, 2, 3]
    for row, seed in zip(replicas["output"].values, (1, 2, 3), strict=True):
        other = training.with_changes(seed=seed)
        output, _ = retrain_with_weights(other, np.ones((1, training.n_train)), EPOCHS, 1)
        np.testing.assert_allclose(row, output[0], rtol=1e-5, atol=1e-6)


def test_a_recorded_training_has_one_start_unless_told_how_to_make_others(run, training):
    recorded = training.with_changes(one_start=True)
    with pytest.raises(dg.SettingError, match="model=make"):
        dg.replicate(run, recorded, starts=2)
    with pytest.raises(dg.SettingError, match="same first weights"):
        dg.replicate(run, recorded, starts=2, model=lambda seed: training.model(7))
    masks = dg.random_subsets(2, training.train_ids, keep=0.9)
    with pytest.raises(dg.SettingError, match="one start"):
        dg.subset_retraining(recorded, masks, seeds=(0, 1, 2))
    replicas = dg.replicate(run, recorded, starts=2, model=training.model)
    assert replicas["start"].values.tolist() == [1, 2]


def test_another_order_takes_every_example_as_often(training):
    order = [[np.array([0, 1, 2])], [np.array([3, 4])]] * 10
    recorded = training.with_changes(one_start=True, order=order, batch_size=3)
    other = again.from_start(recorded, 5, training.model)
    counts = [
        np.bincount(np.concatenate([b for e in t.order for b in e]), minlength=t.n_train)
        for t in (recorded, other)
    ]
    assert sorted(counts[0]) == sorted(counts[1])
    assert (counts[0] != counts[1]).any()


def test_trainings_that_differ_share_no_retraining(training):
    others = [
        training.with_changes(labels=training.labels.flip(0)),
        training.with_changes(test_inputs=training.test_inputs.flip(0)),
        training.with_changes(n_epochs=21),
        training.with_changes(output=lambda logits, labels: logits[..., 0]),
        training.with_changes(output=lambda logits, labels: logits[..., 1]),
        training.with_changes(seed=1),
        modular_addition("smooth", p=5, width=6, n_steps=20, record_at=EPOCHS, lr=2e-2),
    ]
    names = {again.digest_of(t) for t in (training, *others)}
    assert len(names) == 1 + len(others)
    assert again.digest_of(training.with_changes(record_at=(20,))) == again.digest_of(training)


def test_a_training_of_other_examples_is_refused(run):
    other = modular_addition("smooth", p=7, width=6, n_steps=20)
    with pytest.raises(dg.DataError, match="does not know"):
        dg.retrain(run, other, n=1)


def test_a_question_loads_no_torch(tmp_path, training):
    run = run_of(training, tmp_path / "run")
    dg.retrain(run, training, share=0.2, n=9)
    code = (
        f"import sys; sys.path[:0] = {[str(p) for p in sys.path]!r}; import dg_explorer as dg; "
        f"dg.what_if({str(tmp_path / 'run')!r}, train=[{training.train_ids[0]}]); "
        f"assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_groups_grow_by_retraining(run, training):
    dg.retrain(run, training, share=0.2, n=2)
    dg.retrain(run, training, share=0.2, n=4)
    assert run.kept(FAMILY) == [f"{FAMILY}/1"]
    assert run[FAMILY]["retraining"].values.tolist() == [0, 1, 2, 3, 4]


def test_starts_that_a_model_ignores_are_found(training):
    torch.manual_seed(0)
    begins = {s: again.digest_of_start(training, s, training.model) for s in (1, 2)}
    assert begins[1] != begins[2]


def scored(run, training, strength=1.0):
    """The run with exact scores, `strength` times too large."""
    exact = dg.UnrolledAttributor(training, mode="forward").attribute()["score"]
    run.add("scores/unrolled", (strength * exact).astype("float32").to_dataset(name="score"))
    return run


@pytest.fixture(scope="module")
def checked_run(training):
    """A run with exact scores and 40 retrainings of three sizes."""
    larger = modular_addition("smooth", p=7, width=16, n_steps=40, record_at=(10, 20, 40))
    run = scored(run_of(larger), larger)
    dg.retrain(run, larger, share=(0.04, 0.1, 0.2), n=40)
    return run, larger


def test_scores_of_another_unit_are_calibrated_away(checked_run):
    run, training = checked_run
    scaled = run.copy_to(None)
    scaled.delete("scores/unrolled")
    scored(scaled, training, strength=20.0)
    one, other = (dg.calibrate(r) for r in (run, scaled))
    np.testing.assert_allclose(one.slope, 20 * other.slope, rtol=1e-3)
    gone, test = training.train_ids[:3], int(training.test_ids[0])
    xr.testing.assert_allclose(one.predict(gone, test), other.predict(gone, test), rtol=1e-3)


def test_expected_curves_hold_what_retraining_gives(checked_run):
    """Removals that were not used, for every test example; the mean and accuracy too."""
    run, training = checked_run
    fresh = again.random_removals(24, training.train_ids, 0.1, seed=9)
    output, accuracy = again.outputs_and_accuracy(training, fresh)
    calibration = dg.calibrate(run)
    inside, mean_inside, right_inside = [], [], []
    for weight, truth, right in zip(fresh, output, accuracy, strict=True):
        gone = training.train_ids[weight == 0]
        found = calibration.predict(gone, training.test_ids)
        inside.append((found["low"] <= truth) & (truth <= found["high"]))
        found = calibration.predict(gone)
        mean_inside.append((found["low"] <= truth.mean(1)) & (truth.mean(1) <= found["high"]))
        found = calibration.accuracy(gone)
        right_inside.append((found["low"] <= right) & (right <= found["high"]))
    assert 0.82 < np.mean(inside) < 0.97
    assert np.mean(mean_inside) > 0.75
    assert np.mean(right_inside) > 0.75


def test_scores_without_sense_give_no_expected_curve_but_a_band(checked_run):
    run, training = checked_run
    fooled = run.copy_to(None)
    score = fooled["scores/unrolled"]["score"].load()
    rng = np.random.default_rng(3)
    permuted = score.copy(data=rng.permuted(score.values, axis=2))
    fooled.add("scores/unrolled", permuted.to_dataset(name="score"), overwrite=True)
    answer = dg.what_if(fooled, train=training.train_ids[:3])
    assert answer.expected is None
    assert "no better than chance" in answer.reason
    assert answer.random_low is not None
    sound = dg.what_if(run, train=training.train_ids[:3])
    assert sound.reason is None
    assert (sound.low < sound.expected).all()


def test_too_few_retrainings_are_refused(run, training):
    scored(run, training)
    dg.retrain(run, training, share=0.2, n=4)
    with pytest.raises(dg.DataError, match="4 retrainings"):
        dg.calibrate(run)
    with pytest.raises(dg.DataError, match="start='any'"):
        dg.calibrate(run, start="any")
    assert "4 retrainings" in dg.what_if(run, train=training.train_ids[:1]).reason


def test_a_new_retraining_or_new_scores_make_a_new_answer(run, training):
    scored(run, training)
    dg.retrain(run, training, share=0.2, n=9)
    before = dg.what_if(run, train=training.train_ids[:3]).words
    dg.retrain(run, training, share=0.2, n=12)
    assert dg.what_if(run, train=training.train_ids[:3]).words != before


def colours(run, epoch, **how):
    light = dg.validity_light(run, epoch, method="unrolled", **how)
    return light.colour, light.truths


def test_retrainings_turn_the_light_of_their_own_truth(checked_run):
    run, training = checked_run
    run = run.copy_to(None)
    dg.metasmoothness(run, training=training)
    assert colours(run, 20) == ("green", {"this": "green", "any": "grey"})
    assert "Other starts were not tried" in str(
        dg.validity_light(run, 20, start="any", method="unrolled")
    )
    dg.retrain(run, training, share=0.1, n=16, start="any", starts=2)
    there = dg.validity_light(run, 20, method="unrolled", start="any")
    assert there.colour == there.truths["any"] != "grey"
    assert "from other starts" in str(there)
    assert dg.validity_light(run, 20, method="unrolled").colour == "green"


def test_exact_scores_of_one_start_do_not_speak_of_others(checked_run):
    """Each start has its own influences: what is believed of this one need not hold there."""
    run, training = checked_run
    run = run.copy_to(None)
    dg.retrain(run, training, share=0.1, n=16, start="any", starts=2)
    here, there = dg.calibrate(run), dg.calibrate(run, start="any")
    assert here.lds["low"] > there.lds["mean"]


@pytest.mark.parametrize(
    ("sign", "tests", "colour"), [(1, 8, "green"), (-1, 8, "red"), (-1, 1, "amber"), (0, 8, "red")]
)
def test_a_removal_turns_the_light_by_what_it_did_where_scores_foresee_much(sign, tests, colour):
    """A removal of each test example's best helpers moves it as foreseen, the other way, or not."""
    rng = np.random.default_rng(0)
    run = dg.Run.create(name="drawn", train_examples={"train": np.arange(50)})
    scores = rng.normal(size=(1, tests, 50))
    scores[:, :, :5] += 3  # the same five help all of them
    ids = {"epoch": [4], "test": np.arange(tests)}
    dims = ("epoch", "test")
    run.add(
        "scores/unrolled",
        xr.Dataset({"score": ((*dims, "train"), scores)}, ids | {"train": np.arange(50)}),
    )
    smooth = xr.Dataset({"metasmoothness": ("epoch", [0.95])}, {"epoch": [4]})
    run.keep("checks/metasmoothness", smooth)
    change = -sign * scores[:, :, :5].sum(2)
    ones = np.ones_like(change)
    run.keep(
        "checks/removal",
        xr.Dataset(
            {"change": (dims, change), "band_low": (dims, -ones), "band_high": (dims, ones)},
            ids,
            {"removed": [0, 1, 2, 3, 4]},
        ),
    )
    light = dg.validity_light(run, 4, method="unrolled")
    assert light.colour == colour
    assert light.measured["removal"] == (sign == 1)


def test_lds_over_time_reads_kept_retrainings_and_tells_the_truths_apart(checked_run, monkeypatch):
    run, training = checked_run
    run = run.copy_to(None)
    trained = counted(monkeypatch)
    this = dg.lds_over_time(run, training=training, drop=0.1, n_subsets=10)
    again_ = dg.lds_over_time(run, training=training, drop=0.1, n_subsets=10)
    assert sum(trained) <= 11
    xr.testing.assert_equal(this, again_)
    other = dg.lds_over_time(run, training=training, drop=0.1, n_subsets=10, start="any", starts=2)
    assert (this.attrs["start"], other.attrs["start"]) == ("this", "any")
    alone = dg.lds_over_time(
        scores={"unrolled": run["scores/unrolled"]["score"]},
        training=training,
        drop=0.1,
        n_subsets=10,
        start="any",
        starts=2,
    )
    assert alone["lds"].dims == ("method", "epoch")


def test_a_replay_that_ends_elsewhere_is_said(run, training):
    dg.retrain(run, training, share=0.2, n=9)
    assert "from the record" not in str(dg.what_if(run, train=training.train_ids[:3]))
    other = run_of(training)
    moved = other["dynamics/test"].load()
    other.add("dynamics/test", moved.assign(margin=moved["margin"] + 0.5), overwrite=True)
    dg.retrain(other, training, share=0.2, n=9)
    said = str(dg.what_if(other, train=training.train_ids[:3]))
    assert "ends up to 0.5 nats from the record" in said


def test_levels_that_are_none_are_refused(run, training):
    for level in (0.0, 1.0, 90):
        with pytest.raises(dg.SettingError, match="level"):
            dg.what_if(run, train=training.train_ids[:1], level=level)
