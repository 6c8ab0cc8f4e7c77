"""Every snippet of the specification's TRAK page runs as written, but for the import root."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer.attribution import TRAKAttributor

PAGE = Path(__file__).with_name("specification_trak.txt").read_text()
BLOCKS = {
    title: code.replace("data_attribution", "dg_explorer")
    for title, code in re.findall(r"^## (.+?)\n\n```python\n(.*?)```", PAGE, re.S | re.M)
}
N_TRAIN, N_TEST = 48, 50


class TextDataset(torch.utils.data.Dataset):
    """Additions as texts, as the page's modular arithmetic has them."""

    def __getitem__(self, i):
        return {"text": f"{i % 7} + {i // 7} = {i % 7 + i // 7}"}

    def __len__(self):
        return N_TRAIN


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))


def trained(epochs):
    """A small model trained on a task that it can learn, and its weights along the way."""
    torch.manual_seed(0)
    truth, model = torch.randn(12, 4), net()
    x = torch.randn(N_TRAIN + N_TEST, 3, 2, 2)
    data = TensorDataset(x, (x.flatten(1) @ truth).argmax(1))
    parts = [TensorDataset(*data[:N_TRAIN]), TensorDataset(*data[N_TRAIN:])]
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    states = {}
    for epoch in range(max(epochs) + 1):
        if epoch in epochs:
            states[epoch] = {k: v.clone() for k, v in model.state_dict().items()}
        optimizer.zero_grad()
        F.cross_entropy(model(x[:N_TRAIN]), data.tensors[1][:N_TRAIN]).backward()
        optimizer.step()
    return model, states, *parts


@pytest.fixture(scope="module")
def trained_once():
    return trained({0, 20, 40, 60, 80, 100})


@pytest.fixture
def scope(trained_once, tmp_path, monkeypatch):
    """The names that the page takes for granted."""
    monkeypatch.chdir(tmp_path)
    model, states, train_dataset, test_dataset = trained_once
    shown = net()
    shown.load_state_dict(model.state_dict())
    return dict(
        torch=torch, np=np, F=F, DataLoader=DataLoader, TRAKAttributor=TRAKAttributor,
        model=shown, device=torch.device("cpu"), states=states,
        train_dataset=train_dataset, test_dataset=test_dataset,
        train_loader=DataLoader(train_dataset, batch_size=16),
        test_loader=DataLoader(test_dataset, batch_size=16),
    )  # fmt: skip


def run(scope, *titles):
    for title in titles:
        exec(BLOCKS[title], scope)


def test_every_snippet_of_the_page_is_run_below():
    here = Path(__file__).read_text()
    assert len(BLOCKS) == 8
    assert [title for title in BLOCKS if here.count(f'"{title}"') == 0] == []


def test_basic_attribution(scope, capsys):
    run(scope, "Basic Attribution Analysis")
    exact = TRAKAttributor(scope["model"]).attribute(scope["train_dataset"], scope["test_dataset"])
    assert scope["attributions"].shape == (N_TEST, N_TRAIN)
    assert np.corrcoef(scope["attributions"].ravel(), exact.ravel())[0, 1] > 0.9
    best = scope["attributions"][0].argmax()
    assert f"  1. Train example {best}: score" in capsys.readouterr().out


def test_delayed_generalization(scope, tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    epochs = [0, 1000, 2000, 5000, 8000, 10000]
    for epoch, state in zip(epochs, scope["states"].values(), strict=True):
        torch.save(state, tmp_path / "checkpoints" / f"model_epoch_{epoch}.pt")
    run(scope, "Delayed Generalization Analysis")
    evolution = scope["attribution_evolution"]
    assert evolution["score"].shape == (6, N_TRAIN)
    assert evolution["top_train"].shape == (6, 20)
    found = scope["phase_transition_examples"]
    assert (np.diff(found["gained_influence_scores"]) <= 0).all()
    assert f"Train example {found['gained_influence_indices'][0]}: " in capsys.readouterr().out


def test_grokking(scope, capsys):
    run(scope, "Grokking Attribution Analysis")
    scope |= exec_import("from dg_explorer.trak.trak_attributor import DelayedGeneralizationTRAK")
    scope["train_dataset"] = TextDataset()
    states = {0: scope["states"][0], 1000: scope["states"][100]}
    scope["analyze_grokking_attributions"](
        states, scope["train_loader"], scope["test_loader"], grokking_epoch=500
    )
    assert "Average operand 1" in capsys.readouterr().out


def test_bias(scope, capsys):
    run(scope, "Simplicity Bias Attribution")
    found = scope["analyze_bias_attributions"](
        scope["model"], scope["train_loader"], scope["test_loader"], scope["device"]
    )
    assert len(found) == 5 * N_TEST
    assert all(pair["test_label"] != pair["train_label"] for pair in found)
    assert "Attribution concentration" in capsys.readouterr().out


def test_quality(scope):
    run(scope, "Attribution Quality Metrics")
    attributor = TRAKAttributor(scope["model"], proj_dim=128)
    metrics = scope["evaluate_attribution_quality"](
        attributor, scope["train_loader"], scope["test_loader"], scope["model"], scope["device"]
    )
    assert {"linear_datamodeling_score", "stability_mean", "same_class_bias"} <= set(metrics)


def test_efficiency(scope):
    run(scope, "Computational Efficiency Analysis")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    results = scope["benchmark_trak_efficiency"](
        model, train_sizes=[40], test_sizes=[8, 16], proj_dims=[16], device=torch.device("cpu")
    )
    assert [(r["train_size"], r["test_size"], r["proj_dim"]) for r in results] == [
        (40, 8, 16),
        (40, 16, 16),
    ]


def test_chunks(scope):
    run(scope, "Memory Management")
    attributor = TRAKAttributor(scope["model"], proj_dim=32)
    chunked = scope["compute_features_chunked"](attributor, scope["train_loader"], chunk_size=20)
    torch.testing.assert_close(
        chunked, attributor.compute_train_features(scope["train_loader"]), rtol=1e-4, atol=1e-6
    )
    assert Path("features_chunk_40_48.pt").exists()


def test_validation(scope, capsys):
    run(scope, "Validation and Sanity Checks")
    attributor = TRAKAttributor(scope["model"], proj_dim=32, device=scope["device"])
    assert scope["validate_trak_setup"](attributor, scope["train_loader"], scope["test_loader"])
    assert "All TRAK validation checks passed!" in capsys.readouterr().out


def exec_import(line):
    found = {}
    exec(line, found)
    found.pop("__builtins__")
    return found
