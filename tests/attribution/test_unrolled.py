import re

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.attribution.unrolled.memory_needed import TooLittleMemoryError
from dg_explorer.errors import UnknownExampleError
from dg_explorer.training import products as products_module
from dg_explorer.training.flat_model import FlatModel, NotDeterministicError
from dg_explorer.training.many import outputs_of, train_many
from dg_explorer.training.products import LossProducts
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.trace import trace
from dg_explorer.training.training import Training, margin

OPTIMIZERS = {
    "sgd": OptimizerSettings(kind="sgd", lr=0.3, weight_decay=0.01),
    "momentum": OptimizerSettings(kind="momentum", lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": OptimizerSettings(kind="momentum", lr=0.1, momentum=0.9, nesterov=True),
    "adam": OptimizerSettings(kind="adam", lr=0.01, weight_decay=0.01, eps=1e-3),
    "adamw": OptimizerSettings(
        kind="adamw", lr=0.01, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-3
    ),
    "falling rate": OptimizerSettings(
        kind="momentum", momentum=0.9, lr=lambda step, n_steps: 0.2 * (1 - step / n_steps)
    ),
}


def network(activation):
    def model(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 8), activation(), nn.Linear(8, 3)).double()

    return model


def small_training(optimizer="adamw", activation=nn.Tanh, **changes):
    generator = torch.Generator().manual_seed(1)
    fields = dict(
        model=network(activation),
        inputs=torch.randn(12, 5, generator=generator, dtype=torch.float64),
        labels=torch.randint(0, 3, (12,), generator=generator),
        test_inputs=torch.randn(4, 5, generator=generator, dtype=torch.float64),
        test_labels=torch.randint(0, 3, (4,), generator=generator),
        optimizer=OPTIMIZERS[optimizer],
        n_epochs=6,
        batch_size=4,
        record_at=(2, 6),
        train_ids=np.arange(12) + 100,
        test_ids=np.arange(4) + 7,
    )
    return Training(**(fields | changes))


def central_differences(training, h, around=None):
    """Change of every output by every example's weight, shape (epoch, test, train)."""
    n = training.n_train
    around = torch.ones(n, dtype=torch.float64) if around is None else around
    weights = around.repeat(2 * n, 1)
    weights[range(n), range(n)] += h
    weights[range(n, 2 * n), range(n)] -= h
    outputs = []
    train_many(
        training,
        weights,
        training.start().theta.expand(2 * n, -1),
        on_epoch=lambda _, theta: outputs.append(outputs_of(training, theta)),
    )
    up, down = torch.stack(outputs).split(n, 1)
    return ((up - down) / (2 * h)).transpose(1, 2).numpy()


def exact(training, **settings):
    return UnrolledAttributor(training, dtype=torch.float64, **settings)


def assert_derivative(scores, differences):
    wrong = np.abs(scores - differences) / np.maximum(np.abs(differences), 1e-6)
    assert np.median(wrong) <= 1e-5
    assert wrong.max() <= 1e-3


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_scores_are_the_derivative_of_training(optimizer):
    training = small_training(optimizer)
    scores = exact(training).attribute().score.values
    assert scores.size >= 50
    assert_derivative(scores, central_differences(training, h=1e-6))


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_scores_are_the_derivative_of_training_with_relu(optimizer):
    training = small_training(optimizer, nn.ReLU)
    scores = exact(training).attribute().score.values
    # A larger difference would step over kinks; a smaller one drowns in rounding.
    assert_derivative(scores, central_differences(training, h=1e-7))


def test_derivatives_about_other_weights_are_those_of_training_with_them():
    weights = torch.ones(12, dtype=torch.float64)
    weights[[3, 5]] = 0
    training = small_training(weights=weights)
    scores = exact(training).attribute().score.values
    assert_derivative(scores, central_differences(training, h=1e-6, around=weights))
    assert np.abs(scores[:, :, 3]).max() > 0


def test_carrying_single_precision_changes_scores_by_its_rounding_only():
    training = small_training()
    single = UnrolledAttributor(training).attribute().score.values
    double = exact(training).attribute().score.values
    assert 0 < np.abs(single - double).max() <= 1e-5 * np.abs(double).max()


def test_full_batch_scores_are_the_derivative_of_training():
    training = small_training(batch_size=None)
    scores = exact(training).attribute().score.values
    assert_derivative(scores, central_differences(training, h=1e-6))


def test_recomputed_states_give_the_scores_of_stored_ones():
    training = small_training()
    stored = exact(training)
    tight = exact(training, memory=60_000)
    assert stored.plan(8).segment_length == 1
    assert tight.plan(8).segment_length > 1
    assert tight.plan(8).queries_at_once < 8
    np.testing.assert_allclose(tight.attribute().score, stored.attribute().score, rtol=1e-12)


def test_an_epochs_scores_do_not_depend_on_which_other_epochs_are_asked_for():
    training = small_training()
    attributor = exact(training)
    together = attributor.attribute(epochs=[1, 2, 6])
    for epoch in (1, 2, 6):
        alone = attributor.attribute(epochs=[epoch])
        np.testing.assert_allclose(alone.score.squeeze("epoch"), together.score.sel(epoch=epoch))


def test_permuting_the_training_set_permutes_the_scores():
    training = small_training(batch_size=None)
    permutation = torch.as_tensor(np.random.default_rng(0).permutation(12))
    permuted = training.with_changes(
        inputs=training.inputs[permutation],
        labels=training.labels[permutation],
        train_ids=training.train_ids[permutation],
    )
    scores = exact(training).attribute().score
    again = exact(permuted).attribute().score.sel(train=scores.train)
    np.testing.assert_allclose(again, scores, rtol=1e-9)


def test_exposures_add_up_to_the_score():
    training = small_training()
    attributor = exact(training)
    exposures = attributor.exposures(windows=3)
    assert exposures.sizes["window"] == 3
    total = attributor.attribute(epochs=[6]).score.squeeze("epoch")
    np.testing.assert_allclose(exposures.score.sum("window"), total, rtol=1e-9)


def test_an_exposure_is_the_derivative_by_the_weight_in_that_window_only():
    training = small_training(batch_size=None)
    exposures = exact(training).exposures(windows=[0, 2, 5, 6])
    h, example = 1e-6, 4
    weights = torch.ones(2, 12, 6, dtype=torch.float64)
    weights[0, example, 2:5] += h
    weights[1, example, 2:5] -= h
    theta = train_many(training, weights, training.start().theta.expand(2, -1))[0]
    up, down = outputs_of(training, theta)
    np.testing.assert_allclose(
        exposures.score.sel(window=1).isel(train=example), (up - down) / (2 * h), rtol=1e-4
    )


def test_too_little_memory_is_refused_before_anything_is_computed():
    training = small_training()
    with pytest.raises(TooLittleMemoryError, match="Set memory=") as refused:
        UnrolledAttributor(training, memory=1_000).attribute()
    enough = int(re.search(r"memory=(\d+) or more", str(refused.value))[1])
    UnrolledAttributor(training, memory=enough).attribute([7])


def test_an_unknown_test_example_is_named():
    with pytest.raises(UnknownExampleError, match="999"):
        UnrolledAttributor(small_training()).attribute([7, 999])


def test_active_dropout_and_batch_norm_are_refused_with_the_reason():
    dropping = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.1))
    with pytest.raises(NotDeterministicError, match="drops units"):
        FlatModel(dropping)
    FlatModel(dropping.eval())
    with pytest.raises(NotDeterministicError, match="mixes examples"):
        FlatModel(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)))


def test_the_model_is_left_as_it_was():
    module = network(nn.Tanh)(0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    UnrolledAttributor(small_training(model=lambda seed: module)).attribute()
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_attention_has_a_derivative_too():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(6, 8)
            self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norm = nn.LayerNorm(8)
            self.out = nn.Linear(8, 3)

        def forward(self, tokens):
            x = self.embed(tokens)
            mixed, _ = self.mix(x, x, x)
            return self.out(self.norm(x + mixed)[:, -1])

    def model(seed):
        torch.manual_seed(seed)
        return Attention().double()

    generator = torch.Generator().manual_seed(0)
    training = small_training(
        model=model,
        inputs=torch.randint(0, 6, (12, 3), generator=generator),
        test_inputs=torch.randint(0, 6, (4, 3), generator=generator),
    )
    scores = exact(training).attribute().score.values
    assert_derivative(scores, central_differences(training, h=1e-6))


def test_going_backwards_twice_gives_the_products_of_going_forwards():
    training = small_training()
    flat = training.start()
    directions = torch.randn(3, len(flat.theta), dtype=torch.float64)
    forwards, twice = LossProducts(training, flat), LossProducts(training, flat)
    forwards._way, twice._way = (
        products_module._reverse_over_forward,
        products_module._reverse_twice,
    )
    for a, b in zip(
        forwards(flat.theta, None, directions), twice(flat.theta, None, directions), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_layer_whose_forward_derivative_is_wrong_is_noticed():
    def model(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)).double()

    training = small_training(model=model)
    assert_derivative(
        exact(training).attribute().score.values,
        central_differences(training, h=1e-6),
    )


def test_a_small_network_is_traced_without_products_with_zero(monkeypatch):
    monkeypatch.setattr(products_module, "_TRACE_AFTER", 1)
    training = small_training(batch_size=None)
    flat = training.start()
    products = LossProducts(training, flat)
    directions = torch.randn(3, len(flat.theta), dtype=torch.float64)
    got = products(flat.theta * 1.1, None, directions)
    (traced,) = products._traced.values()
    assert isinstance(traced, torch.fx.GraphModule)
    assert not [n for n in traced.graph.nodes if "_efficientzerotensor" in str(n.target)]
    untraced = products._many(flat.theta, directions, training.inputs, training.labels)
    for a, b in zip(products(flat.theta, None, directions), untraced, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert not torch.equal(got[0], untraced[0])


def test_a_function_that_cannot_be_traced_runs_untraced():
    def function(x):
        return x * 2 if x.sum().item() > 0 else x

    assert trace(function, torch.ones(3)) is function


def test_margin_is_the_log_odds_and_stays_finite_where_the_model_is_certain():
    logits = torch.tensor([[1.0, 2.0, 0.5], [200.0, 0.0, 0.0]])
    labels = torch.tensor([1, 0])
    p = logits[0].softmax(0)[1]
    values = margin(logits, labels)
    assert values[0] == pytest.approx(float(torch.log(p / (1 - p))), rel=1e-5)
    assert values[1] == pytest.approx(200 - np.log(2), rel=1e-5)


def test_writing_in_place_spares_arguments_views_and_what_is_used_later():
    def function(x, y):
        a = x @ y
        b = a * 2.0
        c = a + b  # a and b end here
        d = c.t()
        e = c * c + d  # d still reads what c holds
        return e - y, c, x + y

    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    given = x.clone(), y.clone()
    traced = trace(function, x, y)
    assert any(str(n.target) == "aten.add_.Tensor" for n in traced.graph.nodes)
    for _ in range(2):
        for a, b in zip(traced(x, y), function(x, y), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert torch.equal(x, given[0])
    assert torch.equal(y, given[1])
