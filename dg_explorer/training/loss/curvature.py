"""How a mean of losses bends with the answers: the part of a Hessian product behind the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.func import grad, jvp

from .known_losses import cross_entropy


class LossCurvature:
    """The slope of a weighted mean of losses by the answers, and how it moves with them.

    Parameters
    ----------
    loss : callable ``(answers, labels) -> (example,)``
    labels : Tensor, shape (example, ...)
    weights : Tensor, shape (example,), optional
        Of the losses in their mean. Default 1.
    """

    def __init__(
        self,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        labels: torch.Tensor,
        weights: torch.Tensor | None = None,
    ):
        self.loss, self.labels, self.weights = loss, labels, weights

    def losses(self, answers: torch.Tensor) -> torch.Tensor:
        """Shape (example,)."""
        return self.loss(answers, self.labels)

    def mean(self, answers: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """The mean of the losses, each times its weight."""
        losses = self.losses(answers)
        return (losses if weights is None else losses * weights).mean()

    def slope(self, answers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The mean's derivative by answers on a graph, as a graph of answers and weights."""
        return torch.autograd.grad(self.mean(answers, weights), answers, create_graph=True)[0]

    def slope_of(self, answers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The slope with other weights, as numbers."""
        here = answers.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.mean(here, weights), here)[0]

    def along(
        self, answers: torch.Tensor, moved: torch.Tensor, by: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What changes where answers move, for use under transforms of functions.

        Parameters
        ----------
        moved : Tensor, as `answers`
        by : Tensor, shape (example,), optional
            How the weights move at the same time.

        Returns
        -------
        slope, change : Tensor, as `answers`
            The mean's slope by the answers, and how that moves.
        slopes : Tensor, shape (example,)
            How each example's loss, over the number of examples, moves.
        """
        slope, change = jvp(grad(lambda z: self.mean(z, self.weights)), (answers,), (moved,))[:2]
        slopes = jvp(self.losses, (answers,), (moved,))[1]
        if by is not None:
            change = change + grad(lambda z: self.mean(z, by))(answers)
        return slope, change, slopes / len(slopes)


class CrossEntropyCurvature(LossCurvature):
    """`LossCurvature` of the cross-entropy of classes, in closed form.

    With p the softmax of an example's answers and e its one-hot label, the slope is p - e and
    moves by p * (u - p.u) where the answers move by u.
    """

    def slope(self, answers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return _Slope.apply(answers, self.labels, weights)

    def slope_of(self, answers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        _, rest = _softmax_and_rest(answers.detach(), self.labels)
        return rest * (weights / len(rest))[:, None]

    def along(self, answers, moved, by=None):
        p, rest = _softmax_and_rest(answers, self.labels)
        n = len(rest)
        scale: Any = 1 / n if self.weights is None else (self.weights / n)[:, None]
        change = _bent(p, moved, p * scale)
        if by is not None:
            change = change + rest * (by / n)[:, None]
        return rest * scale, change, (rest / n * moved).sum(1)


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, answers, labels, weights):
        p, rest = _softmax_and_rest(answers, labels)
        scale = (weights / len(rest))[:, None]
        ctx.save_for_backward(p, rest, scale)
        return rest * scale

    @staticmethod
    def backward(ctx, *grad_outputs):
        (moved,) = grad_outputs
        p, rest, scale = ctx.saved_tensors
        return _bent(p, moved, p * scale), None, (rest / len(rest) * moved).sum(1)


def _softmax_and_rest(answers, labels) -> tuple[torch.Tensor, torch.Tensor]:
    p = answers.softmax(1)
    minus = torch.full_like(labels, -1, dtype=p.dtype)[:, None]
    return p, p.scatter_add(1, labels[:, None], minus)


def _bent(p: torch.Tensor, moved: torch.Tensor, scaled: torch.Tensor) -> torch.Tensor:
    return scaled * (moved - (p * moved).sum(1, keepdim=True))


def curvature_of(
    loss: Callable, labels: torch.Tensor, weights: torch.Tensor | None, *, classes: bool
) -> LossCurvature:
    """In closed form where there is one; `classes`, that labels are those of `classes_of`."""
    kind = CrossEntropyCurvature if classes and loss is cross_entropy else LossCurvature
    return kind(loss, labels, weights)


def are_classes(labels: torch.Tensor) -> bool:
    """Whether labels are one class an example, none of them left out."""
    whole = labels.dtype == torch.int64 and labels.ndim == 1
    return whole and (not len(labels) or int(labels.min()) >= 0)
