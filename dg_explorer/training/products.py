"""Hessian products and each example's slope for many directions in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.func import grad, jvp, vjp, vmap

from ..errors import DGExplorerError
from .flat_model import FlatModel
from .loss.curvature import LossCurvature, are_classes, curvature_of
from .several_inputs import cutting
from .trace import trace
from .training import Training

# A shape is traced once it has come so often: that costs 30 to 150 ms.
_TRACE_AFTER = 5
# So few directions cost less one after another than the transforms of a function for all.
_FEW = 2


class NoSecondDerivativeError(DGExplorerError, NotImplementedError):
    """An operation of the model has no second derivative in torch."""


class LossProducts:
    """The second derivatives of a training's losses, for many directions in one pass.

    `of` binds them to a batch. For directions u: the Hessian of the batch's loss times u, and
    each example's u.g_i/n; and how the gradient moves along u while the weights of examples move,
    too. The loss is the mean of the examples' losses, each times its weight if there are weights.

    The fast way: one forward-mode pass gives the slope of every example's loss along a
    direction, and the gradient of their mean is the Hessian times the direction. Some
    operations (layer norm, in torch 2.13) give a wrong answer that way without an error, so it
    is compared with differentiating backwards twice on the first batch, which is the way taken
    where they differ. Few directions are taken backwards twice in any case: one graph of the
    gradient serves them all. What comes again with the same shapes is run as a list of operations
    (`trace`), where that gives the same.

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
        self._classes = are_classes(training.labels)
        self._uses: dict[tuple, int] = {}
        self._traced: dict[tuple, Callable] = {}
        self._way: Callable | None = None

    def of(
        self,
        batch: torch.Tensor | None,
        share: torch.Tensor | None = None,
        step: int | None = None,
    ) -> BatchProducts:
        """The loss of a batch; `share` is the weight that the trained loss gives to each slot.

        `step` is its step, which decides the random numbers of a model with dropout.
        """
        return BatchProducts(self, batch, share, step)

    def __call__(
        self,
        theta: torch.Tensor,
        batch: torch.Tensor | None,
        directions: torch.Tensor,
        share: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
        step: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hessian products, shape (direction, parameter), and slopes, (direction, example).

        `share` is the weight that the trained loss gives to each slot of the batch, in both.
        With directions of the weights, (direction, example), the products are those of the
        gradient along both.
        """
        examples = self._examples(theta, batch, share)
        if self._way is None and self.training.draws is None:
            self._way = self._choose(theta, *(part[:4] for part in examples))
        if weights is not None and share is not None:
            weights = weights * share.to(weights)
        parts = []
        for start in range(0, len(directions), self.block):
            block = slice(start, start + self.block)
            by = None if weights is None else weights[block]
            if self.training.draws is None:
                parts.append(self._run(theta, directions[block], by, *examples))
                continue
            with only_math():  # one plain pass, in which dropout draws as it did
                parts.append(self._graph(theta, examples, step).along(directions[block], by))
        one = len(parts) == 1
        products, slopes = parts[0] if one else map(torch.cat, zip(*parts, strict=True))
        return products, slopes if share is None else slopes * share.to(slopes)

    def _graph(self, theta, examples, step=None) -> GradientGraph:
        inputs, labels, *weights = examples
        model = self._model(inputs, step)
        return GradientGraph(model, self._curvature(labels, *weights), theta)

    def gradient(self, theta, batch, share=None, step=None) -> torch.Tensor:
        """The gradient of the batch's loss."""
        examples = self._examples(theta, batch, share)
        if self.training.draws is not None:
            return self._gradient(theta, *examples, step=step)
        return self._listed("gradient", self._gradient, theta.detach(), *examples)

    def _gradient(self, theta, inputs, labels, *weights, step=None) -> torch.Tensor:
        theta = theta.detach().requires_grad_()
        with torch.enable_grad():
            answers = self._model(inputs, step)(theta)
            mean = self._curvature(labels, *weights).mean(answers, *(weights or [None]))
            return torch.autograd.grad(mean, theta)[0]

    def _examples(self, theta, batch, share):
        inputs, labels, weights = self.training.examples(batch)
        if share is not None:
            share = share.to(theta)
            weights = share if weights is None else weights * share
        return [part for part in (inputs, labels, weights) if part is not None]

    def _run(self, theta, directions, by, *examples):
        few = len(directions) <= _FEW
        if by is None:
            run = self._few if few else self._many
            return self._listed("product", run, theta, directions, *examples)
        run = self._few_weighted if few else self._many_weighted
        return self._listed("tangent", run, theta, directions, by, *examples)

    def _listed(self, what: str, function: Callable, *given: torch.Tensor):
        """A function, as its list of operations once these shapes have come before."""
        key = (what, *(part.shape for part in given))
        if key not in self._traced:
            self._uses[key] = self._uses.get(key, 0) + 1
            if self._uses[key] < _TRACE_AFTER:
                return function(*given)
            self._traced[key] = trace(function, *given, check=[_other(part) for part in given])
        return self._traced[key](*given)

    def _choose(self, theta, inputs, labels, weights=None):
        """The fast way if it agrees with going backwards twice on a few examples."""
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(theta.shape, generator=generator, dtype=theta.dtype).to(theta)
        at = (self._model(inputs), self._curvature(labels, weights), theta, direction)
        try:
            with only_math():
                wanted, _ = _reverse_twice(*at)
        except (NotImplementedError, RuntimeError) as error:
            raise NoSecondDerivativeError(
                f"The loss of {type(self.flat.module).__name__} cannot be differentiated twice: "
                f"{error}. Exact influence through training needs that; TRAK and Gauss-Newton "
                "influence functions need one derivative only."
            ) from error
        try:
            with only_math():
                got, _ = _reverse_over_forward(*at)
        except NotImplementedError:
            return _reverse_twice
        tolerance = 1e-8 if theta.dtype == torch.float64 else 1e-3
        agrees = (got - wanted).norm() <= tolerance * wanted.norm() + 1e-12
        return _reverse_over_forward if agrees else _reverse_twice

    def _model(self, inputs, step=None) -> Callable:
        draws = self.training.draws
        if draws is None or step is None:
            return lambda vector: self.flat(vector, inputs)
        passes = self.training.passes(step)

        def answers(vector):
            found = []
            for k, rows in enumerate(passes):
                after = (step, k + 1) if k + 1 < len(passes) else (step + 1, 0)
                with draws.at(step, k, after), cutting(self.flat.module, draws.cut):
                    found.append(self.flat(vector, inputs[rows]))
            return torch.cat(found)[torch.cat(passes).argsort()]

        return answers

    def _curvature(self, labels, weights=None) -> LossCurvature:
        return curvature_of(self.training.loss, labels, weights, classes=self._classes)

    def _few(self, theta, directions, *examples):
        with only_math():
            return self._graph(theta, examples).along(directions)

    def _few_weighted(self, theta, directions, by, *examples):
        with only_math():
            return self._graph(theta, examples).along(directions, by)

    def _many(self, theta, directions, inputs, labels, weights=None):
        model, loss, way = self._model(inputs), self._curvature(labels, weights), self._chosen()
        with only_math():  # the fused kernels have no second derivative
            return vmap(lambda direction: way(model, loss, theta, direction))(directions)

    def _many_weighted(self, theta, directions, by, inputs, labels, weights=None):
        model, loss, way = self._model(inputs), self._curvature(labels, weights), self._chosen()
        with only_math():
            return vmap(lambda direction, b: way(model, loss, theta, direction, b))(directions, by)

    def _chosen(self) -> Callable:
        return self._way or _reverse_twice  # which holds for every loss


def _other(given: torch.Tensor) -> torch.Tensor:
    """Other numbers of the same kind: the rows in another order, weights a little off."""
    other = given.flip(0) if given.ndim > 1 or not given.is_floating_point() else 1.01 * given
    return other.contiguous()


class BatchProducts:
    """`BatchLoss` of one batch, by `LossProducts`."""

    def __init__(self, products: LossProducts, batch, share, step):
        self._products, self._batch, self._share, self._step = products, batch, share, step
        self.dtype = products.flat.theta.dtype
        self._gradient: tuple[torch.Tensor, torch.Tensor] | None = None

    def gradient(self, theta: torch.Tensor) -> torch.Tensor:
        """Shape (parameter,); asked for again at the same weights, it is not taken again."""
        if self._gradient is None or not torch.equal(self._gradient[0], theta):
            gradient = self._products.gradient(theta, self._batch, self._share, self._step)
            self._gradient = (theta.detach().clone(), gradient)
        return self._gradient[1]

    def product(self, theta, directions) -> tuple[torch.Tensor, torch.Tensor]:
        """Hessian times each direction, and each direction's slope by example weight."""
        return self._products(theta, self._batch, directions, self._share, None, self._step)

    def tangent(self, theta, directions, weights) -> torch.Tensor:
        """How the gradient moves along directions of the parameters and of the weights."""
        return self._products(theta, self._batch, directions, self._share, weights, self._step)[0]


class GradientGraph:
    """The gradient of a mean of losses as a graph, through which directions go one by one.

    Parameters
    ----------
    model : callable ``theta -> answers``
    loss : LossCurvature
    """

    def __init__(self, model: Callable, loss: LossCurvature, theta: torch.Tensor):
        self.theta, self._loss = theta.detach().requires_grad_(), loss
        with torch.enable_grad():
            self._answers = model(self.theta)
            weights = loss.weights
            if weights is None:
                weights = self._answers.new_ones(len(self._answers))
            self._weights = weights.detach().clone().requires_grad_()
            slope = loss.slope(self._answers, self._weights)
            (self.gradient,) = torch.autograd.grad(
                self._answers, self.theta, slope, create_graph=True
            )

    def along(
        self, directions: torch.Tensor, by: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Products and slopes of directions, without transforms of functions; see `LossProducts`.

        `by` are directions of the weights, which move together with those of the parameters.
        """
        found = []
        for i, direction in enumerate(directions):
            # seen from the answers, moving weights are one more way in which the gradient moves
            outputs, along = [self.gradient], [direction]
            if by is not None:
                outputs.append(self._answers)
                along.append(self._loss.slope_of(self._answers, by[i]))
            inputs = (self.theta, self._weights)
            found.append(
                torch.autograd.grad(
                    outputs, inputs, along, retain_graph=True, materialize_grads=True
                )
            )
        products, slopes = (torch.stack(part) for part in zip(*found, strict=True))
        return products, slopes


def _reverse_over_forward(model, loss, theta, direction, by=None):
    (answers, moved), back = vjp(lambda v: jvp(model, (v,), (direction,)), theta)[:2]
    slope, change, slopes = loss.along(answers, moved, by)
    return back((change, slope))[0], slopes


def _reverse_twice(model, loss, theta, direction, by=None):
    def slope(vector, weights):
        return grad(lambda v: loss.mean(model(v), weights))(vector) @ direction

    # Each example's slope is the derivative by its weight of the weighted loss's slope.
    ones = torch.ones_like(loss.losses(model(theta)))
    product = grad(slope)(theta, loss.weights)
    if by is not None:
        product = product + grad(lambda v: loss.mean(model(v), by))(theta)
    return product, grad(slope, argnums=1)(theta, ones)


@contextmanager
def only_math() -> Iterator[None]:
    """Attention by plain products, which have a second derivative.

    As `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`, at a tenth of its time.
    """
    cuda = torch.backends.cuda
    kinds = [
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp, False),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, False),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, False),
        (cuda.math_sdp_enabled, cuda.enable_math_sdp, True),
    ]
    before = [enabled() for enabled, _, _ in kinds]
    for _, enable, wanted in kinds:
        enable(wanted)
    try:
        yield
    finally:
        for (_, enable, _), was in zip(kinds, before, strict=True):
            enable(was)
