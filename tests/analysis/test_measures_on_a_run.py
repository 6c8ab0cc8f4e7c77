"""What analyses write into a run equals the plain measure of the same arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from small_model import checkpoints, datasets, loaders, new_model
from torch.nn.functional import cross_entropy

import dg_explorer as dg
from dg_explorer.analysis import (
    FeatureEvolutionTracker,
    GradientFlowAnalyzer,
    LearningDynamicsAnalyzer,
    MemorizationDetector,
    add_cartography,
    add_feature_measures,
    add_memorization,
    add_projections,
    add_transitions,
    compare_runs,
    comparison_table,
    find_mislabeled,
    gradient_flags,
)
from dg_explorer.errors import SettingError
from dg_explorer.maths.forgetting import forgetting_events
from dg_explorer.maths.separability import silhouette
from dg_explorer.testing import tiny_run


def test_cartography_is_labelled_by_id_whatever_the_order():
    run = tiny_run()
    table = add_cartography(run)
    dynamics = run["dynamics/train"].load()
    shuffled = dynamics.isel(train=np.random.default_rng(0).permutation(40))
    run.add("dynamics/train", shuffled, overwrite=True)
    again = add_cartography(run).sel(train=table["train"])
    xr.testing.assert_allclose(table.drop_vars("region"), again.drop_vars("region"))
    slow = forgetting_events(dynamics["correct"].values)
    assert table["forgetting_events"].sel(train=117).item() == slow[17]


def test_transitions_are_read_off_the_curves():
    run = tiny_run()
    found = add_transitions(run)
    metrics = run["metrics"].load()
    assert found["t50"] == metrics["epoch"][metrics["test_accuracy"] >= 0.5][0]
    assert found["t95"] == metrics["epoch"][metrics["test_accuracy"] >= 0.95][0]
    assert found["t_memorized"] == metrics["epoch"][metrics["train_accuracy"] >= 0.999][0]
    assert found["delay"] == found["t95"] - found["t_memorized"]
    assert found["interval"][0] <= found["t_transition"] <= found["interval"][1]
    xr.testing.assert_identical(run["transitions"].load(), found)


FALLS = {
    "a fall alone": (lambda up, down: 0.9 - 0.7 * down, False),
    "a rise and then a fall": (lambda up, down: 0.1 + 0.8 * up * (1 - 0.9 * down), True),
    "a rise alone": (lambda up, down: 0.1 + 0.8 * up, True),
}


@pytest.mark.parametrize("kind", FALLS)
def test_what_rises_is_a_transition_and_a_fall_is_said_to_be_forgetting(kind):
    curve, rises = FALLS[kind]
    time = np.arange(0, 1000, 10)
    up, down = (1 / (1 + np.exp(-(time - at) / 12)) for at in (200, 700))
    test = curve(up, down) + 0.005 * np.random.default_rng(0).normal(size=100)
    run = dg.Run.create(name=kind)
    run.add("metrics", xr.Dataset({"test_accuracy": ("epoch", test)}, {"epoch": time}))
    found = add_transitions(run)
    assert bool(found["found"]) == rises
    names = ("onset", "t_transition", "width", "by_threshold", "by_sigmoid", "by_change_points")
    if rises:
        assert abs(float(found["t_transition"]) - 200) < 15
        assert abs(float(found["onset"]) - 180) < 20
    else:
        assert all(np.isnan(found[name]) for name in names)
    if "fall" in kind:
        assert abs(float(found["t_forgotten"]) - 700) <= 10
        assert "forgetting, and no transition" in found.attrs["note"]
    else:
        assert np.isnan(found["t_forgotten"])
        assert "forgetting" not in found.attrs["note"]


def test_a_layers_distance_from_its_classifier_is_what_the_model_itself_says():
    train, test = datasets()
    model = new_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    run = dg.Run.create(
        None,
        name="collapse",
        train_examples={"label": train.tensors[1].numpy()},
        test_examples={"label": test.tensors[1].numpy()},
    )
    said = []
    with dg.Recorder(run, model, optimizer, train=train, test=test, layers=["layer4"]) as recorder:
        for epoch in range(3):
            recorder.epoch(epoch)
            said.append(model(train.tensors[0]).argmax(1).numpy())
            cross_entropy(model(train.tensors[0]), train.tensors[1]).backward()
            optimizer.step()
            optimizer.zero_grad()
    measures = add_feature_measures(run, "layer4", classifier="fc")
    hidden = run["features/layer4"].sel(example=run["features/layer4"]["split"] == "train")
    labels = train.tensors[1].numpy()
    for at, predicted in enumerate(said):
        row = hidden["activation"].values[at]
        means = np.stack([row[labels == c].mean(0) for c in range(3)])
        nearest = np.linalg.norm(row[:, None] - means, axis=-1).argmin(1)
        assert measures["nc4"].values[at] == np.mean(nearest != predicted)
    assert np.isfinite(measures["nc3"]).all()
    assert np.isnan(add_feature_measures(run, "layer4")["nc3"]).all()
    with pytest.raises(SettingError, match=r"Those that could: 'fc'\."):
        add_feature_measures(run, "layer4", classifier="head")


def test_accuracy_comes_from_the_examples_where_metrics_have_none():
    run, bare = tiny_run(), tiny_run()
    bare.delete("metrics")
    xr.testing.assert_allclose(
        add_transitions(run).drop_attrs(), add_transitions(bare).drop_attrs()
    )


def test_projections_move_with_their_examples():
    run = tiny_run()
    position = add_projections(run, "hidden", method="procrustes", n_axes=3)
    assert position["position"].dims == ("epoch", "example", "axis")
    features = run["features/hidden"]
    np.testing.assert_array_equal(position["id"], features["id"])
    np.testing.assert_array_equal(position["split"], features["split"])
    # t-SNE needs nothing installed and stays finite and labelled too
    assert np.isfinite(add_projections(run, "hidden", method="tsne")["position"]).all()


def test_memorization_of_examples_says_by_which_measure():
    run = tiny_run()
    proxy = add_memorization(run)["memorization"]
    assert "proxy" in proxy.attrs["measure"]
    used = np.random.default_rng(0).random((30, 40)) < 0.6
    subsets = xr.Dataset(
        {"trained_on": (("model", "train"), used), "correct": (("model", "train"), used)},
        {"train": run["train_examples"]["train"].values},
    )
    estimate = add_memorization(run, subsets=subsets)["memorization"]
    assert "Feldman" in estimate.attrs["measure"]
    np.testing.assert_allclose(estimate, 1.0)


def test_the_estimate_by_retraining_finds_the_example_that_only_memory_gets_right():
    train, test = datasets()
    inputs = train.tensors[0]
    detector = MemorizationDetector(3)

    class Table(torch.nn.Module):
        """Right on what it was trained on, and says class 0 elsewhere."""

        def __init__(self, kept):
            super().__init__()
            self.kept = torch.as_tensor(kept)

        def forward(self, x):
            logits = torch.zeros(len(x), 3)
            logits[:, 0] = 1
            for row, example in enumerate(x):
                at = (inputs == example).all(1).nonzero().flatten()
                if len(at) and (self.kept == at[0]).any():
                    logits[row, train.tensors[1][at[0]]] = 2
            return logits

    found = detector.estimate_example_memorization(Table, train, test, n_models=30, seed=1)
    labels = train.tensors[1].numpy()
    np.testing.assert_array_equal(found["memorization"], (labels != 0).astype(float))
    assert (found["influence"] == 0).all()
    assert detector.example_memorization().identical(found["memorization"])


def test_learning_dynamics_of_given_logits_equal_those_of_a_forward_pass():
    one, other = LearningDynamicsAnalyzer(3), LearningDynamicsAnalyzer(3)
    model = checkpoints()[4]
    for index, (inputs, targets) in enumerate(loaders()[0]):
        ids = np.arange(16 * index, 16 * index + len(targets))
        one.track_batch(model, inputs, targets, ids, 0)
        other.track_batch(None, inputs, targets, ids, 0, outputs=model(inputs))
    statistics = [a.compute_epoch_statistics(loaders()[0], model, 0) for a in (one, other)]
    assert statistics[0] == statistics[1]
    logits, labels = model(datasets()[0].tensors[0]), datasets()[0].tensors[1]
    assert statistics[0]["mean_loss"] == pytest.approx(cross_entropy(logits, labels).item(), 1e-5)
    assert statistics[0]["accuracy"] == (logits.argmax(1) == labels).double().mean().item()
    error = logits.softmax(1) - torch.nn.functional.one_hot(labels, 3)
    np.testing.assert_allclose(
        one.run["dynamics/train"]["el2n"][0], error.norm(dim=1).detach(), rtol=1e-5
    )


def test_tracking_changes_nothing_about_the_model_or_the_random_numbers():
    model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Dropout(), torch.nn.BatchNorm1d(3))
    model.train()
    torch.manual_seed(5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    analyzer = LearningDynamicsAnalyzer(3)
    inputs, targets = next(iter(loaders()[0]))
    analyzer.track_batch(model, inputs, targets, torch.arange(16), 0)
    MemorizationDetector(3).compute_memorization_scores(model, *loaders(), 0)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_features_are_those_of_the_layer():
    model = checkpoints()[6]
    with FeatureEvolutionTracker(model, ["layer3"]) as tracker:
        tracker.track_epoch(loaders(shuffle=True)[0], 0, sample_limit=20)
    inputs, labels = (t[:20] for t in datasets()[0].tensors)
    expected = model.layer3(inputs).detach().numpy()
    np.testing.assert_allclose(tracker.run["features/layer3"]["activation"][0], expected, atol=1e-6)
    measured = tracker.analyze_evolution()["layer3"]["silhouette_score"][0]
    np.testing.assert_allclose(measured, silhouette(expected, labels.numpy()), rtol=1e-5)


def test_gradient_norms_and_cosines_equal_plain_autograd():
    model = new_model()
    analyzer = GradientFlowAnalyzer(model, ["layer3", "fc"])
    batches = list(loaders()[0])
    norms, gradients = [], []
    for index, (inputs, targets) in enumerate(batches[:2]):
        model.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten().clone() for p in model.fc.parameters()]))
        norms.append(analyzer.track_batch_gradients(loss, 0, index)["fc"])
    np.testing.assert_allclose(norms, [g.norm().item() for g in gradients], rtol=1e-6)
    statistics = analyzer.compute_epoch_statistics(0)["fc"]
    cosine = torch.cosine_similarity(*gradients, dim=0).item()
    assert statistics["cosine_to_previous"] == pytest.approx(cosine, rel=1e-5)
    assert statistics["update_ratio"] == 0  # the optimizer never stepped
    small = np.mean([g.norm().item() ** 2 for g in gradients])
    big = (sum(gradients) / 2).norm().item() ** 2
    if 2 * big > small:
        assert statistics["noise_scale"] == pytest.approx(2 * (small - big) / (2 * big - small))


def test_vanishing_exploding_and_broken_gradients_are_told_apart():
    norm = np.ones((6, 4))
    norm[:, 1] = 1e-5
    norm[4, 2] = 50
    norm[5, 3] = np.nan
    norm[3] = np.nan  # an epoch that was not sampled
    gradients = xr.Dataset(
        {"norm": (("epoch", "layer"), norm)}, {"epoch": range(6), "layer": list("abcd")}
    )
    flags = gradient_flags(gradients).sel(epoch=[0, 4, 5]).values.tolist()
    assert flags[0] == ["", "vanishing", "", ""]
    assert flags[1] == ["", "vanishing", "exploding", ""]
    assert flags[2] == ["", "vanishing", "", "not finite"]
    assert (gradient_flags(gradients).sel(epoch=3) == "").all()


def test_runs_of_different_length_and_unit_share_one_axis():
    long, short = tiny_run(0), tiny_run(1, epochs=7)
    table = compare_runs({"long": long, "short": short}, moments=12)
    np.testing.assert_allclose(
        table["test_accuracy"].sel(run="long"), long["metrics"]["test_accuracy"], atol=1e-12
    )
    assert table["last_epoch"].values.tolist() == [55, 30]
    frame = comparison_table(table)
    assert list(frame.index) == ["long", "short"]
    assert frame.loc["long", "t95"] == add_transitions(long)["t95"].item()


def test_planted_wrong_labels_are_found_and_the_right_ones_suggested():
    rng = np.random.default_rng(0)
    run = tiny_run(n_train=200, n_classes=4)
    dynamics = run["dynamics/train"].load()
    ids = dynamics["train"].values
    wrong = ids[:20]
    labels = run["train_examples"]["label"].load()
    for name, value in (("loss", 9.0), ("margin", -3.0), ("confidence", 0.05)):
        dynamics[name].loc[{"train": wrong}] = value + 0.1 * rng.random((12, 20))
    dynamics["correct"].loc[{"train": wrong}] = False
    dynamics["prediction"].loc[{"train": wrong}] = (labels.sel(train=wrong).values + 1) % 4
    run.add("dynamics/train", dynamics, overwrite=True)
    found = find_mislabeled(run, weights={"mean_loss": 1.0})
    assert set(found.index[:20]) == set(wrong)
    planted = found.loc[wrong]
    assert (planted["action"] == "relabel").all()
    assert (planted["suggested_label"] == (planted["label"] + 1) % 4).all()
    share = find_mislabeled(run, share=0.05)
    assert (share["action"] != "keep").sum() == 10


def test_percentages_are_no_accuracies():
    run = dg.Run.create(name="percent")
    values = {"test_accuracy": ("epoch", np.linspace(10.0, 95.0, 20))}
    run.add("metrics", xr.Dataset(values, {"epoch": np.arange(20)}))
    with pytest.raises(dg.DataError, match="Divide percentages by 100"):
        dg.add_transitions(run)
