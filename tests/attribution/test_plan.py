"""One plan for a model and a task: what it decides, once, and what it refuses."""

import warnings

import pytest
import torch
from attribution_models import examples, mlp
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer.attribution import GradientDotAttributor, InfluenceFunctionAttributor
from dg_explorer.attribution.gradients.capture import capture_of
from dg_explorer.attribution.gradients.explicit import explicit_gradients
from dg_explorer.attribution.gradients.joining import FactorMismatchError, concatenate
from dg_explorer.attribution.gradients.layout import Layout, find_layout, owners_of
from dg_explorer.attribution.projections.kernel import gram
from dg_explorer.errors import NonFiniteError, SettingError
from dg_explorer.tasks import as_task, margin

TASK = as_task("classification")


def flat(model, batch, names):
    found = explicit_gradients(model, TASK, batch, names)
    return torch.cat([found[name].flatten(1) for name in names], 1)


# ------------------------------------------------------------------- where examples are


@pytest.mark.parametrize(
    ("order", "inner"), [("first", 1), ("last", 1), ("inside", 2)], ids=lambda x: str(x)
)
def test_a_layout_is_found_from_whose_the_rows_are(order, inner):
    right = Layout(0, order, inner)
    seen = []
    for n in (4, 3):
        owners = right.owners(6 * n, n)
        seen.append((n, owners, torch.ones(6 * n, dtype=torch.bool)))
    assert find_layout(0, seen) == right


def test_rows_in_no_order_are_left_to_their_owners():
    owners = torch.tensor([0, 1, 1, 0, 2, 2])
    assert find_layout(0, [(3, owners, torch.ones(6, dtype=torch.bool))]).order == "routed"


@pytest.mark.parametrize("n", [3, 40, 300])
def test_owners_are_read_off_counted_gradients_and_split_puts_rows_with_them(n):
    generator = torch.Generator().manual_seed(0)
    owners = torch.randint(0, n, (2 * n,), generator=generator)
    d = torch.randn(2 * n, 5, generator=generator)
    d[owners == 1] = 0
    number = torch.arange(n)
    digits = []
    while not digits or bool(number.any()):
        digits.append(number % 16 + 1)
        number = number // 16
    found = owners_of(d, [d * digit[owners][:, None] for digit in digits], 0)
    assert torch.equal(found, torch.where(owners == 1, -1, owners))
    summed = Layout(0, "routed").split(d, n, found).sum(1)
    torch.testing.assert_close(summed, torch.zeros(n, 5).index_add_(0, owners, d))


def test_a_row_of_two_examples_has_no_owner():
    a, b = torch.randn(2, 6)
    plain = torch.stack([a + b, a])
    assert owners_of(plain, [torch.stack([a + 2 * b, a])], 0) is None


# ------------------------------------------------------------------- decided once


class Position(nn.Module):
    """A learned position added to a sequence, and a table of positions read at (1, T)."""

    def __init__(self, length=5):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.table, self.place = nn.Embedding(16, 8), nn.Parameter(torch.randn(length, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        steps = torch.arange(tokens.shape[1])[None]
        return self.head(torch.tanh(self.embed(tokens) + self.place + self.table(steps)).mean(1))


def test_learned_positions_have_a_rule_and_nothing_is_said():
    torch.manual_seed(0)
    model, batch = Position(), (torch.randint(0, 11, (9, 5)), torch.randint(0, 3, (9,)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capture = capture_of(model, TASK, batch)
        found = gram(capture(batch).factors[0])
    g = flat(model, batch, capture.parameters)
    torch.testing.assert_close(found, g @ g.T, rtol=1e-4, atol=1e-5)
    assert capture.plan.raw == ()


def test_one_plan_serves_every_checkpoint_and_both_sets(monkeypatch):
    proved = []
    from dg_explorer.attribution.attributor import gradient_reader

    prove = gradient_reader.prove
    monkeypatch.setattr(
        gradient_reader, "prove", lambda *a, **k: proved.append(1) or prove(*a, **k)
    )
    states = [mlp(seed).state_dict() for seed in range(3)]
    attributor = GradientDotAttributor(mlp(), checkpoints=states)
    train = attributor.compute_train_features(examples(20))
    test = attributor.compute_test_features(examples(5, seed=1))
    assert attributor.compute_attributions(train, test).shape == (5, 20)
    assert proved == [1]
    assert train.origin.plan == test.origin.plan != ""


def test_the_fingerprint_tells_rules_apart():
    prints = {
        capture_of(model, TASK, examples(9, dtype=torch.float32).tensors).plan.fingerprint
        for model in (
            mlp(dtype=torch.float32),
            mlp(1, dtype=torch.float32),
            mlp(hidden=13, dtype=torch.float32),
            nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4), nn.LayerNorm(4)),
        )
    }
    assert len(prints) == 3  # weights are no part of it


class ByLength(nn.Module):
    """Takes another way, through another layer, where sequences are long."""

    def __init__(self):
        super().__init__()
        self.short, self.long, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        if x.shape[1] > 4:
            return self.head(torch.tanh(self.long(x.transpose(0, 1))).sum(0))
        return self.head(torch.tanh(self.short(x)).mean(1))


def test_a_plan_learns_what_a_later_batch_does():
    torch.manual_seed(0)
    model = ByLength()
    batches = [(torch.randn(7, t, 6), torch.randint(0, 3, (7,))) for t in (3, 6)]
    capture = capture_of(model, TASK, batches[0])
    layers = concatenate([capture(batch).factors[0] for batch in batches])
    g = torch.cat([flat(model, batch, capture.parameters) for batch in batches])
    torch.testing.assert_close(gram(layers), g @ g.T, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------- what does not fit


def test_factors_of_other_layers_are_never_multiplied():
    batch = examples(5, dtype=torch.float32).tensors
    a = capture_of(mlp(dtype=torch.float32), TASK, batch, layers=["0"])(batch).factors[0]
    b = capture_of(mlp(dtype=torch.float32), TASK, batch, layers=["2"])(batch).factors[0]
    with pytest.raises(FactorMismatchError, match=r"'0\.weight'|'2\.weight'|bias"):
        gram(a, b)
    wide = capture_of(mlp(hidden=13, dtype=torch.float32), TASK, batch, layers=["0"])
    with pytest.raises(FactorMismatchError, match=r"'0\.weight' has 72 entries.*78"):
        gram(a, wide(batch).factors[0])


def test_factors_are_paired_by_name_and_not_by_place():
    batch = examples(5, dtype=torch.float32).tensors
    layers = capture_of(mlp(dtype=torch.float32), TASK, batch)(batch).factors[0]
    torch.testing.assert_close(gram(layers, layers[::-1]), gram(layers))


@pytest.mark.parametrize("row", [0, 7, 19])
def test_a_row_that_is_not_finite_is_named(row):
    x, y = examples(20, dtype=torch.float32).tensors
    x = x.clone()
    x[row, 0] = float("nan")
    attributor = GradientDotAttributor(mlp(dtype=torch.float32), batch_size=6)
    with pytest.raises(NonFiniteError, match=rf"id {row}\b"):
        attributor.compute_train_features(TensorDataset(x, y))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_row_whose_gradient_alone_is_not_finite_is_named(value):
    """Behind a tanh an infinite input has a finite output, and a gradient of 0 times infinity."""
    x, y = examples(20, dtype=torch.float32).tensors
    x = x.clone()
    x[7, 0] = value
    attributor = GradientDotAttributor(mlp(dtype=torch.float32), batch_size=6)
    with pytest.raises(NonFiniteError, match=r"id 7\b"):
        attributor.compute_train_features(TensorDataset(x, y))


class TwoPrecisions(nn.Module):
    """A body in one precision and a head in another, as after `model.body.double()`."""

    def __init__(self, kind):
        super().__init__()
        self.body, self.head = nn.Linear(6, 5).to(kind), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x.to(self.body.weight.dtype))).float())


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_parameters_of_several_precisions_are_scored_together(kind):
    torch.manual_seed(0)
    model, data = TwoPrecisions(kind), examples(9, classes=3, dtype=torch.float32)
    rows = []
    for x, y in data:
        logits = model(x[None])
        found = torch.autograd.grad(margin(logits, y[None])[0], list(model.parameters()))
        rows.append(torch.cat([g.flatten().double() for g in found]))
    rows = torch.stack(rows)
    features = GradientDotAttributor(model).compute_test_features(data)
    torch.testing.assert_close(
        gram(features.models[0][0]).double(), rows @ rows.T, rtol=0.02, atol=1e-3
    )


class Shortened(nn.Module):
    """A table whose forward writes to it: rows longer than `max_norm` are made shorter."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6, max_norm=1.0), nn.Linear(6, 3)

    def forward(self, tokens):
        return self.head(torch.tanh(self.embed(tokens)).mean(1))


def test_a_table_that_shortens_its_rows_is_left_as_it_was():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(11, (12, 5), generator=generator)
    labels = torch.randint(3, (12,), generator=generator)
    torch.manual_seed(0)
    model, data = Shortened(), TensorDataset(tokens, labels)
    before = model.embed.weight.detach().clone()
    found = GradientDotAttributor(model).attribute(data, data)
    assert torch.equal(model.embed.weight, before)
    model(tokens)  # now the rows are short
    torch.testing.assert_close(found, GradientDotAttributor(model).attribute(data, data))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.LazyLinear(3), "Call the model once"),
        (torch.inference_mode()(lambda: nn.Linear(6, 4)), "inference_mode"),
        (lambda: nn.Linear(6, 4).requires_grad_(False), "requires_grad_"),
    ],
)
def test_a_model_without_gradients_says_why_and_what_to_do(make, told):
    with pytest.raises(SettingError, match=told):
        GradientDotAttributor(make()).attribute(examples(6), examples(3))


# ------------------------------------------------------------------- padding


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=0)
        self.layer, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, tokens):
        kept = (tokens != 0)[..., None]
        z = torch.tanh(self.layer(self.embed(tokens) + 1)) * kept
        return self.head(z.sum(1) / kept.sum(1))


@pytest.mark.parametrize("solver", ["ekfac", "kfac"])
def test_padding_counts_for_nothing_in_the_curvature_of_a_layer(solver):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 11, (16, 6), generator=generator)
    tokens[torch.arange(6) >= torch.randint(2, 7, (16, 1), generator=generator)] = 0
    labels = torch.randint(0, 3, (16,), generator=generator)
    torch.manual_seed(0)
    model, found = Masked(), []
    for padding in (0, 9):
        padded = torch.nn.functional.pad(tokens, (0, padding))
        data = TensorDataset(padded, labels)
        attributor = InfluenceFunctionAttributor(model, solver=solver, batch_size=5, damping=0.1)
        found.append(attributor.attribute(data, data))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["trak", "influence", "tracin"])
def test_a_plan_is_proved_once_for_all_checkpoints_splits_and_questions(
    tmp_path, method, monkeypatch
):
    from test_walk import TEST, TRAIN, a_run

    from dg_explorer import Query, QuerySet, attribute
    from dg_explorer.attribution.attributor import gradient_reader

    proofs, real = [], gradient_reader.prove
    monkeypatch.setattr(
        gradient_reader, "prove", lambda *args, **how: proofs.append(1) or real(*args, **how)
    )
    run, given = a_run(tmp_path / "run", epochs=[0, 5, 10, 15]), {"progress": False}
    if method == "tracin":
        given["learning_rates"] = 0.1
    attribute(run, mlp(), TRAIN, TEST, method=method, block_size=4, batch_size=4, **given)
    assert len(proofs) == 1
    asked = QuerySet("both", {"all": Query.mean(TEST), "none": Query.contrast(TEST, TEST)})
    attribute(run, mlp(), TRAIN, query=asked, method=method, **given)
    assert len(proofs) == 2
