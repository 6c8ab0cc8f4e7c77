"""Questions about a finished run, each against a loop of plain autograd in float64."""

import copy

import numpy as np
import pytest
import torch
from attribution_models import TinyTransformer, examples, mlp, normed
from test_walk import EPOCHS, TEST, TRAIN, TRAIN_IDS, a_run
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import Query, QuerySet, Run, attribute, with_ids
from dg_explorer.attribution import (
    GradientDotAttributor,
    InfluenceFunctionAttributor,
    SourceAttributor,
    TracInAttributor,
    TRAKAttributor,
)
from dg_explorer.errors import DataError, MissingGroupError, NonFiniteError, SettingError
from dg_explorer.tasks import as_task

MANY, OTHERS = examples(30, seed=5), examples(8, seed=6)
LINEAR = {
    "trak": lambda m: TRAKAttributor(m),
    "projected": lambda m: TRAKAttributor(m, proj_dim=40),
    "rademacher": lambda m: TRAKAttributor(m, proj_dim=40, projection="rademacher"),
    "nystrom": lambda m: TRAKAttributor(m, proj_dim=40, projection="nystrom", landmarks=TRAIN),
    "two checkpoints": lambda m: TRAKAttributor(m, checkpoints=[m, mlp(3)]),
    "influence": lambda m: InfluenceFunctionAttributor(m),
    "ekfac": lambda m: InfluenceFunctionAttributor(m, solver="ekfac"),
    "hessian": lambda m: InfluenceFunctionAttributor(m, curvature="hessian", damping=3.0),
    "projected influence": lambda m: InfluenceFunctionAttributor(m, proj_dim=40),
    "tracin": lambda m: TracInAttributor(m, learning_rates=0.1),
    "projected tracin": lambda m: TracInAttributor(m, learning_rates=0.1, proj_dim=40),
    "dot": lambda m: GradientDotAttributor(m),
    "source": lambda m: SourceAttributor(m, checkpoints=[m, mlp(3)], segments=2),
}


def asked(attributor, query, data=TRAIN.dataset):
    """Scores of one question, shape (n_train,)."""
    questions = QuerySet("q", {"it": query}).served(model=attributor.model)
    train = attributor.compute_train_features(data)
    return attributor.compute_attributions(train, attributor.compute_query_features(questions))[0]


def gradient(model, data, value):
    """Of the mean over examples, one at a time by plain autograd."""
    total = 0.0
    for x, y in data:
        found = torch.autograd.grad(value(model, (x[None], y[None])), list(model.parameters()))
        total = total + torch.cat([g.flatten() for g in found]) / len(data)
    return total


def margin(model, batch):
    return as_task("classification").output(model(batch[0]), batch).sum()


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def by_hand(model, data, value):
    """Inner products of the gradient of the question with minus those of the losses."""
    v = torch.stack([-gradient(model, [one], loss) for one in TRAIN.dataset])
    return v @ gradient(model, data, value)


@pytest.mark.parametrize("name", LINEAR)
def test_the_score_of_a_mean_is_the_mean_of_the_scores(name):
    attributor = LINEAR[name](mlp())
    each = attributor.attribute(TRAIN.dataset, MANY)
    got = asked(attributor, Query.mean(MANY))
    # projected features are kept in float32
    rough = 1e-4 if name in ("projected", "rademacher", "nystrom") else 1e-9
    torch.testing.assert_close(got, each.mean(0), rtol=0, atol=rough * float(each.abs().max()))


@pytest.mark.parametrize("name", ["trak", "influence", "ekfac", "dot"])
@pytest.mark.parametrize("made", [normed, TinyTransformer])
def test_a_mean_is_that_of_any_models_scores(name, made):
    model = made().double().eval()
    if made is TinyTransformer:
        data, many = (
            TensorDataset(torch.randint(0, 11, (n, 3)), torch.randint(0, 11, (n,))) for n in (9, 7)
        )
    else:
        data, many = examples(9), examples(7, seed=2)
    attributor = LINEAR[name](model)
    each = attributor.attribute(data, many)
    torch.testing.assert_close(asked(attributor, Query.mean(many), data), each.mean(0))


def test_a_mean_of_a_thousand_takes_one_backward(monkeypatch):
    attributor, thousand = InfluenceFunctionAttributor(mlp()), examples(1000, seed=8)
    expected = attributor.attribute(TRAIN.dataset, thousand).mean(0)
    questions = QuerySet("q", {"it": Query.mean(DataLoader(thousand, 1000))})
    questions = questions.served(model=attributor.model)
    backwards, real = [], torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *args, **how: backwards.append(1) or real(*args, **how)
    )
    features = attributor.compute_query_features(questions)
    assert len(backwards) == 1
    monkeypatch.undo()
    train = attributor.compute_train_features(TRAIN.dataset)
    scores = attributor.compute_attributions(train, features)[0]
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("size", [1, 7, 30])
def test_a_question_does_not_depend_on_the_batch_size(size):
    attributor = GradientDotAttributor(mlp())
    got = asked(attributor, Query.mean(DataLoader(MANY, size, shuffle=True)))
    torch.testing.assert_close(got, by_hand(mlp(), MANY, margin))


def test_a_contrast_is_one_mean_minus_the_other():
    got = asked(GradientDotAttributor(mlp()), Query.contrast(MANY, OTHERS))
    model = mlp()
    expected = by_hand(model, MANY, margin) - by_hand(model, OTHERS, margin)
    torch.testing.assert_close(got, expected)


def test_two_answers_are_compared_by_their_logits():
    def difference(model, batch):
        logits = model(batch[0])
        return (logits[:, 2] - logits[:, 0]).sum()

    got = asked(GradientDotAttributor(mlp()), Query.answers(OTHERS, 2, 0))
    torch.testing.assert_close(got, by_hand(mlp(), OTHERS, difference))


def test_a_validation_set_is_asked_about_minus_its_loss():
    got = asked(GradientDotAttributor(mlp()), Query.loss(OTHERS))
    torch.testing.assert_close(got, by_hand(mlp(), OTHERS, lambda m, b: -loss(m, b)))


def test_a_probe_asks_about_a_layers_output_along_a_direction():
    direction = np.linspace(-1, 1, 12)

    def along(model, batch):
        hidden = model[1](model[0](batch[0])) @ torch.tensor(direction)
        return hidden.sum() + 0 * model(batch[0]).sum()

    got = asked(GradientDotAttributor(mlp()), Query.probe(OTHERS, "1", direction))
    torch.testing.assert_close(got, by_hand(mlp(), OTHERS, along))


def test_a_function_of_ones_own_gets_prediction_and_batch():
    def entropy(prediction, batch):
        p = prediction.softmax(1)
        return -(p * p.log()).sum(1) + 0 * batch[1]

    def by_one(model, batch):
        return entropy(model(batch[0]), batch).sum()

    got = asked(GradientDotAttributor(mlp()), Query.of(OTHERS, entropy))
    torch.testing.assert_close(got, by_hand(mlp(), OTHERS, by_one))


# ------------------------------------------------------------------- in the record


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "run")


def questions(name="held out", data=MANY):
    return QuerySet(name, {"all": Query.mean(data), "against others": Query.contrast(data, OTHERS)})


@pytest.mark.parametrize("method", ["trak", "tracin", "influence", "source"])
def test_questions_stand_beside_recorded_test_examples(run, method):
    given = {"learning_rates": 0.1} if method == "tracin" else {}
    before = attribute(run, mlp(), TRAIN, TEST, method=method, progress=False, **given).load()
    got = attribute(run, mlp(), TRAIN, query=questions(), method=method, progress=False, **given)
    assert got["score"].dims == ("epoch", "query", "train")
    assert got["query"].values.tolist() == ["all", "against others"]
    assert got["train"].values.tolist() == TRAIN_IDS.tolist()
    assert run[f"scores/{method}"].identical(before)
    asked_of_test = QuerySet("test", {"all": Query.mean(TEST)})
    mean = attribute(run, mlp(), TRAIN, query=asked_of_test, method=method, progress=False, **given)
    np.testing.assert_allclose(
        mean["score"].sel(query="all").values, before["score"].mean("test").values, rtol=1e-4,
        atol=1e-6 * float(abs(before["score"]).max()),
    )  # fmt: skip


def test_the_value_of_a_question_is_what_the_model_answers_at_each_epoch(run):
    got = attribute(run, mlp(), TRAIN, query=questions(), method="gradient_dot", progress=False)
    for epoch in EPOCHS:
        x, y = MANY.tensors
        margins = as_task("classification").output(mlp(seed=epoch)(x).detach(), (x, y))
        np.testing.assert_allclose(
            float(got["value"].sel(epoch=epoch, query="all")), float(margins.mean()), rtol=1e-9
        )


def test_scores_of_questions_do_not_depend_on_the_executor(run):
    from concurrent.futures import ThreadPoolExecutor

    here = attribute(run, mlp(), TRAIN, query=questions("here"), progress=False)
    with ThreadPoolExecutor(2) as pool:
        there = attribute(
            run, mlp(), TRAIN, query=questions("there"), executor=pool, progress=False,
            block_size=4, batch_size=4,
        )  # fmt: skip
    np.testing.assert_allclose(here["score"].values, there["score"].values, rtol=1e-6)


def test_query_sets_are_named_listed_and_deleted(run):
    for name in ("one", "two"):
        for method in ("trak", "gradient_dot"):
            attribute(run, mlp(), TRAIN, query=questions(name), method=method, progress=False)
    run = Run.open(run.path)
    assert run.queries() == ["one", "two"]
    assert run["queries/one"]["examples"].values.tolist() == [30, 38]
    assert run["queries/one"]["asked"].values[0] == "mean output of 30 examples"
    run.delete_query("one")
    assert run.queries() == ["two"]
    assert [g for g in Run.open(run.path).groups() if g.startswith("queries/")] == [
        "queries/two", "queries/two/gradient_dot", "queries/two/trak",
    ]  # fmt: skip
    with pytest.raises(MissingGroupError, match=r"'one'.*two"):
        run.delete_query("one")


def test_a_second_call_goes_on_and_computes_nothing_again(run, monkeypatch):
    first = attribute(run, mlp(), TRAIN, query=questions(), epochs=[0], progress=False).load()
    again = attribute(run, mlp(), TRAIN, query=questions(), progress=False)
    assert again["epoch"].values.tolist() == EPOCHS
    assert again.sel(epoch=[0]).equals(first)
    monkeypatch.setattr(TRAKAttributor, "compute_query_features", None)
    attribute(run, mlp(), TRAIN, query=questions(), progress=False)


def test_another_question_under_the_same_name_is_refused_until_told_to_overwrite(run):
    attribute(run, mlp(), TRAIN, query=questions(), progress=False)
    attribute(run, mlp(), TRAIN, query=questions(), method="gradient_dot", progress=False)
    other = questions(data=OTHERS)
    with pytest.raises(SettingError, match=r"'held out' that asks something else.*query 'all'"):
        attribute(run, mlp(), TRAIN, query=other, progress=False)
    attribute(run, mlp(), TRAIN, query=other, progress=False, overwrite=True)
    # the other method's scores were answers to the old question
    assert [g for g in run.groups() if g.startswith("queries/held out/")] == [
        "queries/held out/trak"
    ]


def test_directions_and_functions_are_told_apart_by_what_they_hold(run):
    def probe(direction):
        return QuerySet("probe", {"it": Query.probe(OTHERS, "1", direction)})

    attribute(run, mlp(), TRAIN, query=probe(np.ones(12)), progress=False)
    attribute(run, mlp(), TRAIN, query=probe(np.ones(12)), progress=False)
    with pytest.raises(SettingError, match="asks something else"):
        attribute(run, mlp(), TRAIN, query=probe(np.arange(12)), progress=False)


@pytest.mark.parametrize("method", ["gradient_cosine", "feature_knn", "representation_similarity"])
def test_a_method_that_is_not_linear_is_refused_and_nothing_is_written(run, method):
    before = run.groups()
    with pytest.raises(SettingError, match=rf"{method}.*'trak', 'influence'"):
        attribute(run, mlp(), TRAIN, query=questions(), method=method, progress=False)
    assert run.groups() == before


@pytest.mark.parametrize(
    ("query", "error", "told"),
    [
        (lambda: Query.answers(OTHERS, 2, 2), SettingError, "one answer"),
        (lambda: Query.answers(OTHERS, -1, 2), SettingError, "answer=-1"),
        (lambda: Query.answers(OTHERS, 1, 9), DataError, "4 answers"),
        (lambda: Query.probe(OTHERS, "1", np.zeros(12)), SettingError, "direction="),
        (lambda: Query.probe(OTHERS, "1", np.ones(5)), SettingError, "12 units"),
        (lambda: Query.probe(OTHERS, "1", "up"), SettingError, "direction='up'"),
        (lambda: Query.probe(OTHERS, "nope", np.ones(5)), SettingError, "layer='nope'"),
        (lambda: Query.of(OTHERS, 3), SettingError, "function=3"),
        (lambda: Query.of(OTHERS, lambda p, b: p.sum()), DataError, "one number an example"),
        (lambda: Query.of(OTHERS, lambda p, b: p[:, 0] / 0), NonFiniteError, "example"),
        (lambda: Query.contrast(Query.loss(OTHERS), MANY), SettingError, "Cannot take"),
        (lambda: QuerySet("a/b", {"x": Query.mean(OTHERS)}), SettingError, "name='a/b'"),
        (lambda: QuerySet("a", {}), SettingError, "questions="),
        (lambda: QuerySet("a", {"x": OTHERS}), SettingError, r"questions\['x'\]"),
    ],
)
def test_a_question_that_cannot_be_asked_says_what_is_wrong(query, error, told):
    with pytest.raises(error, match=told):
        asked(GradientDotAttributor(mlp()), query())


def test_a_question_that_fails_leaves_nothing_in_the_record(run):
    before = run.groups()
    none_such = QuerySet("q", {"it": Query.answers(OTHERS, 1, 9)})
    with pytest.raises(DataError, match="4 answers"):
        attribute(run, mlp(), TRAIN, query=none_such, progress=False)
    assert run.groups() == before


def test_what_is_no_query_set_is_refused_with_the_form_shown(run):
    with pytest.raises(SettingError, match=r"query= takes a QuerySet, not Query.*QuerySet\("):
        attribute(run, mlp(), TRAIN, query=Query.mean(MANY), progress=False)
    with pytest.raises(SettingError, match="test= examples"):
        attribute(run, mlp(), TRAIN, progress=False)


def test_the_model_is_left_as_it_was():
    model = normed().double()
    before = copy.deepcopy(model.state_dict())
    asked(GradientDotAttributor(model), Query.probe(MANY, "0", np.ones(12)))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_seed_is_that_of_the_projection_and_is_refused_where_nothing_is_drawn(run):
    given = {"proj_dim": 24, "progress": False}
    one = attribute(run, mlp(), TRAIN, TEST, name="one", seed=1, **given)
    same = attribute(run, mlp(), TRAIN, TEST, name="same", projection_seed=1, **given)
    other = attribute(run, mlp(), TRAIN, TEST, name="other", seed=2, **given)
    assert np.array_equal(one["score"], same["score"])
    assert not np.allclose(one["score"], other["score"])
    with pytest.raises(SettingError, match=r"seed=1.*proj_dim="):
        attribute(run, mlp(), TRAIN, TEST, seed=1, progress=False)


def narrow(data):
    x, y = data.dataset.tensors
    return with_ids(TensorDataset(x[:, :5], y), data.ids)


def whole(data):
    x, y = data.dataset.tensors
    return with_ids(TensorDataset(x.long(), y), data.ids)


@pytest.mark.parametrize("method", ["trak", "feature_knn"])
@pytest.mark.parametrize("argument", ["train", "test"])
@pytest.mark.parametrize(
    ("spoil", "told"), [(narrow, r"float64 \(2, 5\)"), (whole, r"int64 \(2, 6\)")]
)
def test_examples_that_the_model_cannot_take_are_named_by_their_argument(
    run, method, argument, spoil, told
):
    given = {"train": TRAIN, "test": TEST}
    given[argument] = spoil(given[argument])
    with pytest.raises(DataError, match=rf"{argument}= does not fit the model.*{told}.*forward="):
        attribute(run, mlp(), **given, method=method, progress=False)
    assert [group for group in run.groups() if "score" in group] == []


def test_a_question_about_examples_that_the_model_cannot_take_is_named(run):
    asked = QuerySet("narrow", {"all": Query.mean(narrow(TEST))})
    with pytest.raises(DataError, match="query= does not fit the model"):
        attribute(run, mlp(), TRAIN, query=asked, progress=False)


@pytest.mark.parametrize("method", [TRAKAttributor, GradientDotAttributor])
def test_features_of_examples_that_the_model_cannot_take_say_what_came(method):
    made = method(mlp())
    features = made.compute_train_features(TRAIN)
    with pytest.raises(DataError, match=r"cannot be called with \[0\] float64 \(\d+, 5\)"):
        made.compute_attributions(features, made.compute_test_features(narrow(TEST)))
