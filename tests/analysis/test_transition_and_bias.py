"""Critical and harmful examples: checked by retraining, by planted truth and by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ttest_1samp
from small_model import checkpoints, datasets, train_model

from dg_explorer.analysis import BiasAttributor, PhaseTransitionAttributor, add_bias, debias
from dg_explorer.analysis.transition.properties import property_enrichment
from dg_explorer.analysis.transition.removal import verify_removal
from dg_explorer.attribution.over_epochs.score_changes import unweighted
from dg_explorer.errors import DataError, SettingError
from dg_explorer.testing import tiny_run


def test_change_is_the_difference_of_scores_over_the_test_examples_that_turned():
    attributor = PhaseTransitionAttributor(checkpoints(), *datasets())
    table = attributor.compute_transition_attributions(0, 10)
    inputs, labels = datasets()[1].tensors
    right = [(checkpoints()[e](inputs).argmax(1) == labels).numpy() for e in (0, 10)]
    np.testing.assert_array_equal(table["turned"], ~right[0] & right[1])
    scores = attributor.run["scores/trak"].load()
    plain = scores["score"] / scores["weight"]
    turned = plain.sel(test=table["test"][table["turned"].values])
    slow = (turned.sel(epoch=10) - turned.sel(epoch=0)).mean("test")
    np.testing.assert_allclose(table["change"], slow, rtol=1e-6)
    frame = attributor.find_critical_examples(table, top_k=5)
    assert frame["change"].tolist() == np.sort(slow.values)[::-1][:5].tolist()


def test_by_default_the_moments_enclose_the_rise():
    attributor = PhaseTransitionAttributor(checkpoints(), *datasets())
    table = attributor.compute_transition_attributions()
    inputs, labels = datasets()[1].tensors
    accuracy = {
        e: (m(inputs).argmax(1) == labels).float().mean().item() for e, m in checkpoints().items()
    }
    pre, post = table.attrs["pre_epoch"], table.attrs["post_epoch"]
    rise = accuracy[10] - min(accuracy.values())
    assert accuracy[pre] <= min(accuracy.values()) + 0.1 * rise
    assert accuracy[post] >= min(accuracy.values()) + 0.9 * rise


def test_moments_enclose_the_largest_rise_and_never_a_fall():
    def of(*accuracy):
        attributor = PhaseTransitionAttributor(checkpoints(), *datasets())
        right = np.arange(10) < 10 * np.array(accuracy)[:, None]
        epochs = list(range(0, 10 * len(accuracy), 10))
        attributor.checkpoints = SimpleNamespace(epochs=epochs, weights=lambda epoch: None)
        return attributor._moments(xr.DataArray(right, dims=("epoch", "test")), None, None)

    assert of(0.1, 0.1, 0.9, 0.9) == (10, 20)
    assert of(0.1, 0.9, 0.9, 0.0) == (0, 10)  # forgotten later
    assert of(0.5, 0.1, 0.9, 0.9) == (10, 20)
    for falling in ((0.9, 0.9, 0.3, 0.1), (0.5, 0.5, 0.5)):
        with pytest.raises(DataError, match=r"never rises.*pre_transition_epoch="):
            of(*falling)


def test_a_planted_property_is_the_one_that_is_enriched():
    rng = np.random.default_rng(0)
    ids = np.arange(1000, 1300)
    examples = xr.Dataset(
        {
            "label": ("train", rng.integers(0, 3, 300)),
            "a": ("train", rng.integers(0, 100, 300)),
            "group": ("train", rng.choice(np.array(["x", "y"], dtype=object), 300)),
            "text": ("train", np.array([f"example {i}" for i in ids], dtype=object)),
        },
        {"train": ids},
    )
    chosen = ids[(examples["a"] < 20).values][:40]
    values, means = property_enrichment(examples, chosen)
    assert values.iloc[0]["property"] == "a"
    assert values.iloc[0]["p_adjusted"] < 0.01
    assert values.iloc[0]["ratio"] > 3
    assert set(values["property"]) == {"label", "a", "group"}
    assert means.set_index("property").loc["a", "p_value"] < 0.01
    assert values[values["property"] != "a"]["p_adjusted"].min() > 0.01


def delay_by(important):
    """A training whose rise at 50 comes 4 epochs later for each important example missing."""

    def train_without(removed):
        epochs = np.arange(0, 101, 2)
        middle = 50 + 4 * len(np.intersect1d(removed, important))
        return epochs, 1 / (1 + np.exp(-(epochs - middle) / 3))

    return train_without


def test_removing_what_matters_moves_the_transition_beyond_random_removal():
    everyone, important = np.arange(200), np.arange(8)
    found = verify_removal(delay_by(important), important, everyone, n_random=8)
    assert found["shift_chosen"] == 32
    assert found["beyond_random"]
    assert found["p_value"] == pytest.approx(1 / 9)
    other = verify_removal(delay_by(important), np.arange(100, 108), everyone, n_random=8)
    assert not other["beyond_random"]
    assert other["shift_chosen"] == 0


def test_a_transition_that_never_comes_counts_as_the_end_of_the_record():
    found = verify_removal(delay_by(np.arange(20)), np.arange(20), np.arange(100), n_random=3)
    assert np.isnan(found["time_without_chosen"])
    assert found["shift_chosen"] == 100 - found["time_with_all"]
    with pytest.raises(DataError, match="at most half"):
        verify_removal(delay_by([0]), np.arange(60), np.arange(100))


def test_critical_examples_are_verified_by_retraining_a_real_model():
    attributor = PhaseTransitionAttributor(checkpoints(), *datasets())
    inputs, labels = datasets()[1].tensors

    def train_without(removed):
        models = train_model(removed)
        right = [(m(inputs).argmax(1) == labels).float().mean().item() for m in models.values()]
        return list(models), right

    critical = attributor.find_critical_examples(top_k=10)
    found = attributor.verify_critical_examples(critical, train_without, level=0.6, n_random=2)
    assert found["n_removed"] == 10
    stored = attributor.run["analyses/critical_verification"]
    np.testing.assert_allclose(stored["with_all"], train_without([])[1])
    np.testing.assert_allclose(stored["without_chosen"], train_without(critical.index)[1])


def test_group_accuracy_is_that_of_the_group():
    run = tiny_run()
    bias = add_bias(run)
    dynamics = run["dynamics/test"].load()
    group = run["test_examples"]["group"].values
    for kind in np.unique(group):
        slow = dynamics["correct"].values[:, group == kind].mean(1)
        np.testing.assert_allclose(bias["group_accuracy"].sel(group=str(kind)), slow)
    np.testing.assert_allclose(bias["worst_group_accuracy"], bias["group_accuracy"].min("group"))
    assert np.isfinite(bias["group_score"]).all()


def test_groups_are_matched_by_id():
    train, test = datasets()
    groups = np.array(["left", "right"], dtype=object)[(test.tensors[0][:, 0] > 0).long().numpy()]
    attributor = BiasAttributor(checkpoints()[10], train, test, groups=groups)
    found = attributor.analyze_bias_development(checkpoints(), attribution_method=None)
    model = checkpoints()[10]
    right = (model(test.tensors[0]).argmax(1) == test.tensors[1]).numpy()
    for kind in ("left", "right"):
        slow = right[groups == kind].mean()
        assert found["group_accuracy"].loc[10, kind] == pytest.approx(slow)
    assert found["group_scores"] is None
    assert found["bias_gap"].loc[10] == pytest.approx(
        found["biased_accuracy"].loc[10] - right.mean()
    )


def test_debiasing_removes_only_harmful_examples_and_as_many_elsewhere():
    ids = np.arange(500, 600)
    score = np.where(np.arange(100) < 6, -1.0, 1.0)
    alignment = xr.DataArray(score, {"train": ids}, ("train",))
    removed = []

    def retrain(remove):
        removed.append(remove)
        return set(remove.tolist())

    def evaluate_groups(model):
        # the worst group gets better with each harmful example gone
        gone = len(model & set(range(500, 506)))
        return np.r_[np.ones(10), np.arange(10) < gone], np.array(["a"] * 10 + ["b"] * 10)

    groups = np.array(["a"] * 90 + ["b"] * 10)
    how = {"train_groups": groups, "verbose": False}
    table = debias(alignment, retrain, evaluate_groups, n_random=2, **how)
    assert table["n_removed"].tolist() == [0, 6, 6, 6, 6, 6]
    assert sorted(removed[1]) == list(range(500, 506))
    best = table.loc[table["worst_group_accuracy"].idxmax()]
    assert best["removal"] == "d3m"
    assert (best["worst_group_accuracy"], best["worst_group"]) == (0.6, "b")


def test_harmful_examples_of_a_real_model_are_ranked_and_judged_on_unseen_ones():
    train, test = datasets()
    attributor = BiasAttributor(checkpoints()[10], train, test)
    whole = attributor.alignment()
    half = attributor.alignment(use=np.arange(15))
    assert not np.allclose(whole, half)
    frame = attributor.find_spurious_examples(top_k=7)
    assert frame["contrast"].is_monotonic_increasing
    np.testing.assert_allclose(frame["alignment"], whole.sel(train=frame.index))
    table = attributor.debias(lambda ids: train_model(ids)[10], n_random=1)
    assert table["removal"].tolist() == ["none", "d3m", "random", "balanced"]
    assert table["worst_group_accuracy"].between(0, 1).all()


def test_debiasing_from_six_starts_prints_each_and_an_interval(capsys):
    ids = np.arange(100)
    alignment = xr.DataArray(np.where(ids < 5, -1.0, 1.0), {"train": ids}, ("train",))
    asked = []

    def retrain(removed, seed):
        asked.append((seed, len(removed)))
        return len(set(removed.tolist()) & set(range(5))), seed

    def evaluate_groups(model):
        gone, seed = model
        return np.arange(100) < 50 + 4 * gone + seed, np.array(["a"] * 100)

    table = debias(alignment, retrain, evaluate_groups, train_groups=np.repeat(["a", "b"], 50))
    assert {seed for seed, _ in asked} == set(range(6))
    assert table["seed"].nunique() == 6
    assert len(table) == 6 * 4
    said = capsys.readouterr().out
    assert said.strip().splitlines() == table.attrs["words"]
    assert all(f"seed {seed}: with all {50 + seed}.0%" in said for seed in range(6))
    chosen, random = (
        table[table["removal"] == name].set_index("seed")["worst_group_accuracy"]
        for name in ("d3m", "random")
    )
    law = ttest_1samp(chosen - random, 0).confidence_interval()
    assert f"(95 % interval {100 * law.low:+.1f} to {100 * law.high:+.1f})" in said
    with pytest.raises(SettingError, match="no parameter `seed`"):
        debias(alignment, lambda ids: 0, evaluate_groups, train_groups=ids, seeds=[1, 2])


def test_a_residual_keeps_its_sign_where_moments_are_compared():
    residual = np.array([[-2.0, 0.5, 4.0], [-0.2, 0.05, 0.4]])  # ten times smaller later
    pull = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, -3.0]])
    scores = xr.Dataset(
        {
            "score": (("epoch", "test", "train"), (pull * residual)[:, None]),
            "weight": (("epoch", "train"), residual),
        }
    )
    expected = pull * np.sign(residual)
    np.testing.assert_allclose(unweighted(scores).isel(test=0), expected)
