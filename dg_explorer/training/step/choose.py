"""Which rule takes a recorded optimizer's steps: by hand, generic, or none and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
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


def makers_of(kinds: Sequence[str], make, modules: Sequence[str]) -> list[Callable]:
    """What makes each of the recorded optimizers, by the names of their classes.

    Parameters
    ----------
    make : class, callable, or list of them, optional
        For those that are none of torch's; None in a list for those that are.
    modules : list of str
        Where each class is from: others have classes of the names of torch's.

    Raises
    ------
    UnsupportedOptimizerError
        One is none of torch's and not given, or no derivative goes through it.
    """
    n = len(kinds)
    given = list(make) if isinstance(make, (list, tuple)) else [make if n == 1 else None] * n
    if len(given) != n:
        raise UnsupportedOptimizerError(
            f"optimizer= holds {len(given)} classes; this training was stepped by {n}: "
            f"{' and '.join(kinds)}. Give a list of one for each, None for those of torch."
        )
    makers = []
    modules = modules if len(modules) == n else ["torch.optim"] * n  # of earlier records
    for kind, own, module in zip(kinds, given, modules, strict=True):
        check_optimizer(kind)
        if own is None and getattr(make, "__name__", None) == kind:
            own = make
        of_torch = module.partition(".")[0] == "torch"
        home: Any = torch.optim if of_torch else None
        if module == "transformers.optimization":  # whose trainer takes it by name
            home = import_module(module)
        maker = own or getattr(home, kind, None)
        if maker is None:
            named = kind if n == 1 else f"[{', '.join(kinds)}]"
            where = "" if of_torch else f" of {module}"
            raise UnsupportedOptimizerError(
                f"This training was stepped by {kind}{where}, which is not one of torch.optim's "
                f"optimizers. Give its class: training_of_run(..., optimizer={named}); its steps "
                f"are then tried and checked. {REMAINING}"
            )
        makers.append(maker)
    return makers


def step_from_torch(
    optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    named_parameters: Sequence[tuple[str, torch.Tensor]],
    *,
    lr: Callable[[int, int], Any] | None = None,
    change_gradient: GradientChange | None = None,
    change_theta: ThetaChange | None = None,
    turns: np.ndarray | None = None,
) -> OptimizerSettings | OptimizerStep:
    """The rule of a training's optimizers, differentiable.

    That of SGD, Adam and AdamW is written by hand where it is equal; any other is the optimizer's
    own `step`.

    Parameters
    ----------
    optimizers : torch optimizers that have not stepped yet, made for this
    named_parameters, lr, change_gradient, change_theta, turns
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
        turns=turns,
    )
