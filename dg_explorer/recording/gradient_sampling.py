"""Gradient norms by layer, sampled at some steps: every step would cost more than it tells."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .optimizer_watch import closure_of, look_after_closure
from .ranks.sharded import whole

NAMES = ("norm", "update_ratio", "cosine_to_previous", "dead_units")


class GradientSampler:
    """Watches an optimizer and measures gradients and updates at sampled steps.

    Hooks on the optimizer see every step, so nothing needs to be called in the training loop.
    Between two calls of `take` at least one step is measured, where there were two steps.

    Parameters
    ----------
    model : module
    optimizer : torch optimizer
    every : int
        Steps from one sample to the next. The gradient of the step before a sampled one is
        kept too, for the cosine.
    nested : callable
        Whether the step being taken is part of another of the same optimizer.
    """

    def __init__(self, model, optimizer, every: int = 250, nested=lambda: False):
        self.every = every
        self._nested = nested
        self.layers = parameters_by_layer(model)
        self._parameters = [p for _, parameters in self.layers.values() for p in parameters]
        self._owner = np.repeat(
            np.arange(len(self.layers)), [len(p) for _, p in self.layers.values()]
        )
        self._left = min(2, every)
        self._step = 0
        self._previous_step = -1
        self._previous: list[torch.Tensor | None] = []
        self._before = None
        self._samples: list[dict[str, np.ndarray]] = []
        self._optimizer = optimizer
        self._handle = optimizer.register_step_pre_hook(self._before_step)
        self._after = None  # a hook after the step costs at every step, so only where it is due

    def take(self) -> tuple[dict[str, np.ndarray], int]:
        """The mean of the samples since the last call, (layer,) each, and how many there were."""
        samples, self._samples = self._samples, []
        # with the last gradient at hand the next step can be measured, else the one after it
        self._left = min(self._left, 1 if self._previous_step == self._step else 2)
        return {name: _mean([s[name] for s in samples], len(self.layers)) for name in NAMES}, len(
            samples
        )

    def state(self) -> dict:
        """What a sampler needs, besides weights, to go on after `take` as this one will."""
        sharded = any(hasattr(g, "to_local") for g in self._previous)  # a part of it is here
        there = self._previous_step == self._step and not sharded
        return {"left": self._left, "previous": self._previous if there else None}

    def go_on(self, state: dict | None) -> None:
        """Go on as the sampler that gave this state; None: as at the beginning."""
        state = state or {"left": min(2, self.every), "previous": None}
        previous = state["previous"] or []
        self._samples, self._before, self._left = [], None, state["left"]
        self._previous, self._previous_step = previous, -1
        if len(previous) == len(self._parameters):
            pairs = zip(previous, self._parameters, strict=True)
            self._previous = [None if g is None else g.to(p.device) for g, p in pairs]
            self._previous_step = self._step

    def follow(self, optimizer) -> None:
        """Go on with another optimizer, which has taken over."""
        self.close()
        self._after, self._optimizer = None, optimizer
        self._handle = optimizer.register_step_pre_hook(self._before_step)

    def close(self) -> None:
        """Take the hooks off the optimizer."""
        self._handle.remove()
        if self._after is not None:
            self._after.remove()

    def _before_step(self, optimizer, args, kwargs):
        if self._nested():
            return None
        self._step += 1
        self._left -= 1
        if self._after is not None:  # not from within itself: hooks are being walked then
            self._after.remove()
            self._after = None
        if self._left > 1:
            return None
        if self._left <= 0:
            self._after = optimizer.register_step_post_hook(self._after_step)
        if closure_of(args, kwargs) is None:
            self._look()
            return None
        return look_after_closure(args, kwargs, self._look)

    def _look(self) -> None:
        gradients = [dense_gradient(p) for p in self._parameters]
        if self._left <= 0:
            self._samples.append(self._measure(gradients))
            groups = self._optimizer.param_groups
            moved = {id(p) for group in groups for p in group["params"] if p.grad is not None}
            # what another optimizer moves has not moved yet when this one is done
            self._before = [
                whole(p.detach()).clone() if id(p) in moved else None for p in self._parameters
            ]
            self._left = self.every
        self._previous = [None if g is None else g.detach().clone() for g in gradients]
        self._previous_step = self._step

    def _after_step(self, optimizer, args, kwargs) -> None:
        if self._before is None or self._nested():
            return  # a closure that never came to its gradients; or not the end of the step
        size = _by_layer(_norms(self._before), self._owner)
        for before, now in zip(self._before, self._parameters):
            if before is not None:
                before.sub_(
                    whole(now.detach())
                )  # in place: fresh memory would cost more than the sums
        change = _by_layer(_norms(self._before), self._owner)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._samples[-1]["update_ratio"] = np.where(size > 0, change / size, np.nan)
        self._before = None

    def _measure(self, gradients: list) -> dict[str, np.ndarray]:
        norms = _norms(gradients)
        found = {
            "norm": _by_layer(norms, self._owner),
            "update_ratio": np.full(len(self.layers), np.nan),
            "cosine_to_previous": np.full(len(self.layers), np.nan),
            "dead_units": np.array([dead_units(m) for m, _ in self.layers.values()]),
        }
        if self._previous_step == self._step - 1:
            dots = _dots(gradients, self._previous)
            products = found["norm"] * _by_layer(_norms(self._previous), self._owner)
            totals = np.bincount(self._owner, dots, len(self.layers))
            with np.errstate(divide="ignore", invalid="ignore"):
                found["cosine_to_previous"] = np.where(products > 0, totals / products, np.nan)
        return found


def parameters_by_layer(model) -> dict[str, tuple[nn.Module, list]]:
    """Module name -> (module, its own parameters), for modules that have any.

    Frozen ones too: they may begin to train later, and are NaN until then.
    """
    layers = {}
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.is_floating_point()]
        if own:
            layers[name or type(module).__name__] = (module, own)
    return layers


def dense_gradient(parameter) -> torch.Tensor | None:
    """A parameter's gradient, written out where it is sparse (a table of embeddings).

    Where processes share it out, all of it: all of them ask.
    """
    gradient = whole(getattr(parameter, "grad", None))
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient


def dead_units(module: nn.Module) -> float:
    """The share of a layer's units whose weights got an exactly zero gradient from the batch.

    A unit behind a ReLU that no example of the batch activates gets none. NaN for layers
    without a weight matrix and for embeddings, whose absent tokens get no gradient either.
    """
    weight = getattr(module, "weight", None)
    gradient = None if weight is None else dense_gradient(weight)
    table = isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    if gradient is None or gradient.ndim < 2 or table:
        return float("nan")
    if getattr(module, "transposed", False):
        gradient = gradient.transpose(0, 1)
    return float((gradient == 0).flatten(1).all(1).double().mean())


def _norms(tensors: list) -> np.ndarray:
    """L2 norm of each tensor, NaN for None; one transfer for all."""
    there = [i for i, t in enumerate(tensors) if t is not None]
    norms = np.full(len(tensors), np.nan)
    if there:
        found = torch.ops.aten._foreach_norm([tensors[i].detach() for i in there])
        norms[there] = torch.stack([n.double() for n in found]).cpu().numpy()
    return norms


def _dots(a: list, b: list) -> np.ndarray:
    both = [i for i in range(len(a)) if a[i] is not None and b[i] is not None]
    dots = np.zeros(len(a))
    if both:
        found = [torch.dot(a[i].detach().flatten(), b[i].flatten()).double() for i in both]
        dots[both] = torch.stack(found).cpu().numpy()
    return dots


def _by_layer(norms: np.ndarray, owner: np.ndarray) -> np.ndarray:
    # a layer is NaN only where none of its parameters has a gradient
    n = int(owner[-1]) + 1 if len(owner) else 0
    there = ~np.isnan(norms)
    squares = np.bincount(owner, np.where(there, norms, 0.0) ** 2, n)
    return np.where(np.bincount(owner, there, n) > 0, np.sqrt(squares), np.nan)


def _mean(samples: list[np.ndarray], n: int) -> np.ndarray:
    if not samples:
        return np.full(n, np.nan, dtype=np.float32)
    stacked = np.stack(samples)
    there = ~np.isnan(stacked)
    count = there.sum(0)
    with np.errstate(invalid="ignore"):
        mean = np.where(there, stacked, 0).sum(0) / count
    return np.where(count > 0, mean, np.nan).astype(np.float32)
