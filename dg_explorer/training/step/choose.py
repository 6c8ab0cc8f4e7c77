"""Which rule takes a recorded optimizer's steps: by hand, generic, or none and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .by_hand import OptimizerSettings, UnsupportedOptimizerError, settings_from_torch
from .generic import GradientChange, OptimizerStep, ThetaChange

_SIGN = (
    "steps by the sign of the gradient, so that the weight of an example has a derivative of "
    "exactly 0 almost everywhere"
)
_HISTORY = (
    "chooses its step length by comparing its own past steps, which no derivative of one step sees"
)
# class -> why there is no exact derivative, whatever library it is from
_REFUSED = {
    "LBFGS": "takes several steps in one and stops by comparing losses",
    "SparseAdam": "steps only the rows that the batch touched, with sparse gradients",
    "Rprop": _SIGN,
    "Lion": _SIGN,
    "SignSGD": _SIGN,
    "Signum": _SIGN,
    "Tiger": _SIGN,
    "SOAP": "turns into eigenvectors; their derivative is without bound where values are close",
    "Shampoo": "takes roots of matrices; their derivative is without bound where values are close",
    "Prodigy": _HISTORY,
    "DAdaptAdaGrad": _HISTORY,
    "DAdaptAdam": _HISTORY,
    "DAdaptSGD": _HISTORY,
    "OrthoGrad": "takes the weights' part out of the gradient and gives it the old length; the "
    "derivative of that misses what a run does",
}
REMAINING = (
    "TRAK, TracIn and influence functions work from checkpoints of any optimizer; train with SGD, "
    "Adam, AdamW, Muon or another of torch.optim for exact influence."
)


def check_optimizer(optimizer: torch.optim.Optimizer | type | str) -> None:
    """Refuse an optimizer with steps that no exact derivative goes through.

    Raises
    ------
    UnsupportedOptimizerError
        With the reason. Others may still fail the check of a step.
    """
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    name = optimizer if isinstance(optimizer, str) else kind.__name__
    known = {n.lower(): why for n, why in _REFUSED.items()}
    if name.lower() in known:
        raise UnsupportedOptimizerError(
            f"No exact derivative goes through {name}: it {known[name.lower()]}. {REMAINING}"
        )


def step_from_torch(
    optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    named_parameters: Sequence[tuple[str, torch.Tensor]],
    *,
    lr: Callable[[int, int], Any] | None = None,
    change_gradient: GradientChange | None = None,
    change_theta: ThetaChange | None = None,
) -> OptimizerSettings | OptimizerStep:
    """The rule of a training's optimizers, differentiable.

    That of SGD, Adam and AdamW is written by hand where it is equal; any other is the optimizer's
    own `step`.

    Parameters
    ----------
    optimizers : torch optimizers that have not stepped yet, made for this
    named_parameters, lr, change_gradient, change_theta
        See `OptimizerStep`. By hand, `lr` is the rate of the first group, the others keep their
        ratio to it.

    Raises
    ------
    UnsupportedOptimizerError
        By name, with the reason.
    """
    one = isinstance(optimizers, torch.optim.Optimizer)
    several = [optimizers] if one else list(optimizers)
    for optimizer in several:
        check_optimizer(optimizer)
    if len(several) == 1 and not change_gradient and not change_theta:
        try:
            return settings_from_torch(several[0], list(named_parameters), lr=lr)
        except UnsupportedOptimizerError:
            pass  # a setting that is not written by hand
    return OptimizerStep(
        several,
        named_parameters,
        lr=lr,
        change_gradient=change_gradient,
        change_theta=change_theta,
    )
