"""Quality, timing and bias of attributors: the numbers they report, checked by retraining."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import with_ids
from dg_explorer.attribution import TRAKAttributor
from dg_explorer.errors import DataError
from dg_explorer.evaluation import (
    analyze_bias_attributions,
    benchmark_trak_efficiency,
    evaluate_attribution_quality,
    linear_datamodeling_score,
    random_subsets,
)
from dg_explorer.evaluation.attribution_quality import class_labels
from dg_explorer.tasks import margin


def blobs(n, seed, *, patch=0.0):
    """Three classes; an extra input that says which of classes 0 and 1 it is for a share."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = 0.9 * torch.randn(n, 5, generator=generator)
    x[torch.arange(n), y] += 1.5
    told = torch.rand(n, generator=generator) < patch
    x[:, 4] = torch.where(told, 3.0 * y.float(), 0.0)
    return TensorDataset(x.double(), y)


def fit(data, kept):
    """Softmax regression to convergence on some examples: deterministic, and the same for all."""
    x, y = (t[torch.as_tensor(kept)] for t in data.tensors)
    model = nn.Linear(5, 3).double()
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        decay = sum(p.square().sum() for p in model.parameters())
        value = nn.functional.cross_entropy(model(x), y) + 0.01 * decay
        value.backward()
        return value

    optimizer.step(loss)
    return model


@pytest.fixture(scope="module")
def setting():
    train, test = blobs(60, 0), blobs(12, 1)

    def training(kept, seed):
        model = fit(train, kept)
        with torch.no_grad():
            return margin(model(test.tensors[0]), test.tensors[1]).numpy()

    model = fit(train, np.ones(60, bool))
    return model, train, test, training


def test_the_datamodeling_score_is_that_of_real_retraining(setting):
    model, train, test, training = setting
    attributor = TRAKAttributor(model)
    metrics = evaluate_attribution_quality(
        attributor, DataLoader(train, 16), DataLoader(test, 16), training=training, n_subsets=24
    )
    masks = random_subsets(24, np.arange(60)).values
    outputs = np.stack([training(kept, 0) for kept in masks])
    scores = attributor.attribute(train, test).numpy()
    expected = float(linear_datamodeling_score(scores, masks, outputs)["lds"])
    assert metrics["linear_datamodeling_score"] == pytest.approx(expected)
    assert metrics["linear_datamodeling_score"] > 0.5
    assert metrics["linear_datamodeling_low"] < expected < metrics["linear_datamodeling_high"]


def test_without_a_way_to_retrain_it_says_what_it_needs(setting):
    model, train, test, _ = setting
    metrics = evaluate_attribution_quality(
        TRAKAttributor(model), DataLoader(train, 16), DataLoader(test, 16), model, "cpu"
    )
    assert np.isnan(metrics["linear_datamodeling_score"])
    assert "training=" in metrics["linear_datamodeling_needs"]
    assert metrics["stability_varied"] == "training examples"
    assert metrics["same_class_bias"] > 0


def test_labels_come_in_the_datasets_order_from_a_shuffled_loader():
    data = blobs(20, 3)
    loader = DataLoader(with_ids(data, np.arange(20)[::-1].copy()), 6, shuffle=True)
    assert torch.equal(class_labels(loader), data.tensors[1])
    assert class_labels(DataLoader(TensorDataset(data.tensors[0]), 4)) is None


# ------------------------------------------------------------------ bias


def test_pairs_are_the_highest_scores_of_other_classes():
    train, test = blobs(60, 0, patch=0.8), blobs(9, 1)
    model = fit(train, np.ones(60, bool))
    ids = np.arange(60) + 500
    found = analyze_bias_attributions(
        model, DataLoader(with_ids(train, ids), 16, shuffle=True), test, top_k=2, verbose=False
    )
    scores = TRAKAttributor(model).attribute(train, test).numpy()
    expected = []
    for q in range(9):
        others = [i for i in range(60) if train.tensors[1][i] != test.tensors[1][q]]
        best = sorted(others, key=lambda i: -scores[q, i])[:2]
        expected += [(q, 500 + i, scores[q, i]) for i in best]
    expected.sort(key=lambda pair: -pair[2])
    assert [(p["test_idx"], p["train_idx"]) for p in found] == [p[:2] for p in expected]
    assert [p["attribution_score"] for p in found] == pytest.approx([p[2] for p in expected])
    assert found.counterfactual is None


def test_the_hypothesis_is_tested_by_retraining(capsys):
    train, test = blobs(60, 0, patch=0.8), blobs(30, 1)

    def training(kept, seed):
        with torch.no_grad():
            return margin(fit(train, kept)(test.tensors[0]), test.tensors[1]).numpy()

    model = fit(train, np.ones(60, bool))
    found = analyze_bias_attributions(
        model, train, test, training=training, n_random=3, drop=0.1, seeds=[0]
    )
    check = found.counterfactual
    assert check["n_dropped"] == 6
    everyone = np.ones(60, bool)
    kept = everyone.copy()
    kept[found.suspects] = False
    change = (training(kept, 0) - training(everyone, 0)).mean()
    assert check["margin_change"] == pytest.approx([change])
    beyond = change - np.mean(check["margin_change_random"])
    assert check["beyond_random"].mean == pytest.approx(beyond)
    said = capsys.readouterr().out
    assert f"seed 0: {change:+.3f}; at random" in said
    assert f"Beyond balanced removal: {check['beyond_balanced'].mean:+.3f} (95 %" in said


def test_a_removal_is_tried_from_six_starts_with_an_interval_over_them():
    train, test = blobs(60, 0, patch=0.8), blobs(30, 1)
    asked = []

    def training(kept, seed):
        asked.append((seed, int((~kept).sum())))
        return np.full(30, (~kept).sum() * (1.0 + seed))

    found = analyze_bias_attributions(
        fit(train, np.ones(60, bool)), train, test, training=training, drop=0.1, verbose=False
    )
    assert asked == [(seed, n) for seed in range(6) for n in (0, 6, 6, 6)]
    # as many removed, so the same change from each start: nothing beyond the draws
    assert found.counterfactual["beyond_random"] == (0, 0, 0)
    assert found.counterfactual["margin_change"] == [6.0 * (1 + seed) for seed in range(6)]


def test_what_is_not_tested_is_not_claimed(capsys):
    train, test = blobs(30, 0), blobs(9, 1)
    analyze_bias_attributions(fit(train, np.ones(30, bool)), train, test)
    assert "is not tested" in capsys.readouterr().out
    with pytest.raises(DataError, match="label"):
        analyze_bias_attributions(
            nn.Linear(5, 1).double(),
            TensorDataset(train.tensors[0], torch.randn(30).double()),
            TensorDataset(test.tensors[0], torch.randn(9).double()),
            task="regression",
        )


# ------------------------------------------------------------------ timing


def test_each_combination_is_timed_once():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    rows = benchmark_trak_efficiency(
        model, [20, 30], [5], [8, None], "cpu", shape=(3, 2, 2), n_classes=4, verbose=False
    )
    found = [(r["train_size"], r["proj_dim"]) for r in rows]
    assert found == [(20, 8), (30, 8), (20, None), (30, None)]
    for row in rows:
        parts = row["train_time"] + row["test_time"] + row["attribution_time"]
        assert row["total_time"] == pytest.approx(parts)
        assert min(row["train_time"], row["floor_time"]) > 0
        assert row["memory_used"] is None
