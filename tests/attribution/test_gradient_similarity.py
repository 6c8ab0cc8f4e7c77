"""Gradient similarity and TracIn, against gradients taken one by one."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attribution_models import TinyTransformer, examples, mlp
from torch.utils.data import TensorDataset

from dg_explorer import Recorder, Run, with_ids
from dg_explorer.attribution import GradientSimilarityAttributor, TracInAttributor, attribute
from dg_explorer.checkpoints.store import save_checkpoint
from dg_explorer.errors import CheckpointError, SettingError
from dg_explorer.tasks import margin


def by_hand(model, train, test):
    """grad f of each test example, -grad l of each training example, as rows."""

    def gradient(value):
        found = torch.autograd.grad(value, list(model.parameters()))
        return torch.cat([g.flatten() for g in found])

    queries = [gradient(margin(model(x[None]), y[None])[0]) for x, y in test]
    losses = [
        gradient(-torch.nn.functional.cross_entropy(model(x[None]), y[None])) for x, y in train
    ]
    return torch.stack(queries), torch.stack(losses)


@pytest.fixture
def data():
    return examples(10), examples(4, seed=1)


def test_the_dot_product_is_that_of_output_and_loss_gradients(data):
    model = mlp()
    g, h = by_hand(model, *data)
    scores = GradientSimilarityAttributor(model, similarity="dot").attribute(*data)
    torch.testing.assert_close(scores, g @ h.T, rtol=1e-9, atol=1e-12)


def test_the_cosine_is_that_of_output_and_loss_gradients(data):
    model = mlp()
    g, h = by_hand(model, *data)
    expected = torch.nn.functional.cosine_similarity(g[:, None], h[None], dim=2)
    scores = GradientSimilarityAttributor(model).attribute(*data)
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)
    assert float(scores.abs().max()) <= 1


def test_a_step_of_gradient_descent_moves_the_margin_by_the_dot_product(data):
    train, test = data
    model, step = mlp(), 1e-6
    scores = GradientSimilarityAttributor(model, similarity="dot").attribute(train, test)
    x, y = test.tensors
    before = margin(model(x), y)
    moved = []
    for example in train:
        after = mlp()
        loss = torch.nn.functional.cross_entropy(after(example[0][None]), example[1][None])
        with torch.no_grad():
            gradients = torch.autograd.grad(loss, list(after.parameters()))
            for p, g in zip(after.parameters(), gradients):
                p -= step * g
        moved.append((margin(after(x), y) - before) / step)
    torch.testing.assert_close(scores, torch.stack(moved, 1).detach(), rtol=1e-4, atol=1e-5)


def test_tracin_adds_up_checkpoints_times_learning_rates(data):
    models, rates = [mlp(0), mlp(1), mlp(2)], [0.1, 0.05, 0.01]
    expected = sum(r * g @ h.T for r, (g, h) in zip(rates, (by_hand(m, *data) for m in models)))
    attributor = TracInAttributor(
        mlp(9), checkpoints=[m.state_dict() for m in models], learning_rates=rates
    )
    torch.testing.assert_close(attributor.attribute(*data), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_self_influence_is_the_score_of_an_example_for_itself(data, similarity):
    attributor = GradientSimilarityAttributor(mlp(), similarity=similarity)
    features = attributor.compute_train_features(data[0])
    expected = attributor.attribute(data[0], data[0]).diagonal()
    torch.testing.assert_close(attributor.self_influence(features), expected)


def test_an_example_without_gradient_has_cosine_zero(data):
    model = torch.nn.Sequential(torch.nn.Linear(6, 4, bias=False)).double()
    x, y = data[0].tensors
    x[2] = 0
    scores = GradientSimilarityAttributor(model).attribute(TensorDataset(x, y), data[1])
    assert (scores[:, 2] == 0).all()
    assert (scores[:, 3] != 0).all()


def test_layers_with_shared_and_raw_parameters_are_counted_too():
    tokens = torch.randint(0, 11, (8, 3), generator=torch.Generator().manual_seed(0))
    model = TinyTransformer().eval()
    data = TensorDataset(tokens, tokens[:, 0])
    g, h = by_hand(model, data, data)
    scores = GradientSimilarityAttributor(model, similarity="dot").attribute(data, data)
    torch.testing.assert_close(scores.float(), g @ h.T, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------ over the epochs of a run


def run_with(models, rates=None, path=None, ids=None):
    labels = examples(10).tensors[1].numpy()
    table = {"train": np.arange(10) if ids is None else ids, "label": labels}
    run = Run.create(path, name="t", train_examples=table)
    for epoch, model in zip((0, 5, 20), models):
        save_checkpoint(run, epoch, model)
    if rates is not None:
        import xarray as xr

        run.add("metrics", xr.Dataset({"learning_rate": ("epoch", rates)}, {"epoch": [0, 5, 20]}))
    return run


def test_in_a_run_tracin_is_the_sum_up_to_each_epoch(data):
    models, rates = [mlp(0), mlp(1), mlp(2)], [0.1, 0.05, 0.01]
    run = run_with(models, rates)
    found = attribute(run, mlp(9), *data, method="tracin", progress=False)
    each = [r * g @ h.T for r, (g, h) in zip(rates, (by_hand(m, *data) for m in models))]
    expected = torch.stack(each).cumsum(0).numpy()
    np.testing.assert_allclose(found["score"].values, expected, rtol=1e-5, atol=1e-6)


def test_a_sum_that_was_interrupted_goes_on_to_the_same_scores(data):
    models, rates = [mlp(0), mlp(1), mlp(2)], [0.1, 0.05, 0.01]
    whole, parts = run_with(models, rates), run_with(models, rates)
    expected = attribute(whole, mlp(9), *data, method="tracin", progress=False)["score"]
    attribute(parts, mlp(9), *data, method="tracin", epochs=[0, 5], progress=False)
    found = attribute(parts, mlp(9), *data, method="tracin", progress=False)["score"]
    assert np.array_equal(found.values, expected.values)


def test_an_epoch_cannot_be_added_before_a_sum(data):
    run = run_with([mlp(0), mlp(1), mlp(2)], [0.1, 0.05, 0.01])
    attribute(run, mlp(9), *data, method="tracin", epochs=[5], progress=False)
    with pytest.raises(SettingError, match="before it"):
        attribute(run, mlp(9), *data, method="tracin", progress=False)


def run_of_two_rates(model, rates, path=None):
    """A training whose body and head go at rates of their own, halved after each epoch."""
    train, test = examples(10), examples(3, seed=1)
    tables = [{"label": d.tensors[1].numpy()} for d in (train, test)]
    run = Run.create(path, name="t", train_examples=tables[0], test_examples=tables[1])
    groups = [{"params": model[i].parameters(), "lr": rate} for i, rate in zip((0, 2), rates)]
    optimizer = torch.optim.SGD(groups)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    states = []
    with Recorder(run, model, optimizer, train=with_ids(train), test=test) as recorder:
        for epoch in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(train.tensors[0]), train.tensors[1]).backward()
            optimizer.step()
            schedule.step()
            recorder.epoch(epoch)
            states.append(copy.deepcopy(model))
    return run, with_ids(train), test, states


def test_each_layer_is_scored_at_the_rate_of_its_parameter_group():
    model = mlp(0)
    run, train, test, states = run_of_two_rates(model, (0.01, 1.0))
    found = attribute(run, model, train, test, method="tracin", progress=False)["score"].values
    body = sum(p.numel() for p in model[0].parameters())
    total = 0
    for scale, state in zip((1, 0.5), states):
        g, h = by_hand(state, examples(10), test)
        rates = torch.where(torch.arange(g.shape[1]) < body, 0.01, 1.0) * scale
        total = total + (g * rates) @ h.T
    np.testing.assert_allclose(found[-1], total, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(run["metrics"]["learning_rate"], [0.01, 0.005])
    np.testing.assert_array_equal(run["metrics"]["learning_rate_1"], [1.0, 0.5])


def test_rates_of_several_groups_cannot_be_kept_apart_in_a_projection():
    model = mlp(0)
    run, train, test, _ = run_of_two_rates(model, (0.01, 1.0))
    with pytest.raises(SettingError, match=r"several learning rates.*learning_rates="):
        attribute(run, model, train, test, method="tracin", proj_dim=8, progress=False)


def test_groups_of_one_rate_are_recorded_as_one():
    run, *_ = run_of_two_rates(mlp(0), (0.1, 0.1))
    assert "learning_rate_1" not in run["metrics"]


def test_a_run_without_learning_rates_is_refused_until_one_is_given(data):
    run = run_with([mlp(0), mlp(1), mlp(2)])
    with pytest.raises(CheckpointError, match="learning_rates="):
        attribute(run, mlp(9), *data, method="tracin", progress=False)
    found = attribute(run, mlp(9), *data, method="tracin", learning_rates=0.5, progress=False)
    g, h = by_hand(mlp(0), *data)
    np.testing.assert_allclose(found["score"].sel(epoch=0), 0.5 * g @ h.T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "method", ["gradient_dot", "gradient_cosine", "feature_knn", "representation_similarity"]
)
def test_every_method_writes_labelled_scores_into_a_run(data, method):
    run, reversed_ids = run_with([mlp(0), mlp(1), mlp(2)]), np.arange(10)[::-1].copy()
    other = run_with([mlp(0), mlp(1), mlp(2)], ids=reversed_ids)
    train = with_ids(data[0], reversed_ids)
    found = attribute(other, mlp(9), train, data[1], method=method, progress=False)
    assert found["score"].dims == ("epoch", "test", "train")
    assert found["score"].sel(train=9, epoch=5).values == pytest.approx(
        attribute(run, mlp(9), *data, method=method, name="plain", progress=False)["score"]
        .sel(train=0, epoch=5)
        .values
    )


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="cosine"):
        GradientSimilarityAttributor(mlp(), similarity="euclid")
    with pytest.raises(SettingError, match=r"2 checkpoint\(s\)"):
        TracInAttributor(
            mlp(), checkpoints=[mlp().state_dict()] * 2, learning_rates=[0.1, 0.2, 0.3]
        )
    with pytest.raises(TypeError, match="damping"):
        TracInAttributor(mlp(), damping=1.0)
