"""The derivative of one step against a finite difference of the step itself."""

from __future__ import annotations

import numpy as np
import torch

from .by_hand import State, UnsupportedOptimizerError
from .generic import OptimizerStep

# Relative; of the optimizers of torch, float64 leaves 1e-9 and numbers moved to Python leave 1e-1.
TOLERANCE = 1e-3


class _Fixed:
    """A loss without curvature: its gradient is a constant, and moves as it is told."""

    dtype = torch.float64

    def __init__(self, gradient: torch.Tensor, change: torch.Tensor):
        self._gradient, self._change = gradient, change

    def gradient(self, theta):
        return self._gradient

    def product(self, theta, directions):
        return torch.zeros_like(directions), directions

    def tangent(self, theta, directions, weights):
        return weights @ self._change[None]


def step_error(
    rule: OptimizerStep, state: State, gradient: torch.Tensor, step: int, lr, *, h: float = 1e-6
) -> float:
    """How far a step's derivative is from a finite difference, along a random direction.

    The step is taken in float64 with a gradient that stands still, so that this is about the
    optimizer alone; 1 also where the derivative by the gradient is 0 though the step is not. Of
    several optimizers the worst: a large step of one must not hide what another does. At a
    rate of 0, as a warm-up begins, no weight moves and only the memory is compared.

    Parameters
    ----------
    state : State
        Before the step.
    h : float
        Size of the difference, relative to each entry.
    """
    theta, memory, gradient = (part.detach().double() for part in (*state, gradient))
    generator = torch.Generator().manual_seed(0)
    to = [
        t.abs() * torch.randn(t.shape, generator=generator).to(t) for t in (theta, memory, gradient)
    ]

    def of(sign):
        at = [t + sign * h * d for t, d in zip((theta, memory, gradient), to, strict=True)]
        new, _ = rule._take(at[0], at[1], step, lr, lambda _: at[2], rounding=False)
        return [part.detach() for part in new]

    finite = (torch.cat(of(1)) - torch.cat(of(-1))) / (2 * h)
    loss, one = _Fixed(gradient, to[2]), torch.ones(1, 1, dtype=torch.float64)
    exact = rule.forwards((theta, memory), (to[0][None], to[1][None]), step, lr, loss, one)
    missed = torch.cat([part[0] for part in exact]) - finite
    alone = rule.forwards((theta, memory), (0 * to[0][None], 0 * to[1][None]), step, lr, loss, one)
    errors, way = [_relative(missed, finite)], of(0)[0] - theta
    for mine, steps in zip(rule.of_each(), rule.turn(step), strict=True):
        if not steps:
            continue
        errors.append(_relative(missed[mine], finite[mine]))
        if not alone[0][0, mine].any() and gradient[mine].any() and way[mine].any():
            return 1.0
    return float(np.max(errors))


def _relative(missed: torch.Tensor, finite: torch.Tensor) -> float:
    size = float(finite.norm())
    return float(missed.norm()) / (size if size > 0 else 1.0)


def check_step(rule: OptimizerStep, state: State, gradient: torch.Tensor, step: int, lr) -> float:
    """The error of a step's derivative, refused where it is too large.

    Raises
    ------
    UnsupportedOptimizerError
        With the figure.
    """
    error = step_error(rule, state, gradient, step, lr)
    if not error <= TOLERANCE:
        raise UnsupportedOptimizerError(
            f"The derivative of a step of {rule.kind} differs from a finite difference of the step "
            f"by {error:.1e} of it at step {step} ({TOLERANCE:g} is allowed): its code takes "
            "numbers out of torch, compares, or steps by signs, so exact influence would be "
            "wrong. TRAK and influence functions work from checkpoints of any optimizer."
        )
    return error
