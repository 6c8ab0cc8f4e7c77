"""What is saved is the record, and a new process finds the same analysis in it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_model import checkpoints, loaders, new_model

from dg_explorer.analysis import (
    FeatureEvolutionTracker,
    GradientFlowAnalyzer,
    LearningDynamicsAnalyzer,
    MemorizationDetector,
)
from dg_explorer.errors import SettingError
from dg_explorer.run import Run

READ = """
import json, sys
from dg_explorer.analysis import LearningDynamicsAnalyzer, MemorizationDetector
found = LearningDynamicsAnalyzer.load(sys.argv[1]).analyze_learning_patterns()
examples = found["examples"].drop(columns="region").sum().to_dict()
lists = {k: found[k] for k in ("hard_examples", "ambiguous_examples", "suspected_mislabels")}
memory = MemorizationDetector.load(sys.argv[2]).analyze_memorization_evolution()
memory = {k: v for k, v in memory.items() if k not in ("epochs", "memorization_scores")}
print(json.dumps([examples, lists, found["forgetting_statistics"], memory]))
"""


def analyzers():
    dynamics, memory = LearningDynamicsAnalyzer(3), MemorizationDetector(3)
    for epoch, model in checkpoints().items():
        dynamics.compute_epoch_statistics(loaders()[0], model, epoch)
        memory.compute_memorization_scores(model, *loaders(), epoch)
    return dynamics, memory


def test_a_new_process_finds_the_same_analysis(tmp_path):
    paths = [tmp_path / "dynamics.pkl", tmp_path / "memory.pkl"]
    for analyzer, path in zip(analyzers(), paths):
        analyzer.save(path)
        assert (path / "record" / "manifest.jsonl").is_file()
    outputs = [
        subprocess.run(
            [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, check=True
        ).stdout
        for _ in range(1)
    ]
    dynamics, memory = analyzers()
    here = dynamics.analyze_learning_patterns()
    there = json.loads(outputs[0])
    sums = here["examples"].drop(columns="region").sum().to_dict()
    np.testing.assert_allclose(list(there[0].values()), list(sums.values()), rtol=1e-6)
    assert there[1]["hard_examples"] == here["hard_examples"]
    assert there[1]["suspected_mislabels"] == here["suspected_mislabels"]
    assert there[2] == here["forgetting_statistics"]
    evolution = memory.analyze_memorization_evolution()
    assert there[3]["t_memorized"] == evolution["t_memorized"]
    assert there[3]["note"] == evolution["note"]


def test_going_on_after_loading_leaves_the_saved_record_alone(tmp_path):
    analyzer = LearningDynamicsAnalyzer(3, track_examples=20)
    analyzer.compute_epoch_statistics(loaders()[0], new_model(), 0)
    analyzer.save(tmp_path / "analyzer_epoch_0.pkl")
    again = LearningDynamicsAnalyzer.load(tmp_path / "analyzer_epoch_0.pkl")
    assert again.track_examples == 20
    assert again.num_classes == 3
    again.compute_epoch_statistics(loaders()[0], new_model(), 1)
    assert again.run["dynamics/train"].sizes == {"epoch": 2, "train": 20}
    saved = Run.open(tmp_path / "analyzer_epoch_0.pkl")
    assert saved.epochs("dynamics/train").tolist() == [0]


def test_saving_twice_replaces_the_record_and_touches_nothing_else(tmp_path):
    analyzer = LearningDynamicsAnalyzer(3)
    analyzer.compute_epoch_statistics(loaders()[0], new_model(), 0)
    analyzer.save(tmp_path / "a")
    analyzer.compute_epoch_statistics(loaders()[0], new_model(), 1)
    analyzer.save(tmp_path / "a")
    assert Run.open(tmp_path / "a").epochs("dynamics/train").tolist() == [0, 1]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(Exception, match="b"):
        analyzer.save(tmp_path / "b")
    assert (tmp_path / "b" / "thesis.txt").read_text() == "mine"


def test_what_is_being_gathered_is_saved_too(tmp_path):
    analyzer = GradientFlowAnalyzer(new_model())
    loss = analyzer.model(torch.ones(2, 6)).square().sum()
    loss.backward()
    analyzer.track_batch_gradients(loss, 7, 0)
    analyzer.save(tmp_path / "flow")
    assert GradientFlowAnalyzer.load(tmp_path / "flow").run.epochs("gradients").tolist() == [7]


def test_a_missing_setting_is_named(tmp_path):
    tracker = FeatureEvolutionTracker(new_model(), ["layer4"])
    tracker.track_epoch(loaders()[0], 0)
    tracker.save(tmp_path / "features")
    with pytest.raises(SettingError, match="num_classes"):
        LearningDynamicsAnalyzer.load(tmp_path / "features")
    again = FeatureEvolutionTracker.load(tmp_path / "features")
    assert set(again.analyze_evolution()) == {"layer4"}
    with pytest.raises(SettingError, match="model=model"):
        again.track_epoch(loaders()[0], 1)
