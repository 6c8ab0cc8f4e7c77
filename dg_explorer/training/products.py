"""Hessian products and each example's slope for many directions in one pass."""

from __future__ import annotations

import torch
from torch.func import grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import DGExplorerError
from .trace import trace
from .training import FlatModel, Training

# A shape is traced once it has come so often: tracing costs about a hundred passes.
_TRACE_AFTER = 40


class NoSecondDerivativeError(DGExplorerError, NotImplementedError):
    """An operation of the model has no second derivative in torch."""


class LossProducts:
    """For directions u: the Hessian of the batch's loss times u, and each example's u.g_i/n.

    The loss is the mean of the examples' losses, each times its weight if there are weights.

    The fast way: one forward-mode pass gives the slope of every example's loss along a
    direction, and the gradient of their mean is the Hessian times the direction. Some
    operations (layer norm, in torch 2.13) give a wrong answer that way without an error, so it
    is compared with differentiating backwards twice on the first batch, which is the way taken
    where they differ.

    Parameters
    ----------
    block : int
        Directions in one pass; their activations are held together.

    Raises
    ------
    NoSecondDerivativeError
        If torch cannot differentiate the model twice.
    """

    def __init__(self, training: Training, flat: FlatModel, *, block: int = 32):
        self.training, self.flat, self.block = training, flat, block
        self._uses: dict[tuple, int] = {}
        self._traced: dict[tuple, object] = {}
        self._way = None

    def __call__(
        self,
        theta: torch.Tensor,
        batch: torch.Tensor | None,
        directions: torch.Tensor,
        share: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hessian products, shape (direction, parameter), and slopes, (direction, example).

        `share` is the weight that the trained loss gives to each slot of the batch, in both.
        """
        inputs, labels, weights = self.training.examples(batch)
        if share is not None:
            share = share.to(directions.dtype)
            weights = share if weights is None else weights * share
        examples = [part for part in (inputs, labels, weights) if part is not None]
        if self._way is None:
            self._way = self._choose(theta, *(part[:4] for part in examples))
        parts = [self._run(theta, block, *examples) for block in directions.split(self.block)]
        products, slopes = (torch.cat(part) for part in zip(*parts, strict=True))
        return products, slopes if share is None else slopes * share

    def _run(self, theta, directions, *examples):
        key = (tuple(examples[0].shape), len(directions))
        if key not in self._traced:
            self._uses[key] = self._uses.get(key, 0) + 1
            if self._uses[key] < _TRACE_AFTER:
                return self._many(theta, directions, *examples)
            self._traced[key] = trace(self._many, theta, directions, *examples)
        return self._traced[key](theta, directions, *examples)

    def _choose(self, theta, inputs, labels, weights=None):
        """The fast way if it agrees with going backwards twice on a few examples."""
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                losses = self._losses(inputs, labels)
                wanted, _ = _reverse_twice(losses, theta, direction, weights)
        except (NotImplementedError, RuntimeError) as error:
            raise NoSecondDerivativeError(
                f"The loss of {type(self.flat.module).__name__} cannot be differentiated twice: "
                f"{error}. Exact influence through training needs that; TRAK and Gauss-Newton "
                "influence functions need one derivative only."
            ) from error
        try:
            with sdpa_kernel(SDPBackend.MATH):
                got, _ = _reverse_over_forward(losses, theta, direction, weights)
        except NotImplementedError:
            return _reverse_twice
        tolerance = 1e-8 if theta.dtype == torch.float64 else 1e-3
        agrees = (got - wanted).norm() <= tolerance * wanted.norm() + 1e-12
        return _reverse_over_forward if agrees else _reverse_twice

    def _losses(self, inputs, labels):
        return lambda vector: self.training.loss(self.flat(vector, inputs), labels)

    def _many(self, theta, directions, inputs, labels, weights=None):
        losses = self._losses(inputs, labels)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
            return vmap(lambda direction: self._way(losses, theta, direction, weights))(directions)


def _reverse_over_forward(losses, theta, direction, weights=None):
    def mean_slope(vector):
        slopes = jvp(losses, (vector,), (direction,))[1]
        slopes = slopes / len(slopes)
        return (slopes if weights is None else slopes * weights).sum(), slopes

    return grad(mean_slope, has_aux=True)(theta)


def _reverse_twice(losses, theta, direction, weights=None):
    def mean(values, by):
        return (values if by is None else by * values).mean()

    def slope(vector):
        return grad(lambda v: mean(losses(v), weights))(vector) @ direction

    # Each example's slope is the derivative by its weight of the weighted loss's slope.
    def weighted(weight):
        return grad(lambda v: mean(losses(v), weight))(theta) @ direction

    ones = torch.ones_like(losses(theta))
    return grad(slope)(theta), grad(weighted)(ones)
