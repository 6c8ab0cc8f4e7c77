"""Which loss was trained, read off the slope that it has at the model's answers.

A training's loss is a function of what the model answered. Its slope there, which the backward
pass brings, must be a weighted sum of the slopes of the single examples' losses: one weight for
each example. What no weights explain is another loss. This needs the answers and their slope
alone, not one gradient of an example, and is never vacuous: each example's own row decides its
weight, however many examples and however few parameters there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .known_losses import KNOWN_LOSSES, focal_factor

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# A right loss leaves 5e-7 in float32; one whose answers are in bfloat16, 2e-3.
LEAST_TOLERANCE = 1e-5
# Rounding of the trained slope, in units of the last place of a probability.
ROUNDING = 8


@dataclass(frozen=True)
class LossFit:
    """How the slope of a step's loss at the model's answers agrees with a loss of examples.

    Attributes
    ----------
    weights : float64 tensor, shape (example,)
        Weight of each example in the step's loss; NaN where its own loss is flat.
    left : float
        What no weights explain, as a share of the whole slope: 1e-7 for the right loss in
        float32, .1 to 1.5 for another.
    allowed : float
        What rounding alone may leave: from the dtype, and from how sure the model is.
    words : str
        What was found.
    kind : "same", "weighted", "answers", "other" or "unknown"
        The same loss with one weight for all; with weights by class or example; with weights
        that follow the answers themselves, so that they have a slope too; another; no verdict.
    by_label : dict of label -> weight
        Where the weights go by label.
    rounded : bool
        The slope came in half precision.
    """

    weights: torch.Tensor
    left: float
    allowed: float
    words: str
    kind: str
    by_label: dict[int, float]
    rounded: bool = False


def slope_of(loss: Loss, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Slope of each example's own loss at the answers, of their shape."""
    with torch.enable_grad():
        at = answers.detach().requires_grad_()
        return torch.autograd.grad(loss(at, labels).sum(), at)[0]


def slope_before_log_softmax(answers: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """The slope that reaches the logits, where the answers are a model's own log-probabilities.

    A log-softmax passes on ``slope - softmax * sum(slope)``: its negative log-likelihood and the
    cross-entropy of its answers are then one loss. Other answers leave the slope as it is.
    """
    if not answers.is_floating_point() or slope.shape != answers.shape:
        return slope
    room = 16 * torch.finfo(answers.dtype).eps
    for axis in (1, answers.ndim - 1) if answers.ndim > 1 and answers.shape[1] > 1 else ():
        total = answers.double().logsumexp(axis)
        most = answers.double().abs().amax().clamp(max=100.0)
        if total.numel() and bool((total.abs() <= room * (1 + most)).all()):
            p = answers.double().exp().to(slope.dtype)
            return slope - p * slope.sum(axis, keepdim=True)
    return slope


def fit_loss(
    loss: Loss, answers: torch.Tensor, labels: torch.Tensor, slope: torch.Tensor
) -> LossFit:
    """Compare the slope of the trained loss with those of the examples' losses.

    Parameters
    ----------
    loss : callable ``(answers, labels) -> (example,)``
    answers : Tensor, shape (example, ...)
        What the model said, as it said it.
    labels : Tensor, shape (example, ...)
    slope : Tensor of the shape of `answers`
        Derivative of the trained loss with respect to them.
    """
    answers, slope = answers.detach(), slope.detach()
    coarse = max(answers.dtype, slope.dtype, key=lambda dtype: torch.finfo(dtype).eps)
    found = _fit(loss, answers, labels, slope, coarse)
    return replace(found, rounded=coarse in (torch.float16, torch.bfloat16))


def _fit(loss: Loss, answers, labels, slope, coarse: torch.dtype) -> LossFit:
    """`fit_loss`; `coarse` is the dtype that rounded most."""
    if answers.ndim == 1:  # one number an example
        answers, slope = answers[:, None], slope.reshape(-1, 1)
    slope = slope_before_log_softmax(answers, slope)
    single = slope_before_log_softmax(answers, slope_of(loss, answers, labels))
    weights, left = _weights_and_rest(slope, single)
    size = float(slope.double().norm())
    allowed = _allowed(coarse, slope, weights)
    if size == 0 or not torch.isfinite(slope).all() or allowed > 0.05:
        why = "the loss is flat here" if size == 0 else "rounding hides the slope of the loss"
        return LossFit(weights, left, allowed, why, "unknown", {})
    if left > allowed:
        words = _name_other(answers, labels, slope, allowed)
        return LossFit(weights, left, allowed, words, "other", {})
    return _by_weights(answers, labels, slope, single, weights, left, allowed)


def _weights_and_rest(slope, single) -> tuple[torch.Tensor, float]:
    """Least squares for each row by itself; what is left, relative to the whole."""
    rows, own = slope.double().flatten(1), single.double().flatten(1)
    square = own.square().sum(1)
    weights = (rows * own).sum(1) / square  # 0 / 0 is NaN: nothing to be known
    rest = rows - torch.nan_to_num(weights, 0.0, 0.0, 0.0)[:, None] * own
    size = float(rows.norm())
    return weights, float(rest.norm()) / size if size else 0.0


def _allowed(dtype: torch.dtype, slope, weights) -> float:
    """What rounding may leave of the slope, relative to it."""
    eps = torch.finfo(dtype).eps
    size = float(slope.double().norm())
    known = weights[torch.isfinite(weights)].abs()
    if size == 0 or not len(known):
        return 1.0
    # A probability near 1 is known to a unit in its last place, however small its distance.
    wide = eps if dtype in (torch.float32, torch.float64) else torch.finfo(torch.float32).eps
    noise = ROUNDING * wide * float(known.median()) * len(weights) ** 0.5
    return max(LEAST_TOLERANCE, 4 * eps) + noise / size


def _by_weights(answers, labels, slope, single, weights, left, allowed) -> LossFit:
    """The loss is right up to weights: say which."""

    def rest(chosen) -> float:
        off = slope.double().flatten(1) - chosen[:, None] * single.double().flatten(1)
        return float(off.norm() / slope.double().norm())

    def pooled(rows) -> float:
        own = single.double()[rows]
        return float((slope.double()[rows] * own).sum() / own.square().sum())

    n = len(weights)
    one = pooled(torch.arange(n))
    if rest(torch.full((n,), one, dtype=torch.float64)) <= allowed:
        even = torch.full((n,), one, dtype=torch.float64)
        return LossFit(even, left, allowed, _share(one, n), "same", {})
    if labels.ndim == 1 and not labels.is_floating_point():
        values = {int(label): pooled(labels == label) for label in labels.unique()}
        table = torch.tensor([values[int(label)] for label in labels], dtype=torch.float64)
        if rest(table) <= allowed and len(values) < n:
            words = ", ".join(f"{label}: {w * n:.4g}" for label, w in list(values.items())[:8])
            words = f"weights by label, in units of 1/(examples of the step): {words}"
            return LossFit(table, left, allowed, words, "weighted", values)
        many = answers.ndim == 2 and answers.shape[1] > 1
        gamma = focal_factor(answers, labels, weights) if many else None
        if gamma is not None:
            words = (
                f"weights that fall with the answer's confidence as in a focal loss (gamma {gamma})"
            )
            return LossFit(weights, left, allowed, words, "answers", {})
    known = weights[torch.isfinite(weights)] * n
    words = (
        f"weights that differ from example to example, from {float(known.min()):.3g} to "
        f"{float(known.max()):.3g} in units of 1/(examples of the step)"
    )
    if answers.ndim == 2 and answers.shape[1] <= 2:
        words += ", or it was another loss: of one number an example the two look alike"
    return LossFit(weights, left, allowed, words, "weighted", {})


def _share(weight: float, n: int) -> str:
    if abs(weight * n - 1) < 1e-3:
        return "each example weighs 1/(examples of the step): their mean"
    if abs(weight - 1) < 1e-3:
        return "each example weighs 1: their sum"
    return f"each example weighs {weight * n:.6g}/(examples of the step)"


def _name_other(answers, labels, slope, allowed) -> str:
    """The name of a usual loss that explains the slope, or that none does."""
    one_of_classes = labels.ndim == 1 and answers.ndim == 2 and answers.shape[1] > 1
    one_of_classes = one_of_classes and not labels.is_floating_point()
    if not one_of_classes or int(labels.min()) < 0:
        return "of an unknown kind"
    for name, loss in KNOWN_LOSSES.items():
        try:
            single = slope_before_log_softmax(answers, slope_of(loss, answers, labels))
            _, left = _weights_and_rest(slope, single)
        except (RuntimeError, ValueError):
            continue
        if left <= allowed:
            return name
    smoothing = _label_smoothing(answers, labels, slope, allowed)
    return smoothing or "none of the usual ones"


def _label_smoothing(answers, labels, slope, allowed) -> str | None:
    """Cross-entropy with labels smoothed by some share, if that explains the slope."""
    n_classes = answers.shape[1]
    one_hot = torch.nn.functional.one_hot(labels, n_classes).double()
    plain = answers.double().softmax(1) - one_hot
    toward = one_hot - 1 / n_classes
    basis = torch.stack([plain.flatten(), toward.flatten()], 1)
    found = torch.linalg.lstsq(basis, slope.double().flatten()[:, None]).solution
    left = float((basis @ found - slope.double().flatten()[:, None]).norm() / slope.double().norm())
    share = float(found[1] / found[0])
    if left <= allowed and 0 < share < 1:
        return f"cross-entropy with label smoothing {share:.3g}"
    return None
