"""Hessian products and each example's slope for many directions in one pass."""

from __future__ import annotations

import torch
from torch.func import grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dg_explorer.attribution.unrolled_trace import trace
from dg_explorer.attribution.unrolled_training import FlatModel, Training
from dg_explorer.errors import DGExplorerError

# A shape is traced once it has come so often: tracing costs about a hundred passes.
_TRACE_AFTER = 40


class NoSecondDerivativeError(DGExplorerError, NotImplementedError):
    """An operation of the model has no second derivative in torch."""


class LossProducts:
    """For directions u: the Hessian of the batch's mean loss times u, and each example's u.g_i/n.

    The fast way: one forward-mode pass gives the slope of every example's loss along a
    direction, and the gradient of their mean is the Hessian times the direction. Some
    operations (layer norm, in torch 2.13) give a wrong answer that way without an error, so it
    is compared with differentiating backwards twice on the first batch, which is the way taken
    where they differ.

    Parameters
    ----------
    block : int
        Directions in one pass: few enough that their activations stay in the cache.

    Raises
    ------
    NoSecondDerivativeError
        If torch cannot differentiate the model twice.
    """

    def __init__(self, training: Training, flat: FlatModel, *, block: int = 8):
        self.training, self.flat, self.block = training, flat, block
        self._uses: dict[tuple, int] = {}
        self._traced: dict[tuple, object] = {}
        self._way = None

    def __call__(
        self, theta: torch.Tensor, batch: torch.Tensor | None, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hessian products, shape (direction, parameter), and slopes, (direction, example)."""
        inputs = self.training.inputs if batch is None else self.training.inputs[batch]
        labels = self.training.labels if batch is None else self.training.labels[batch]
        if self._way is None:
            self._way = self._choose(theta, inputs[:4], labels[:4])
        parts = [self._run(theta, inputs, labels, block) for block in directions.split(self.block)]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([p for p, _ in parts]), torch.cat([s for _, s in parts])

    def _run(self, theta, inputs, labels, directions):
        key = (tuple(inputs.shape), len(directions))
        if key not in self._traced:
            self._uses[key] = self._uses.get(key, 0) + 1
            if self._uses[key] < _TRACE_AFTER:
                return self._many(theta, inputs, labels, directions)
            self._traced[key] = trace(self._many, theta, inputs, labels, directions)
        return self._traced[key](theta, inputs, labels, directions)

    def _choose(self, theta, inputs, labels):
        """The fast way if it agrees with going backwards twice on a few examples."""
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                wanted, _ = _reverse_twice(self._losses(inputs, labels), theta, direction)
        except (NotImplementedError, RuntimeError) as error:
            raise NoSecondDerivativeError(
                f"The loss of {type(self.flat.module).__name__} cannot be differentiated twice: "
                f"{error}. Exact influence through training needs that; TRAK and Gauss-Newton "
                "influence functions need one derivative only."
            ) from error
        try:
            with sdpa_kernel(SDPBackend.MATH):
                got, _ = _reverse_over_forward(self._losses(inputs, labels), theta, direction)
        except NotImplementedError:
            return _reverse_twice
        tolerance = 1e-8 if theta.dtype == torch.float64 else 1e-3
        agrees = (got - wanted).norm() <= tolerance * wanted.norm() + 1e-12
        return _reverse_over_forward if agrees else _reverse_twice

    def _losses(self, inputs, labels):
        return lambda vector: self.training.loss(self.flat(vector, inputs), labels)

    def _many(self, theta, inputs, labels, directions):
        losses = self._losses(inputs, labels)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
            return vmap(lambda direction: self._way(losses, theta, direction))(directions)


def _reverse_over_forward(losses, theta, direction):
    def mean_slope(vector):
        slopes = jvp(losses, (vector,), (direction,))[1]
        slopes = slopes / len(slopes)
        return slopes.sum(), slopes

    return grad(mean_slope, has_aux=True)(theta)


def _reverse_twice(losses, theta, direction):
    def slope(vector):
        return grad(lambda v: losses(v).mean())(vector) @ direction

    # Each example's slope is the derivative by its weight of the weighted loss's slope.
    def weighted(weight):
        return grad(lambda v: (weight * losses(v)).mean())(theta) @ direction

    ones = torch.ones_like(losses(theta))
    return grad(slope)(theta), grad(weighted)(ones)
