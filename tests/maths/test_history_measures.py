"""Cartography, AUM, EL2N, GraNd: against counts by hand, and against autograd."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy, softmax

from dg_explorer.maths.cartography import cartography, regions
from dg_explorer.maths.error_norms import el2n, grand
from dg_explorer.maths.margin_area import area_under_margin, logit_margin


def test_cartography_by_hand():
    chart = cartography(np.array([[0.2, 1.0], [0.6, 1.0]]), np.array([[0, 1], [1, 1]], dtype=bool))
    np.testing.assert_allclose(chart.confidence, [0.4, 1.0])
    np.testing.assert_allclose(chart.variability, [0.2, 0.0])  # ddof 0: not .283
    np.testing.assert_allclose(chart.correctness, [0.5, 1.0])


def test_an_unseen_epoch_changes_nothing_and_a_never_seen_example_is_nan():
    whole = cartography(np.array([[0.2], [0.6]]), np.array([[False], [True]]))
    gap = cartography(np.array([[0.2], [np.nan], [0.6]]), np.array([[False], [False], [True]]))
    np.testing.assert_allclose(np.array(whole), np.array(gap))
    assert np.isnan(cartography(np.full((2, 1), np.nan), np.zeros((2, 1), bool))).all()


def test_regions_put_waverers_hopeless_and_sure_examples_apart():
    probability = np.array([[0.1, 0.05, 0.9], [0.9, 0.06, 0.95], [np.nan] * 3])
    probability = np.column_stack([probability, [np.nan] * 3])
    chart = cartography(probability, probability > 0.5)
    assert regions(chart).tolist() == ["ambiguous", "hard", "easy", ""]


def test_examples_that_never_waver_are_not_ambiguous():
    chart = cartography(np.full((4, 6), 0.9), np.ones((4, 6), dtype=bool))
    assert set(regions(chart)) == {"easy"}


def test_area_under_margin_is_the_mean_over_the_epochs_seen():
    margin = np.array([[1.0, -2.0], [3.0, np.nan]])
    assert area_under_margin(margin).tolist() == [2.0, -2.0]


def test_logit_margin_is_against_the_best_other_class():
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert logit_margin(logits, np.array([0, 2])).tolist() == [1.0, -4.0]


def test_el2n_equals_the_gradient_of_the_loss_at_the_logits():
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    (slope,) = torch.autograd.grad(cross_entropy(logits, labels, reduction="sum"), logits)
    got = el2n(softmax(logits, 1).detach().numpy(), labels.numpy())
    np.testing.assert_allclose(got, slope.norm(dim=1).numpy(), rtol=1e-12)


def test_grand_equals_per_example_autograd():
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    inputs, labels = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    slow = []
    for x, y in zip(inputs, labels):
        grads = torch.autograd.grad(cross_entropy(layer(x[None]), y[None]), layer.parameters())
        slow.append(float(torch.cat([g.flatten() for g in grads]).norm()))
    error = softmax(layer(inputs), 1).detach().numpy() - np.eye(3)[labels]
    np.testing.assert_allclose(grand(inputs.numpy(), error, bias=True), slow, rtol=1e-10)
