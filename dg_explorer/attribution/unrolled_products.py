"""Hessian products and each example's slope for many directions in one pass."""

from __future__ import annotations

import torch
from torch.func import grad, jvp, vjp, vmap

from dg_explorer.attribution.unrolled_trace import trace
from dg_explorer.attribution.unrolled_training import FlatModel, Training


class LossProducts:
    """For directions u: the Hessian of the batch's mean loss times u, and each example's u.g_i/n.

    One forward-mode pass gives the slope of every example's loss along a direction; the
    gradient of their mean is the Hessian times the direction. The forward pass itself is shared
    by all directions. The computation is traced once for each batch size, since running the
    transforms anew costs more than the arithmetic of a small model; a model that cannot be
    traced runs untraced, and one without forward-mode derivatives goes backwards twice.

    Parameters
    ----------
    block : int
        Directions in one pass: few enough that their activations stay in the cache.
    """

    def __init__(self, training: Training, flat: FlatModel, *, block: int = 8):
        self.training, self.flat, self.block = training, flat, block
        self._traced: dict[tuple, object] = {}
        self._slopes = self._forward_slopes

    def __call__(
        self, theta: torch.Tensor, batch: torch.Tensor | None, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hessian products, shape (direction, parameter), and slopes, (direction, example)."""
        inputs = self.training.inputs if batch is None else self.training.inputs[batch]
        labels = self.training.labels if batch is None else self.training.labels[batch]
        parts = [
            self._run(theta, inputs, labels, block) for block in directions.split(self.block)
        ]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([p for p, _ in parts]), torch.cat([s for _, s in parts])

    def _run(self, theta, inputs, labels, directions):
        key = (tuple(inputs.shape), len(directions))
        if key not in self._traced:
            self._traced[key] = self._trace(theta, inputs, labels, directions)
        return self._traced[key](theta, inputs, labels, directions)

    def _trace(self, theta, inputs, labels, directions):
        try:
            return trace(self._many, theta, inputs, labels, directions)
        except NotImplementedError:  # an operation without a forward-mode derivative
            self._slopes = self._backward_slopes
            return trace(self._many, theta, inputs, labels, directions)

    def _many(self, theta, inputs, labels, directions):
        def losses(vector):
            return self.training.loss(self.flat(vector, inputs), labels)

        def along(direction):
            def mean_slope(vector):
                slopes = self._slopes(losses, vector, direction) / len(labels)
                return slopes.sum(), slopes

            return grad(mean_slope, has_aux=True)(theta)

        return vmap(along)(directions)

    @staticmethod
    def _forward_slopes(losses, vector, direction):
        return jvp(losses, (vector,), (direction,))[1]

    @staticmethod
    def _backward_slopes(losses, vector, direction):
        # The vector-Jacobian product is linear in its cotangent: its own derivative by it,
        # applied to the direction, is the Jacobian-vector product.
        values, pull = vjp(losses, vector)
        return vjp(lambda cotangent: pull(cotangent)[0], torch.zeros_like(values))[1](direction)[0]
