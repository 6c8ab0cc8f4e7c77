"""The damping read off a checkpoint, against ridges that are known."""

import pytest
import torch
from attribution_models import examples, mlp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer.attribution import (
    InfluenceFunctionAttributor,
    TRAKAttributor,
    compute_features_chunked,
)
from dg_explorer.attribution.gradients.capture import capture_of
from dg_explorer.attribution.gradients.factors import Explicit
from dg_explorer.attribution.projections import kernel
from dg_explorer.attribution.solve.damping import DEFAULT_RELATIVE, HIGHEST, LOWEST, resting_damping
from dg_explorer.tasks import as_task


def ridge_regression(ridge, n=200):
    """A logistic regression of two classes at the minimum of its loss plus the ridge."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    x[:, 0] += 0.2 * x[:, 0].sign()
    y = (x[:, 0] > 0).long()
    model = nn.Linear(5, 2, bias=False).double()
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=500, tolerance_grad=1e-13, tolerance_change=0.0
    )

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y, reduction="sum")
        loss = loss + ridge / 2 * model.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return model, TensorDataset(x, y)


def chosen_by_hand(model, data):
    """10 |sum of w g|^2 over doubts, mean curvature and directions, from gradients by autograd."""
    x, y = data.tensors
    parameters = list(model.parameters())
    logits = model(x)
    right = logits.gather(1, y[:, None])[:, 0]
    others = logits.scatter(1, y[:, None], float("-inf")).logsumexp(1)
    rows = [torch.autograd.grad(m, parameters, retain_graph=True) for m in right - others]
    g = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    p = (right - others).sigmoid().detach()
    left = ((1 - p)[:, None] * g).sum(0)
    eigenvalues = torch.linalg.eigvalsh(g.T @ g)
    directions = eigenvalues.sum() ** 2 / eigenvalues.square().sum()
    curvature = (p * (1 - p) * g.square().sum(1)).mean()
    return float(10 * left @ left / (1 - p).sum() / (curvature * directions))


@pytest.mark.parametrize(
    "settings", [{}, {"proj_dim": 62, "projection": "nystrom"}, {"solver": "ekfac"}]
)
def test_the_damping_is_the_formula_written_out(settings):
    model, data = mlp(), examples(30)
    method = InfluenceFunctionAttributor if "solver" in settings else TRAKAttributor
    auto, one = method(model, **settings), method(model, damping=1.0, **settings)
    auto.attribute(data, data)
    one.attribute(data, data)
    relative = auto.damping_used[0] / one.damping_used[0]
    assert relative == pytest.approx(chosen_by_hand(model, data), rel=1e-4)


@pytest.mark.parametrize("method", [TRAKAttributor, InfluenceFunctionAttributor])
def test_a_regression_with_more_ridge_gets_more_damping(method):
    chosen = []
    for ridge in (0.03, 0.3, 3.0):
        model, data = ridge_regression(ridge)
        auto, one = method(model), method(model, damping=1.0)
        auto.attribute(data, data)
        one.attribute(data, data)
        chosen.append(auto.damping_used[0] / one.damping_used[0])
    assert LOWEST < chosen[0] < chosen[1] < chosen[2] < HIGHEST


def test_less_training_rests_on_more_damping():
    data = examples(60)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    chosen = []
    for step in range(401):
        if step in (100, 200, 400):
            attributor = TRAKAttributor(model)
            plain = TRAKAttributor(model, damping=1.0)
            attributor.attribute(data, data)
            plain.attribute(data, data)
            chosen.append(attributor.damping_used[0] / plain.damping_used[0])
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.tensors[0]), data.tensors[1]).backward()
        optimizer.step()
    assert chosen[0] > chosen[1] > chosen[2]


def test_gradients_that_share_no_direction_need_less_damping():
    weight, lengths, n = torch.full((40,), 0.2), torch.full((40,), 3.0), 40
    alike = resting_damping(weight, lengths, 3 * (n * 0.2) ** 2 / 1e3, (3 * n) ** 2)
    apart = resting_damping(weight, lengths, 3 * (n * 0.2) ** 2 / 1e3, 9 * n)
    assert apart == pytest.approx(alike / n, rel=1e-6)


def test_certain_and_hopeless_examples_give_a_finite_damping():
    weight = torch.tensor([0.0, 1e-300, 0.3, 1.0], dtype=torch.float64)
    assert 0 < resting_damping(weight, torch.ones(4), 0.01, 4.0) <= HIGHEST
    assert resting_damping(torch.zeros(4), torch.ones(4), 0.0, 4.0) == HIGHEST


def test_the_damping_does_not_depend_on_the_scale_of_the_gradients():
    weight, lengths = torch.tensor([0.1, 0.2, 0.4]), torch.tensor([1.0, 2.0, 3.0])
    a = resting_damping(weight, lengths, 0.05, 20.0)
    assert LOWEST < a < HIGHEST
    assert resting_damping(weight, 1e6 * lengths, 0.05e6, 20e12) == pytest.approx(a, rel=1e-6)


def test_outputs_without_a_doubt_keep_the_mean_diagonal():
    x, _ = examples(30).tensors
    data = TensorDataset(x, x.sum(1, keepdim=True))
    model = nn.Linear(6, 1).double()
    auto = TRAKAttributor(model, task="regression")
    fixed = TRAKAttributor(model, task="regression", damping=DEFAULT_RELATIVE)
    torch.testing.assert_close(auto.attribute(data, data), fixed.attribute(data, data))


def test_chunks_of_features_give_the_damping_of_the_whole():
    model, data = ridge_regression(3.0, n=50)
    attributor = InfluenceFunctionAttributor(model)
    joined = compute_features_chunked(
        attributor, DataLoader(data, 10), 20, save_intermediate=False, verbose=False
    )
    test = attributor.compute_test_features(data)
    scores = attributor.compute_attributions(joined, test)
    torch.testing.assert_close(scores, attributor.attribute(data, data), rtol=1e-6, atol=1e-10)


def test_a_given_damping_overrides_what_the_features_say():
    model, data = ridge_regression(3.0, n=50)
    attributor = InfluenceFunctionAttributor(model)
    features = attributor.compute_train_features(data), attributor.compute_test_features(data)
    attributor.damping = 0.5
    fixed = InfluenceFunctionAttributor(model, damping=0.5).attribute(data, data)
    torch.testing.assert_close(attributor.compute_attributions(*features), fixed)


def test_the_sum_of_squares_of_a_large_kernel_is_estimated_well(monkeypatch):
    torch.manual_seed(0)
    model = mlp(dtype=torch.float32, hidden=32, inputs=20)
    batch = examples(300, inputs=20, dtype=torch.float32).tensors
    layers = capture_of(model, as_task("classification"), batch)(batch).factors[0]
    exact = float(kernel.gram(layers).double().square().sum())
    assert kernel.squared_sum(layers) == pytest.approx(exact, rel=1e-5)
    monkeypatch.setattr(kernel, "WRITTEN", 0)
    monkeypatch.setattr(kernel, "SKETCHED", 256)
    assert kernel.squared_sum(layers) == pytest.approx(exact, rel=0.1)
    unrelated = [Explicit(torch.eye(300), ("w",), ((300,),))]
    assert kernel.squared_sum(unrelated) == pytest.approx(300, rel=0.5)
