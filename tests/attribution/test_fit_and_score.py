"""Fitted once and asked later; absolute damping; scores by layer; projected gradients."""

import numpy as np
import pytest
import torch
import xarray as xr
from attribution_models import examples, mlp
from torch.func import functional_call, jacrev, vmap

from dg_explorer.attribution import (
    FeatureMismatchError,
    GradientDotAttributor,
    GradientSimilarityAttributor,
    InfluenceFunctionAttributor,
    Query,
    QuerySet,
    SourceAttributor,
    TracInAttributor,
    TRAKAttributor,
    attribute,
)
from dg_explorer.attribution.projections.sketches import FactoredSketch
from dg_explorer.checkpoints.store import save_checkpoint
from dg_explorer.errors import SettingError
from dg_explorer.run import Run
from dg_explorer.tasks import as_task

TRAIN, TEST, NEW = examples(12), examples(4, seed=1), examples(5, seed=2)
HIDDEN = 5
DATA = {"train": TRAIN, "test": TEST}


def gradients(model, data, kind):
    """Of the loss or the margin of each example, by plain autograd in a loop, by name."""
    task, rows = as_task("classification"), []
    for x, y in data:
        batch = (x[None], y[None])
        prediction = model(x[None])
        value = getattr(task, kind)(prediction, batch).sum()
        found = torch.autograd.grad(value, list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


def gauss_newton(model, data):
    """Sum over examples of J' (diag p - p p') J, in float64."""
    x = data.tensors[0]
    p = dict(model.named_parameters())
    parts = vmap(jacrev(lambda q, one: functional_call(model, q, (one[None],))[0]), (None, 0))(p, x)
    j = torch.cat([part.detach().flatten(2) for part in parts.values()], 2)
    p = model(x).detach().softmax(1)
    return torch.einsum("ncp,ncd,ndq->pq", j, torch.diag_embed(p) - p[:, :, None] * p[:, None], j)


def inverse(model, added):
    matrix = gauss_newton(model, TRAIN)
    return torch.linalg.inv(matrix + added * torch.eye(len(matrix)))


@pytest.fixture
def model():
    return mlp(hidden=HIDDEN)


@pytest.fixture
def influence(model):
    return InfluenceFunctionAttributor(model, damping=("absolute", 0.3), temperature=1.0)


def close(scores, expected):
    # rows that hold less than a thousandth of the curvature are left out
    torch.testing.assert_close(scores, expected, rtol=0, atol=2e-3 * float(expected.abs().max()))


def test_absolute_damping_is_what_is_added_to_the_sum_over_examples(model, influence):
    expected = (
        gradients(model, TEST, "output") @ inverse(model, 0.3) @ -gradients(model, TRAIN, "loss").T
    )
    close(influence.attribute(TRAIN, TEST), expected)
    assert influence.damping_used == [0.3]


@pytest.mark.parametrize("method", [TRAKAttributor, SourceAttributor])
def test_absolute_damping_that_equals_a_relative_one_gives_the_same_scores(method, model):
    checkpoints = {"checkpoints": [mlp(0, hidden=HIDDEN), mlp(1, hidden=HIDDEN)]}
    given = checkpoints | {"segments": 1} if method is SourceAttributor else {}
    relative = method(model, damping=0.7, **given)
    expected = relative.attribute(TRAIN, TEST)
    added = relative.damping_used[0]
    absolute = method(model, damping=("absolute", added), **given)
    torch.testing.assert_close(absolute.attribute(TRAIN, TEST), expected)


@pytest.mark.parametrize("damping", [("absolute", 0), ("absolute", True), ("relative", 1), (1, 2)])
def test_a_damping_that_is_none_is_refused_with_both_ways_shown(model, damping):
    with pytest.raises(SettingError, match=r"damping=.*relative.*'absolute'"):
        TRAKAttributor(model, damping=damping)


@pytest.mark.parametrize("solver", ["exact", "cg", "ekfac", "arnoldi"])
def test_queries_added_after_the_fit_get_the_scores_of_one_call(model, solver):
    made = InfluenceFunctionAttributor(model, solver=solver)
    expected = made.attribute(TRAIN, TEST)
    torch.testing.assert_close(made.fit(TRAIN).score(TEST), expected)


def test_the_curvature_is_solved_once_for_all_questions(influence, monkeypatch):
    from dg_explorer.attribution.solve import gauss_newton

    solved = []
    real = gauss_newton.damped_solver
    monkeypatch.setattr(
        gauss_newton, "damped_solver", lambda *a, **k: solved.append(1) or real(*a, **k)
    )
    influence.fit(TRAIN)
    for queries in (TEST, NEW):
        influence.score(queries)
        influence.score(queries, candidates=NEW)
    assert len(solved) == 1


def test_candidates_never_trained_on_are_scored_by_the_curvature_of_the_training(model, influence):
    expected = (
        gradients(model, TEST, "output") @ inverse(model, 0.3) @ -gradients(model, NEW, "loss").T
    )
    close(influence.fit(TRAIN).score(TEST, candidates=NEW), expected)


@pytest.mark.parametrize("curvature", ["gauss_newton", "hessian"])
@pytest.mark.parametrize("solver", ["exact", "cg", "arnoldi", "ekfac"])
def test_candidates_that_are_the_training_examples_get_their_scores(model, solver, curvature):
    if curvature == "hessian" and solver == "ekfac":
        return
    made = InfluenceFunctionAttributor(model, solver=solver, curvature=curvature, damping=3.0)
    made.fit(TRAIN)
    torch.testing.assert_close(made.score(TEST, candidates=TRAIN), made.score(TEST))


def test_candidates_of_a_first_order_method_are_its_inner_products(model):
    made = GradientDotAttributor(model).fit(TRAIN)
    expected = gradients(model, TEST, "output") @ -gradients(model, NEW, "loss").T
    torch.testing.assert_close(made.score(TEST, candidates=NEW), expected)


def test_a_score_without_a_fit_says_so(model):
    with pytest.raises(SettingError, match="needs fit"):
        InfluenceFunctionAttributor(model).score(TEST)


def test_a_method_that_cannot_score_candidates_says_which_can(model):
    with pytest.raises(SettingError, match=r"'influence'.*not 'trak'"):
        TRAKAttributor(model).fit(TRAIN).score(TEST, candidates=NEW)


def test_other_weights_than_those_of_the_fit_are_refused(model, influence):
    influence.fit(TRAIN)
    with torch.no_grad():
        model[0].weight += 0.1
    for candidates in (None, NEW):
        with pytest.raises(FeatureMismatchError, match="weights"):
            influence.score(TEST, candidates=candidates)


SUMS = {
    "trak": lambda m: TRAKAttributor(m),
    "two checkpoints": lambda m: TRAKAttributor(m, checkpoints=[m, mlp(3, hidden=HIDDEN)]),
    "dot": lambda m: GradientDotAttributor(m),
    "cosine": lambda m: GradientSimilarityAttributor(m),
    "tracin": lambda m: TracInAttributor(m, learning_rates=0.5),
    "influence": lambda m: InfluenceFunctionAttributor(m),
    "ekfac": lambda m: InfluenceFunctionAttributor(m, solver="ekfac"),
    "arnoldi": lambda m: InfluenceFunctionAttributor(m, solver="arnoldi", steps=20),
    "hessian": lambda m: InfluenceFunctionAttributor(m, curvature="hessian", damping=3.0),
}


@pytest.mark.parametrize("name", SUMS)
def test_scores_by_layer_sum_to_the_score(model, name):
    made = SUMS[name](model)
    layers = made.attribute_by_layer(TRAIN, TEST)
    assert list(layers) == ["0", "2"]
    torch.testing.assert_close(sum(layers.values()), made.attribute(TRAIN, TEST))


def test_the_score_of_a_layer_is_that_of_the_querys_gradient_in_it_alone(model, influence):
    query, v = gradients(model, TEST, "output"), -gradients(model, TRAIN, "loss")
    first = sum(p.numel() for p in model[0].parameters())
    layers = influence.attribute_by_layer(TRAIN, TEST)
    dots = GradientDotAttributor(model).attribute_by_layer(TRAIN, TEST)
    for name, columns in (("0", slice(first)), ("2", slice(first, None))):
        alone = torch.zeros_like(query)
        alone[:, columns] = query[:, columns]
        close(layers[name], alone @ inverse(model, 0.3) @ v.T)
        torch.testing.assert_close(dots[name], alone @ v.T)


@pytest.fixture
def run():
    table = [{s: np.arange(len(d)), "label": d.tensors[1].numpy()} for s, d in DATA.items()]
    run = Run.create(None, name="t", train_examples=table[0], test_examples=table[1])
    for epoch in (0, 3):
        save_checkpoint(run, epoch, mlp(epoch, hidden=HIDDEN))
    run.add("metrics", xr.Dataset({"learning_rate": ("epoch", [0.1, 0.2])}, {"epoch": [0, 3]}))
    return run


@pytest.mark.parametrize("method", ["trak", "influence", "tracin", "gradient_cosine"])
def test_layers_are_kept_beside_the_scores_that_they_sum_to(run, model, method):
    plain = attribute(run, model, *DATA.values(), method=method, name="plain", progress=False)
    found = attribute(run, model, *DATA.values(), method=method, per_layer=True, progress=False)
    layers = run[f"by_layer/scores/{method}"]
    assert layers["score"].dims == ("epoch", "layer", "test", "train")
    assert layers["layer"].values.tolist() == ["0", "2"]
    np.testing.assert_array_equal(found["score"], plain["score"])
    np.testing.assert_allclose(layers["score"].sum("layer"), plain["score"], rtol=1e-4, atol=1e-6)


def test_layers_are_added_to_scores_that_are_there_and_go_with_them(run, model):
    how = {"method": "gradient_dot", "progress": False}
    first = attribute(run, model, *DATA.values(), **how)["score"].values
    attribute(run, model, *DATA.values(), per_layer=True, **how)
    layers = run["by_layer/scores/gradient_dot"]["score"]
    np.testing.assert_allclose(layers.sum("layer"), first, rtol=1e-4, atol=1e-6)
    attribute(run, model, *DATA.values(), overwrite=True, **how)
    assert "by_layer/scores/gradient_dot" not in run


def test_layers_of_a_question_are_kept_and_deleted_with_it(run, model):
    asked = QuerySet("mine", {"all": Query.mean(TEST)})
    how = {"method": "trak", "query": asked, "progress": False}
    attribute(run, model, TRAIN, TEST, per_layer=True, **how)
    layers = run["by_layer/queries/mine/trak"]["score"]
    whole = run["queries/mine/trak"]["score"]
    np.testing.assert_allclose(layers.sum("layer"), whole, rtol=1e-4, atol=1e-6)
    run.delete_query("mine")
    assert not [group for group in run.groups() if "mine" in group]


@pytest.mark.parametrize(
    "settings", [{"method": "source"}, {"method": "feature_knn"}, {"proj_dim": 8}]
)
def test_scores_that_are_no_sum_over_layers_say_so_before_the_work(run, model, settings):
    with pytest.raises(SettingError, match="layers"):
        attribute(run, model, TRAIN, TEST, per_layer=True, progress=False, **settings)
    assert [group for group in run.groups() if "score" in group] == []


def test_sums_over_epochs_without_layers_get_none_later(run, model):
    attribute(run, model, TRAIN, TEST, method="tracin", progress=False)
    with pytest.raises(SettingError, match="overwrite=True"):
        attribute(run, model, TRAIN, TEST, method="tracin", per_layer=True, progress=False)


@pytest.mark.parametrize(
    "made",
    [
        lambda m: TRAKAttributor(m, proj_dim=16),
        lambda m: InfluenceFunctionAttributor(m, proj_dim=16),
        lambda m: TracInAttributor(m, proj_dim=16),
    ],
)
def test_scores_of_a_projection_are_no_sum_over_layers(model, made):
    with pytest.raises(SettingError, match="proj_dim="):
        made(model).attribute_by_layer(TRAIN, TEST)


def matrix(model, dim, seed=0):
    shapes = {name: p.shape for name, p in model.named_parameters()}
    return FactoredSketch(dim, seed).matrix(shapes).double()


def test_projected_influence_is_the_formula_with_projected_gradients(model):
    projection = matrix(model, 20, seed=3)
    query = gradients(model, TEST, "output") @ projection.T
    v = -gradients(model, TRAIN, "loss") @ projection.T
    h = projection @ gauss_newton(model, TRAIN) @ projection.T
    expected = query @ torch.linalg.inv(h + 0.3 * torch.eye(20)) @ v.T
    settings = {"proj_dim": 20, "projection_seed": 3, "temperature": 1.0}
    made = InfluenceFunctionAttributor(model, damping=("absolute", 0.3), **settings)
    close(made.attribute(TRAIN, TEST), expected)
    close(made.fit(TRAIN).score(TEST), expected)


def test_projected_tracin_is_the_inner_product_of_projected_gradients(model):
    projection = matrix(model, 20)
    query = gradients(model, TEST, "output") @ projection.T
    v = -gradients(model, TRAIN, "loss") @ projection.T
    made = TracInAttributor(model, learning_rates=0.5, proj_dim=20)
    torch.testing.assert_close(made.attribute(TRAIN, TEST), 0.5 * query @ v.T)


def test_features_of_different_projections_are_refused(model):
    one, other = (InfluenceFunctionAttributor(model, proj_dim=d) for d in (16, 20))
    with pytest.raises(FeatureMismatchError, match="sketch"):
        one.compute_attributions(
            one.compute_train_features(TRAIN), other.compute_test_features(TEST)
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"proj_dim": 0},
        {"proj_dim": 2.5},
        {"proj_dim": 8, "projection": "nystrom"},
        {"proj_dim": 8, "solver": "ekfac"},
        {"proj_dim": 8, "curvature": "hessian"},
    ],
)
def test_a_projection_that_cannot_be_is_refused_by_name(model, settings):
    with pytest.raises(SettingError, match=r"proj_dim=|projection="):
        InfluenceFunctionAttributor(model, **settings)
