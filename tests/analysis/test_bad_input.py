"""What people get wrong: each is refused, or marked, in words that say what to do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from small_model import YourModel, checkpoints, clouds, datasets, loaders, new_model
from torch.utils.data import DataLoader

from dg_explorer.analysis import (
    FeatureEvolutionTracker,
    GradientFlowAnalyzer,
    LearningDynamicsAnalyzer,
    MemorizationDetector,
    PhaseTransitionAttributor,
    add_feature_measures,
    add_projections,
    add_transitions,
    find_mislabeled,
)
from dg_explorer.errors import (
    DataError,
    MissingGroupError,
    NotARunError,
    SettingError,
    ShuffledLoaderError,
)
from dg_explorer.run import Run
from dg_explorer.testing import tiny_run


def tracked(epochs=(0, 1), **settings):
    analyzer = LearningDynamicsAnalyzer(3, **settings)
    for epoch in epochs:
        analyzer.compute_epoch_statistics(loaders()[0], new_model(), epoch)
    return analyzer


@pytest.mark.parametrize("epoch", [1, 0])
def test_epochs_that_repeat_or_come_late_are_refused(epoch):
    analyzer = tracked()
    with pytest.raises(SettingError, match="must ascend"):
        analyzer.compute_epoch_statistics(loaders()[0], new_model(), epoch)
    inputs, targets = next(iter(loaders()[0]))
    with pytest.raises(SettingError, match="must ascend"):
        analyzer.track_batch(new_model(), inputs, targets, torch.arange(16), epoch)
    # and the record is as it was
    assert analyzer.run.epochs("dynamics/train").tolist() == [0, 1]


def test_an_epoch_with_half_its_examples_marks_the_others_unseen():
    analyzer = tracked(epochs=(0,))
    batches = list(loaders()[0])[:2]
    for index, (inputs, targets) in enumerate(batches):
        ids = torch.arange(16 * index, 16 * index + 16)
        analyzer.track_batch(new_model(), inputs, targets, ids, 1)
    stats = analyzer.compute_epoch_statistics(loaders()[0], new_model(), 1)
    assert stats["n_seen"] == 32
    row = analyzer.run["dynamics/train"].sel(epoch=1)
    assert np.isnan(row["loss"].sel(train=slice(32, None))).all()
    assert (row["prediction"].sel(train=slice(32, None)) == -1).all()
    # unseen is neither learned nor forgotten
    patterns = analyzer.analyze_learning_patterns()
    assert patterns["examples"]["n_seen"].loc[40] == 1
    assert patterns["forgetting_statistics"]["examples_with_forgetting"] == 0


def test_too_few_classes_are_named_with_the_number_that_would_do():
    with pytest.raises(DataError, match="num_classes=3"):
        LearningDynamicsAnalyzer(2).compute_epoch_statistics(loaders()[0], new_model(), 0)
    with pytest.raises(DataError, match="num_classes=3"):
        MemorizationDetector(2).compute_memorization_scores(new_model(), *loaders(), 0)


def test_positions_under_a_shuffled_loader_are_refused_with_the_fix():
    analyzer, (loader, _) = LearningDynamicsAnalyzer(3), loaders(shuffle=True)
    for index, (inputs, targets) in enumerate(loader):
        ids = torch.arange(16 * index, 16 * index + len(targets))
        analyzer.track_batch(new_model(), inputs, targets, ids, 0)
    with pytest.raises(ShuffledLoaderError, match=r"with_ids\(dataset\)"):
        analyzer.compute_epoch_statistics(loader, new_model(), 0)


def test_positions_that_change_meaning_between_epochs_are_caught_by_their_labels():
    analyzer = tracked(epochs=(0,))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    inputs, targets = (t[order] for t in datasets()[0].tensors)
    analyzer.track_batch(new_model(), inputs, targets, torch.arange(60), 1)
    with pytest.raises(DataError, match="another label than before"):
        analyzer.analyze_learning_patterns()


def test_ids_from_a_shuffled_loader_give_the_same_history_as_an_ordered_one():
    shuffled = LearningDynamicsAnalyzer(3)
    loader, _ = loaders(shuffle=True, ids=True)
    for epoch, model in checkpoints().items():
        for inputs, targets, ids in loader:
            shuffled.track_batch(model, inputs, targets, ids, epoch)
        shuffled.compute_epoch_statistics(loader, model, epoch)
    ordered = LearningDynamicsAnalyzer(3)
    for epoch, model in checkpoints().items():
        ordered.compute_epoch_statistics(loaders()[0], model, epoch)
    a, b = (x.run["dynamics/train"].load() for x in (shuffled, ordered))
    np.testing.assert_allclose(a["loss"], b["loss"], atol=1e-5)
    np.testing.assert_array_equal(a["prediction"], b["prediction"])


def test_as_many_ids_as_examples():
    inputs, targets = next(iter(loaders()[0]))
    with pytest.raises(DataError, match="16 examples came with 15 ids"):
        LearningDynamicsAnalyzer(3).track_batch(new_model(), inputs, targets, torch.arange(15), 0)


def test_the_loader_of_another_dataset_is_recognised():
    detector = MemorizationDetector(3)
    detector.compute_memorization_scores(new_model(), *loaders(), 0)
    other = DataLoader(clouds(90, 5), batch_size=16)
    with pytest.raises(DataError, match="another dataset"):
        detector.compute_memorization_scores(new_model(), other, loaders()[1], 1)


def test_nan_losses_are_marked_not_dropped():
    model = new_model()
    analyzer = tracked(epochs=(0,))
    with torch.no_grad():
        model.fc.weight.fill_(float("nan"))
    stats = analyzer.compute_epoch_statistics(loaders()[0], model, 1)
    assert stats["n_nan_loss"] == 60
    assert stats["n_seen"] == 60
    patterns = analyzer.analyze_learning_patterns()
    assert (patterns["examples"]["n_nan_loss"] == 1).all()
    assert np.isfinite(patterns["examples"]["mean_loss"]).all()


def test_a_layer_that_does_not_exist_is_answered_with_the_closest():
    with pytest.raises(SettingError, match="'layer4'"):
        FeatureEvolutionTracker(YourModel(), ["layer_4"])
    with pytest.raises(SettingError, match="'layer3'"):
        GradientFlowAnalyzer(YourModel(), ["layer33"])
    with pytest.raises(MissingGroupError, match="'hidden'"):
        add_projections(tiny_run(), "hiden")
    with pytest.raises(SettingError, match="silhouette_score"):
        FeatureEvolutionTracker(run=tiny_run()).detect_phase_transitions("hidden", "silhouete")


def test_a_crashed_cell_leaves_no_hook_behind():
    model = YourModel()
    tracker = FeatureEvolutionTracker(model, ["layer3"])
    broken = DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 7), torch.zeros(4).long()))
    with pytest.raises(DataError, match=r"cannot be called with \[0\] float32 \(1, 7\)"):
        tracker.track_epoch(broken, 0)
    assert not any(m._forward_hooks for m in model.modules())
    tracker.track_epoch(loaders()[0], 0)


def test_one_class_and_constant_features_give_nan_and_never_stop_the_analysis():
    run = tiny_run()
    examples = run["train_examples"].load()
    run.add("train_examples", examples.assign(label=examples["label"] * 0), overwrite=True)
    measures = add_feature_measures(run, "hidden")
    assert np.isnan(measures["silhouette_score"]).all()
    assert np.isfinite(measures["effective_rank"]).all()
    run = tiny_run()
    features = run["features/hidden"].load()
    run.add("features/hidden", features * 0 + 1.0, overwrite=True)
    measures = add_feature_measures(run, "hidden")
    assert np.isnan(measures["effective_rank"]).all()
    assert (measures["silhouette_score"] == 0).all()
    assert (add_projections(run, "hidden")["position"] == 0).all()


def test_features_that_are_not_finite_are_refused_with_the_epoch():
    run = tiny_run()
    features = run["features/hidden"].load()
    features["activation"][3] = np.nan
    run.add("features/hidden", features, overwrite=True)
    with pytest.raises(DataError, match="epoch 15"):
        add_projections(run, "hidden")
    assert np.isnan(add_feature_measures(run, "hidden")["effective_rank"][3])


def test_gradients_are_asked_for_after_backward():
    analyzer = GradientFlowAnalyzer(YourModel())
    with pytest.raises(DataError, match=r"after loss\.backward\(\)"):
        analyzer.track_batch_gradients(torch.tensor(1.0), 0, 0)
    with pytest.raises(DataError, match="No batch was tracked in epoch 3"):
        analyzer.compute_epoch_statistics(3)


def test_a_run_without_what_an_analysis_needs_says_what_it_has():
    empty = Run.create(name="empty")
    for analysis in (add_transitions, find_mislabeled):
        with pytest.raises(MissingGroupError, match="This run has no"):
            analysis(empty)
    with pytest.raises(MissingGroupError, match="Nothing is tracked"):
        FeatureEvolutionTracker(YourModel(), ["layer3"]).analyze_evolution()


def test_checkpoints_that_are_not_there_or_in_the_wrong_order():
    models = {2: checkpoints()[2], 10: checkpoints()[10]}
    attributor = PhaseTransitionAttributor(models, *datasets())
    with pytest.raises(DataError, match="there are 2, 10"):
        attributor.compute_transition_attributions(3, 10)
    with pytest.raises(SettingError, match="must come before"):
        attributor.compute_transition_attributions(10, 2)


class Trap:
    """Unpickling this would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_real_pickle_is_refused_unopened(tmp_path):
    path, sprung = tmp_path / "analyzer.pkl", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(str(sprung))))
    with pytest.raises(NotARunError, match="unpickling runs whatever code"):
        LearningDynamicsAnalyzer.load(path)
    assert not sprung.exists()
