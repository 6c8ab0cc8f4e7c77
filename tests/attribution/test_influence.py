"""Influence functions against the inverse Gauss-Newton matrix written out."""

import pytest
import torch
from attribution_models import examples, mlp
from torch.func import functional_call, jacrev, vmap
from torch.utils.data import TensorDataset

from dg_explorer.attribution import InfluenceFunctionAttributor
from dg_explorer.attribution.tasks import as_task, margin
from dg_explorer.errors import SettingError


def jacobian(model, x):
    parameters = dict(model.named_parameters())
    parts = vmap(jacrev(lambda p, one: functional_call(model, p, (one[None],))[0]), (None, 0))(
        parameters, x
    )
    return torch.cat([part.detach().flatten(2) for part in parts.values()], 2)


def by_hand(model, train, test, relative, temperature=1.0):
    x, y = train.tensors
    j, p = jacobian(model, x), (model(x).detach() * temperature).softmax(1)
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("ncp,ncd,ndq->pq", j, hessian, j)
    added = relative * matrix.trace() / len(x)
    ascent = torch.einsum("nc,ncp->np", torch.nn.functional.one_hot(y, p.shape[1]) - p, j)
    logits = model(test.tensors[0]).detach().requires_grad_(True)
    (g,) = torch.autograd.grad(margin(logits, test.tensors[1]).sum(), logits)
    query = torch.einsum("qc,qcp->qp", g, jacobian(model, test.tensors[0]))
    eye = torch.eye(matrix.shape[0], dtype=matrix.dtype)
    return query @ torch.linalg.inv(matrix + added * eye) @ ascent.T


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_scores_equal_the_inverse_matrix_written_out(damping, temperature):
    model, train, test = mlp(), examples(10), examples(4, seed=1)
    attributor = InfluenceFunctionAttributor(model, damping=damping, temperature=temperature)
    scores = attributor.attribute(train, test)
    expected = by_hand(model, train, test, damping, temperature)
    # rows holding less than a thousandth of the trace are left out
    torch.testing.assert_close(scores, expected, rtol=0, atol=2e-3 * float(expected.abs().max()))


def test_an_ensemble_averages_its_checkpoints():
    models, train, test = [mlp(0), mlp(1)], examples(10), examples(4, seed=1)
    settings = {"damping": 0.5, "temperature": 1.0}
    together = InfluenceFunctionAttributor(mlp(9), checkpoints=models, **settings)
    alone = [InfluenceFunctionAttributor(m, **settings).attribute(train, test) for m in models]
    torch.testing.assert_close(together.attribute(train, test), sum(alone) / 2)


def test_curvature_rows_square_to_the_hessian_of_the_loss():
    task = as_task("classification")
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    batch = (None, torch.tensor([0, 1, 2, 3, 0]))
    rows = task.curvature_rows(logits, batch, rows=3)
    jac = torch.stack([torch.autograd.grad(rows[:, r].sum(), logits, retain_graph=True)[0]
                       for r in range(3)], 1)  # fmt: skip
    for i in range(5):
        exact = torch.func.hessian(
            lambda z, i=i: torch.nn.functional.cross_entropy(z[None], batch[1][i : i + 1])
        )(logits[i].detach())
        torch.testing.assert_close(jac[i].T @ jac[i], exact)


def test_token_rows_square_to_the_hessian_on_average():
    task = as_task("language_modeling")
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 5, dtype=torch.float64, requires_grad=True)
    batch = (torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long))
    rows = task.curvature_rows(logits, batch, rows=300)
    jac = torch.stack(
        [torch.autograd.grad(rows[:, r].sum(), logits, retain_graph=True)[0].flatten()
         for r in range(300)]
    )  # fmt: skip
    p = logits.detach().flatten().softmax(0)
    exact = torch.diag(p) - torch.outer(p, p)
    torch.testing.assert_close(jac.T @ jac, exact, rtol=0, atol=1e-2)


def test_ascent_at_temperature_one_is_minus_the_gradient_of_the_loss():
    task = as_task("classification")
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    batch = (None, torch.tensor([0, 1, 2, 3, 0]))
    (ascent,) = torch.autograd.grad(task.ascent(logits, batch).sum(), logits)
    (descent,) = torch.autograd.grad(task.loss(logits, batch).sum(), logits)
    torch.testing.assert_close(ascent, -descent)


def test_influence_foretells_leaving_one_out_of_a_linear_regression():
    torch.manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.float64)
    y = (x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))[:, None] + torch.randn(40, 1)
    train = TensorDataset(x, y.double())
    queries = torch.randn(6, 3, dtype=torch.float64)
    test = TensorDataset(queries, torch.zeros(6, 1, dtype=torch.float64))
    ridge = 1e-3

    def fit(keep):
        a, b = x[keep], train.tensors[1][keep]
        return torch.linalg.solve(a.T @ a + ridge * torch.eye(3, dtype=a.dtype), a.T @ b)

    model = torch.nn.Linear(3, 1, bias=False).double()
    full = fit(torch.arange(40))
    with torch.no_grad():
        model.weight.copy_(full.T)
    relative = ridge / float(x.square().sum(1).mean())
    scores = InfluenceFunctionAttributor(model, task="regression", damping=relative).attribute(
        train, test
    )
    everyone = torch.arange(40)
    truth = torch.cat([queries @ (full - fit(everyone[everyone != i])) for i in range(40)], 1)
    # the exact effect is the influence over 1 - leverage, at most .3 here
    assert float(torch.corrcoef(torch.stack([scores.flatten(), truth.flatten()]))[0, 1]) > 0.99


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 2}, {"rows": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingError, match="must be"):
        InfluenceFunctionAttributor(mlp(), **settings)
