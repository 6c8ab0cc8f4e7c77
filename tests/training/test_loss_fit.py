"""The trained loss is recognised by its slope at the answers, and so are the examples' weights."""

import pytest
import torch
import torch.nn.functional as F

from dg_explorer.training.loss.known_losses import cross_entropy, recorded_loss
from dg_explorer.training.loss.loss_fit import fit_loss, slope_of

N, CLASSES = 40, 6
GENERATOR = torch.Generator().manual_seed(3)
ANSWERS = 2 * torch.randn(N, CLASSES, generator=GENERATOR)
LABELS = torch.randint(0, CLASSES, (N,), generator=GENERATOR)
BY_CLASS = torch.tensor([0.2, 1.0, 6.0, 0.5, 2.0, 3.0])


def fitted(trained, answers=ANSWERS):
    answers = answers.clone().requires_grad_()
    (slope,) = torch.autograd.grad(trained(answers, LABELS), answers)
    return fit_loss(cross_entropy, answers, LABELS, slope)


def focal(answers, labels, gamma=2.0):
    losses = F.cross_entropy(answers, labels, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()


def one_hot(answers):
    return F.one_hot(LABELS, CLASSES).to(answers.dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("reduction", "weight"), [("mean", 1 / N), ("sum", 1.0)])
def test_the_right_loss_leaves_only_rounding_and_gives_its_weight(reduction, weight, dtype):
    def trained(answers, labels):  # not by the operation that the comparison uses
        picked = answers.log_softmax(1)[torch.arange(N), labels]
        return -(picked.mean() if reduction == "mean" else picked.sum())

    fit = fitted(trained, ANSWERS.to(dtype))
    assert fit.kind == "same"
    assert fit.left < 100 * torch.finfo(dtype).eps
    torch.testing.assert_close(fit.weights, torch.full((N,), weight).double(), rtol=1e-5, atol=0)


def test_answers_in_bfloat16_are_no_false_alarm_and_another_loss_is_still_seen():
    half = ANSWERS.bfloat16()
    assert fitted(lambda z, y: F.cross_entropy(z.float(), y), half).kind == "same"
    assert fitted(lambda z, y: F.mse_loss(z.float(), one_hot(z).float()), half).kind == "other"


@pytest.mark.parametrize(
    ("trained", "name"),
    [
        (lambda z, y: F.mse_loss(z, one_hot(z)), "squared error on one-hot labels"),
        (lambda z, y: F.mse_loss(z.softmax(1), one_hot(z)), "squared error of the probabilities"),
        (lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1), "label smoothing 0.1"),
        (lambda z, y: F.multi_margin_loss(z, y), "hinge"),
        (lambda z, y: F.cross_entropy(3 * z, y), "none of the usual"),
    ],
)
def test_another_loss_is_seen_and_named(trained, name):
    fit = fitted(trained)
    assert fit.kind == "other"
    assert fit.left > 0.02
    assert name in fit.words


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_likelihood_of_a_models_own_log_probabilities_is_cross_entropy(dtype):
    answers = ANSWERS.to(dtype).log_softmax(1)
    assert fitted(F.nll_loss, answers).kind == "same"
    weighted = fitted(lambda z, y: F.nll_loss(z, y, weight=BY_CLASS.to(dtype)), answers)
    assert weighted.kind == "weighted"
    assert fitted(lambda z, y: F.mse_loss(z, one_hot(z)), answers).kind == "other"
    assert fitted(F.nll_loss).kind == "other"  # of logits it is another loss


def test_class_weights_are_found_up_to_the_divisor_of_their_mean():
    fit = fitted(lambda z, y: F.cross_entropy(z, y, weight=BY_CLASS))
    assert fit.kind == "weighted"
    wanted = BY_CLASS[LABELS] / BY_CLASS[LABELS].sum()
    torch.testing.assert_close(fit.weights, wanted.double(), rtol=1e-5, atol=0)


def test_weights_of_examples_are_found_one_by_one():
    each = torch.linspace(0.1, 2, N)
    fit = fitted(lambda z, y: (each * F.cross_entropy(z, y, reduction="none")).mean())
    assert fit.kind == "weighted"
    torch.testing.assert_close(fit.weights, each.double() / N, rtol=1e-5, atol=0)


def test_a_focal_loss_is_not_taken_for_constant_weights():
    fit = fitted(focal)
    assert fit.kind == "answers"
    assert "gamma 2" in fit.words


def test_a_model_that_is_sure_to_the_last_digit_gives_no_verdict():
    sure = ANSWERS + 40 * one_hot(ANSWERS)
    assert fitted(lambda z, y: F.cross_entropy(z, y), sure).kind == "unknown"


def test_one_weight_too_many_is_not_enough_to_hide_another_loss():
    """More examples than answers' directions: a fit of gradients would explain anything."""
    few = ANSWERS.clone()
    few[:] = few[0]
    assert fitted(lambda z, y: F.mse_loss(z, one_hot(z)), few).kind == "other"


def test_one_logit_against_none_is_a_yes_or_no():
    answers, labels = ANSWERS[:, :1].clone().requires_grad_(), LABELS % 2
    loss = F.binary_cross_entropy_with_logits(answers[:, 0], labels.float())
    (slope,) = torch.autograd.grad(loss, answers)
    assert fit_loss(recorded_loss, answers, labels, slope).kind == "same"
    squared = (answers[:, 0].sigmoid() - labels).square().mean()
    (slope,) = torch.autograd.grad(squared, answers)
    assert fit_loss(recorded_loss, answers, labels, slope).kind == "weighted"


def test_of_one_number_an_example_weights_and_another_loss_are_not_told_apart():
    answers, labels = (
        torch.randn(12, 1, generator=torch.Generator().manual_seed(0)),
        torch.zeros(12, 1),
    )
    slope = slope_of(lambda z, y: F.l1_loss(z, y, reduction="none"), answers, labels) / 12
    fit = fit_loss(lambda z, y: (z - y).square().sum(1), answers, labels, slope)
    assert fit.kind == "weighted"
    assert "or it was another loss" in fit.words
