"""Influence functions against the inverse Gauss-Newton matrix written out."""

import pytest
import torch
from attribution_models import examples, mlp
from torch.func import functional_call, jacrev, vmap
from torch.utils.data import TensorDataset

from dg_explorer.attribution import InfluenceFunctionAttributor
from dg_explorer.attribution.solve.hessian import loss_hessian
from dg_explorer.attribution.solve.solvers import NotConvergedError, leading_eigenpairs
from dg_explorer.errors import SettingError
from dg_explorer.tasks import as_task


def jacobian(model, x):
    parameters = dict(model.named_parameters())
    parts = vmap(jacrev(lambda p, one: functional_call(model, p, (one[None],))[0]), (None, 0))(
        parameters, x
    )
    return torch.cat([part.detach().flatten(2) for part in parts.values()], 2)


def softened_gradient(model, test, temperature):
    """Of the margin: one for the right answer, less the others as likely as they are among them."""
    x, y = test.tensors
    logits = model(x).detach() * temperature
    others = logits.scatter(1, y[:, None], float("-inf")).softmax(1)
    return torch.nn.functional.one_hot(y, logits.shape[1]) - others


def by_hand(model, train, test, relative, temperature=1.0):
    x, y = train.tensors
    j, p = jacobian(model, x), (model(x).detach() * temperature).softmax(1)
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("ncp,ncd,ndq->pq", j, hessian, j)
    added = relative * matrix.trace() / len(x)
    ascent = torch.einsum("nc,ncp->np", torch.nn.functional.one_hot(y, p.shape[1]) - p, j)
    g = softened_gradient(model, test, temperature)
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


def test_token_rows_draw_tokens_as_often_as_the_model_would():
    # then their squared gradients (e - p)(e - p)' average to the Hessian diag(p) - pp'
    task = as_task("language_modeling")
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 5, dtype=torch.float64)
    batch = (torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long))
    rows = task.curvature_rows(logits, batch, rows=1000)[0] * 1000**0.5
    log_p = logits.flatten().log_softmax(0)
    drawn = (rows[:, None] - log_p).abs().argmin(1)
    torch.testing.assert_close(rows, log_p[drawn])
    often = torch.bincount(drawn, minlength=5) / 1000
    torch.testing.assert_close(often.double(), log_p.exp(), rtol=0, atol=5e-3)


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
    with pytest.raises(SettingError, match=r"temperature|rows"):
        InfluenceFunctionAttributor(mlp(), **settings)


@pytest.mark.parametrize("curvature", ["gauss_newton", "hessian"])
@pytest.mark.parametrize("solver", ["cg", "lissa"])
def test_iterative_solvers_agree_with_the_exact_one(solver, curvature):
    model, train, test = mlp(), examples(10), examples(4, seed=1)
    # a Hessian has negative directions: damping lifts them above zero
    settings = {"curvature": curvature, "damping": 3.0}
    exact = InfluenceFunctionAttributor(model, **settings).attribute(train, test)
    other = InfluenceFunctionAttributor(model, solver=solver, **settings)
    torch.testing.assert_close(
        other.attribute(train, test), exact, rtol=0, atol=1e-5 * float(exact.abs().max())
    )


@pytest.mark.parametrize("curvature", ["gauss_newton", "hessian"])
def test_arnoldi_with_every_eigenvector_differs_only_where_the_curvature_is_flat(curvature):
    model, train = mlp(), examples(10)
    settings = {"curvature": curvature, "damping": 1e-6}
    exact = InfluenceFunctionAttributor(model, **settings).attribute(train, train)
    few = InfluenceFunctionAttributor(model, solver="arnoldi", steps=200, **settings)
    scores = few.attribute(train, train)
    assert float(torch.corrcoef(torch.stack([scores.flatten(), exact.flatten()]))[0, 1]) > 0.9
    assert scores.norm() > 0


def test_leading_eigenpairs_are_those_of_the_matrix():
    torch.manual_seed(0)
    root = torch.randn(60, 60, dtype=torch.float64)
    matrix = root @ torch.diag(torch.linspace(-1, 3, 60).double() ** 3) @ root.T
    values, vectors = leading_eigenpairs(matrix, 5)
    exact = torch.linalg.eigvalsh(matrix)
    expected = exact[exact.abs().argsort(descending=True)[:5]]
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(matrix @ vectors, vectors * values, rtol=0, atol=1e-3)


def test_the_hessian_equals_that_of_autograd():
    model, data = mlp(), examples(7)
    names = [name for name, _ in model.named_parameters()]
    x, y = data.tensors

    def loss(*parameters):
        logits = functional_call(model, dict(zip(names, parameters)), (x,))
        return torch.nn.functional.cross_entropy(logits, y, reduction="sum")

    blocks = torch.autograd.functional.hessian(loss, tuple(model.parameters()))
    exact = torch.cat(
        [torch.cat([b.reshape(p.numel(), -1) for b in row], 1)
         for p, row in zip(model.parameters(), blocks)]
    )  # fmt: skip
    found = loss_hessian(model, as_task("classification"), [(x[:3], y[:3]), (x[3:], y[3:])], names)
    torch.testing.assert_close(found, exact)


def kronecker_by_hand(model, train, test, relative, corrected):
    """(H + damping)^-1 for a model of one linear layer, H in Kronecker form, written out."""
    x, y = train.tensors
    p = (model(x).detach() * 0.6).softmax(1)
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    a = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    exact = torch.einsum("ncd,ni,nj->cidj", hessian, a, a)
    size = exact.shape[0] * exact.shape[1]
    exact = exact.reshape(size, size)
    added = relative * exact.trace() / len(x)
    inputs = a.T @ a
    outputs = hessian.sum(0)
    _, qa = torch.linalg.eigh(inputs)
    _, qd = torch.linalg.eigh(outputs)
    basis = torch.kron(qd, qa)
    curvature = basis @ torch.diag((basis.T @ exact @ basis).diagonal()) @ basis.T
    if not corrected:
        curvature = torch.kron(outputs, inputs) / len(x)
    residual = torch.nn.functional.one_hot(y, p.shape[1]) - p
    ascent = torch.einsum("nc,ni->nci", residual, a).flatten(1)
    g = softened_gradient(model, test, 0.6)
    b = torch.cat([test.tensors[0], torch.ones(len(g), 1, dtype=x.dtype)], 1)
    query = torch.einsum("nc,ni->nci", g, b).flatten(1)
    return query @ torch.linalg.inv(curvature + added * torch.eye(size, dtype=x.dtype)) @ ascent.T


@pytest.mark.parametrize("solver", ["ekfac", "kfac"])
def test_kronecker_factors_equal_the_matrix_written_out(solver):
    torch.manual_seed(0)
    model, train, test = torch.nn.Linear(6, 4).double(), examples(30), examples(5, seed=1)
    found = InfluenceFunctionAttributor(model, solver=solver, damping=0.1).attribute(train, test)
    expected = kronecker_by_hand(model, train, test, 0.1, corrected=solver == "ekfac")
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


def test_ekfac_is_exact_where_every_example_has_one_input_direction():
    # inputs on the axes: the eigenbasis of the layer diagonalises the curvature's input side
    model = torch.nn.Linear(4, 2, bias=False).double()
    x = torch.eye(4, dtype=torch.float64).repeat(3, 1) * torch.arange(1.0, 13)[:, None]
    train = TensorDataset(x, torch.tensor([0, 1] * 6))
    exact = InfluenceFunctionAttributor(model, rows=1).attribute(train, train)
    ekfac = InfluenceFunctionAttributor(model, rows=1, solver="ekfac").attribute(train, train)
    torch.testing.assert_close(ekfac, exact, rtol=0, atol=3e-3 * float(exact.abs().max()))


@pytest.mark.parametrize("solver", ["cg", "lissa", "arnoldi", "ekfac", "kfac"])
def test_no_solver_depends_on_the_batch_size(solver):
    model, train, test = mlp(), examples(10), examples(4, seed=1)
    whole, small = (
        InfluenceFunctionAttributor(model, solver=solver, batch_size=size).attribute(train, test)
        for size in (256, 3)
    )
    torch.testing.assert_close(small, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_conjugate_gradients_refuse_a_hessian_that_stays_negative():
    attributor = InfluenceFunctionAttributor(mlp(), curvature="hessian", solver="cg", damping=1e-6)
    with pytest.raises(NotConvergedError, match="not positive"):
        attributor.attribute(examples(10), examples(4, seed=1))


def test_a_solver_that_does_not_converge_is_an_error():
    attributor = InfluenceFunctionAttributor(mlp(), solver="lissa", steps=3, damping=1e-6)
    with pytest.raises(NotConvergedError, match="Raise damping="):
        attributor.attribute(examples(10), examples(4, seed=1))


@pytest.mark.parametrize(
    "settings",
    [{"solver": "ekfc"}, {"curvature": "fisher"}, {"curvature": "hessian", "solver": "kfac"}],
)
def test_what_does_not_go_together_is_refused(settings):
    with pytest.raises(SettingError, match=r"No |goes with"):
        InfluenceFunctionAttributor(mlp(), **settings)
