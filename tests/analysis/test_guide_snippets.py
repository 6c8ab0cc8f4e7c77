"""The calls of the specification's analysis guide and overview, on a small real model.

The names and the calls are the documents' own, with the import root changed.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import EPOCHS, YourModel, checkpoints, datasets, loaders, new_model

train_dataset, test_dataset = datasets()
batch_size, num_epochs, device = 16, 4, "cpu"


@pytest.fixture
def training(tmp_path, monkeypatch):
    """A fresh model, its optimizer and criterion, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    model = new_model()
    return model, torch.optim.Adam(model.parameters(), lr=1e-2), torch.nn.CrossEntropyLoss()


def test_quick_start(training, capsys):
    model, _, criterion = training
    train_loader, _ = loaders()
    from dg_explorer.analysis import LearningDynamicsAnalyzer

    analyzer = LearningDynamicsAnalyzer(num_classes=10)
    for epoch in range(num_epochs):
        for batch_idx, (inputs, targets) in enumerate(train_loader):
            outputs = model(inputs)
            criterion(outputs, targets)
            batch_indices = torch.arange(
                batch_idx * batch_size, min((batch_idx + 1) * batch_size, len(train_dataset))
            )
            analyzer.track_batch(model, inputs, targets, batch_indices, epoch)
        analyzer.compute_epoch_statistics(train_loader, model, epoch)
    analysis = analyzer.analyze_learning_patterns()
    figure = analyzer.plot_learning_dynamics(save_dir="./results")
    print(f"Hard examples: {len(analysis['hard_examples'])}")
    assert "Hard examples: " in capsys.readouterr().out
    page = Path("results/learning_dynamics.html").read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page
    assert figure.layout.title.text


def test_all_analyzers_together_while_training(training, capsys):
    model, optimizer, criterion = training
    train_loader, test_loader = loaders()
    from dg_explorer.analysis import (
        GradientFlowAnalyzer,
        LearningDynamicsAnalyzer,
        MemorizationDetector,
    )

    dynamics = LearningDynamicsAnalyzer(num_classes=10, track_examples=1000, device=device)
    gradients = GradientFlowAnalyzer(model=model, track_layers=None)
    memorization = MemorizationDetector(num_classes=10, device=device)
    for epoch in range(num_epochs):
        for batch_idx, (inputs, targets) in enumerate(train_loader):
            outputs = model(inputs)
            loss = criterion(outputs, targets)
            optimizer.zero_grad()
            loss.backward()
            if batch_idx % 10 == 0:
                gradients.track_batch_gradients(loss, epoch, batch_idx)
            optimizer.step()
            batch_indices = torch.arange(
                batch_idx * batch_size, min((batch_idx + 1) * batch_size, len(train_dataset))
            )
            dynamics.track_batch(model, inputs, targets, batch_indices, epoch)
        dynamics.compute_epoch_statistics(train_loader, model, epoch)
        gradients.compute_epoch_statistics(epoch)
        if epoch % 2 == 0:
            mem_metrics = memorization.compute_memorization_scores(
                model, train_loader, test_loader, epoch
            )
            print(f"Epoch {epoch}: Memorization={mem_metrics['memorization_score']:.4f}")
            gap = mem_metrics["train_accuracy"] - mem_metrics["test_accuracy"]
            assert mem_metrics["memorization_score"] == pytest.approx(gap)
    dynamics.plot_learning_dynamics(save_dir="./analysis")
    gradients.plot_gradient_flow(save_dir="./analysis")
    memorization.plot_memorization(save_dir="./analysis")
    assert "Epoch 2: Memorization=" in capsys.readouterr().out
    for name in ("learning_dynamics", "gradient_flow", "memorization"):
        assert "Plotly.newPlot" in Path(f"analysis/{name}.html").read_text()


def test_memorization_of_saved_checkpoints(training, capsys):
    from dg_explorer.analysis import MemorizationDetector

    train_loader, test_loader = loaders()
    checkpoint_dir = "."
    for epoch, model in checkpoints().items():
        torch.save(model.state_dict(), f"{checkpoint_dir}/model_epoch_{epoch}.pth")
    loaded = {}
    for epoch in EPOCHS:
        model = YourModel()
        model.load_state_dict(torch.load(f"{checkpoint_dir}/model_epoch_{epoch}.pth"))
        model.eval()
        loaded[epoch] = model
    mem_detector = MemorizationDetector(num_classes=10)
    for epoch, model in loaded.items():
        metrics = mem_detector.compute_memorization_scores(model, train_loader, test_loader, epoch)
        print(
            f"Epoch {epoch}: Train={metrics['train_accuracy']:.4f}, "
            f"Test={metrics['test_accuracy']:.4f}"
        )
        right = (model(test_dataset.tensors[0]).argmax(1) == test_dataset.tensors[1]).float()
        assert metrics["test_accuracy"] == pytest.approx(right.mean().item())
    mem_analysis = mem_detector.analyze_memorization_evolution()
    print(f"Transition at epoch: {mem_analysis['transition_epoch']}")
    mem_detector.plot_memorization(save_dir="./analysis")
    assert "Transition at epoch: " in capsys.readouterr().out


def test_feature_evolution(training, capsys):
    from dg_explorer.analysis import FeatureEvolutionTracker

    train_loader, _ = loaders()
    feature_tracker = FeatureEvolutionTracker(
        model=YourModel(), layer_names=["layer3", "layer4"], device=device
    )
    for epoch, checkpoint_model in checkpoints().items():
        feature_tracker.model.load_state_dict(checkpoint_model.state_dict())
        feature_tracker.track_epoch(train_loader, epoch, sample_limit=500)
    analysis = feature_tracker.analyze_evolution()
    transitions = feature_tracker.detect_phase_transitions("layer4", metric="silhouette_score")
    print(f"Phase transitions at epochs: {transitions}")
    feature_tracker.visualize_evolution("layer4", save_dir="./analysis", method="pca")
    feature_tracker.plot_metrics_evolution("layer4", save_dir="./analysis")
    feature_tracker.remove_hooks()
    assert set(analysis) == {"layer3", "layer4"}
    # training pulled the classes apart
    assert analysis["layer4"]["silhouette_score"][-1] > analysis["layer4"]["silhouette_score"][0]
    assert not any(m._forward_hooks for m in feature_tracker.model.modules())


def test_phase_transition_attribution(training, capsys):
    from dg_explorer.analysis import PhaseTransitionAttributor

    pt_attributor = PhaseTransitionAttributor(
        model_checkpoints={2: checkpoints()[2], 10: checkpoints()[10]},
        train_data=train_dataset,
        test_data=test_dataset,
    )
    attributions = pt_attributor.compute_transition_attributions(
        pre_transition_epoch=2, post_transition_epoch=10
    )
    critical = pt_attributor.find_critical_examples(attributions, top_k=20)
    analysis = pt_attributor.analyze_critical_examples(critical)
    print(f"Critical examples: {len(critical)}")
    print(f"Label distribution: {analysis['label_distribution']}")
    assert len(critical) == 20
    assert sum(analysis["label_distribution"].values()) == 20
    assert capsys.readouterr().out.startswith("Critical examples: 20")


def test_comparison_of_saved_analyzers(training, capsys):
    from dg_explorer.analysis import LearningDynamicsAnalyzer

    train_loader, _ = loaders()
    for name in ("grokking", "bias", "normal"):
        analyzer = LearningDynamicsAnalyzer(num_classes=10)
        for epoch, model in checkpoints().items():
            analyzer.compute_epoch_statistics(train_loader, model, epoch)
        analyzer.save(f"./saved/{name}_analyzer.pkl")
    analyses = {}
    for name in ("grokking", "bias", "normal"):
        analyzer = LearningDynamicsAnalyzer.load(f"./saved/{name}_analyzer.pkl")
        analyses[name] = analyzer.analyze_learning_patterns()
    for name, analysis in analyses.items():
        print(f"\n{name}:")
        print(f"  Hard examples: {len(analysis['hard_examples'])}")
        events = analysis["forgetting_statistics"]["examples_with_forgetting"]
        print(f"  Forgetting events: {events}")
    assert capsys.readouterr().out.count("Forgetting events: ") == 3


def test_overview_trak_and_tracker(training):
    model, optimizer, _ = training
    train_loader, test_loader = loaders()
    from dg_explorer.trak import TRAKAttributor
    from dg_explorer.utils import TrainingDynamicsTracker

    attributor = TRAKAttributor(model=model, task="classification", proj_dim=512, device=device)
    train_features = attributor.compute_train_features(
        dataloader=train_loader, num_samples=len(train_dataset)
    )
    test_features = attributor.compute_test_features(dataloader=test_loader)
    attributions = attributor.compute_attributions(
        train_features=train_features, test_features=test_features
    )
    assert attributions.shape == (len(test_dataset), len(train_dataset))
    tracker = TrainingDynamicsTracker(dataset=train_dataset, save_interval=100)
    for epoch in range(num_epochs):
        for batch_idx, (data, targets) in enumerate(train_loader):
            predictions = model(data)
            losses = torch.nn.functional.cross_entropy(predictions, targets, reduction="none")
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            tracker.update(
                epoch=epoch,
                batch_idx=batch_idx,
                data=data,
                targets=targets,
                predictions=predictions,
                losses=losses,
            )
    assert tracker.analyze()["examples_seen"] == len(train_dataset)


def test_overview_phase_transition_and_bias(training):
    from dg_explorer.analysis import BiasAttributor, PhaseTransitionAttributor

    pt_attributor = PhaseTransitionAttributor(
        model_checkpoints=checkpoints(), train_data=train_dataset, test_data=test_dataset
    )
    transition_influences = pt_attributor.compute_transition_attributions()
    critical_examples = pt_attributor.find_critical_examples(transition_influences, top_k=100)
    # there are only 60
    assert len(critical_examples) == len(train_dataset)
    model = copy.deepcopy(checkpoints()[10])
    bias_attributor = BiasAttributor(
        model=model, biased_data=train_dataset, unbiased_data=test_dataset
    )
    spurious_influences = bias_attributor.find_spurious_examples(
        attribution_method="trak", top_k=20
    )
    bias_timeline = bias_attributor.analyze_bias_development(model_checkpoints=checkpoints())
    assert len(spurious_influences) == 20
    assert list(bias_timeline["epochs"]) == list(EPOCHS)
    assert np.isfinite(bias_timeline["group_scores"].values).all()
