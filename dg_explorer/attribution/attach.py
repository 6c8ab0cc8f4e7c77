"""Attach: decide how each parameter's gradients are taken, and check it against plain autograd.

What hooks cannot see (raw parameters, attention projections, layers used behind the module's
back) is found by comparing with plain autograd on a few examples, and taken by `vmap` instead.
Silence is not an option: on the layers it gets wrong, an unchecked kernel is off by up to a
third and looks fine.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from ..errors import DataError, NonFiniteError, SettingError
from .batches import batch_length, take
from .capture import Capture, Outputs, select_parameters, undisturbed
from .layers import knows, own_parameters
from .tasks import Task

TOLERANCE = 1e-3


class UnsupportedModelError(SettingError):
    """Per-example gradients of this model cannot be had correctly."""


class SlowGradientsWarning(UserWarning):
    """Some layers are of a kind that hooks do not know, so their gradients take longer."""


def attach(model: nn.Module, task: Task, batch, *, layers=None, examples: int = 4) -> Capture:
    """Decide how each parameter's gradients are taken, and check it against plain autograd.

    Raises
    ------
    UnsupportedModelError
        Some parameter is off by more than 1e-3 whichever way it is taken.
    """
    wanted = select_parameters(model, layers)
    probe = take(batch, slice(0, min(examples, batch_length(batch))))
    truth = explicit_gradients(model, task, probe, wanted)
    for name, gradient in truth.items():
        if not torch.isfinite(gradient).all():
            raise NonFiniteError(
                f"The gradient of {name!r} is not finite. Check the checkpoint and the inputs."
            )
    _check_independent(model, task, probe)
    # at a kink (a ReLU at zero) rounding decides, and rounding depends on the size of the batch:
    # whoever agrees with either way of asking is right
    truths = [_gradients_together(model, task, probe, wanted), truth]
    plan = Capture(model, task, _hookable(model, wanted, probe, task))
    plan.copies = any(getattr(m, "inplace", False) for m in model.modules())
    errors = _try(plan, probe, truths)
    if errors is None and not plan.copies:
        plan.copies = True
        errors = _try(plan, probe, truths)
    if errors is None:
        errors = dict.fromkeys(wanted, float("inf"))
    bad = {name for name in wanted if errors.get(name, float("inf")) > TOLERANCE}
    if bad:
        _take_raw(plan, bad, wanted)
        errors = _try(plan, probe, truths)
        if errors is None or max(errors.values()) > TOLERANCE:
            plan.looped = True
            errors = _try(plan, probe, truths, complain=True)
    worst = max(errors, key=errors.get)
    if errors[worst] > TOLERANCE:
        raise UnsupportedModelError(
            f"The gradient of {worst!r} is off by {errors[worst]:.1e} against plain autograd, one "
            f"example at a time. Leave the layer out with layers=."
        )
    plan.errors = errors
    if plan.raw:
        _say_fallback(plan)
    return plan


def _say_fallback(plan: Capture) -> None:
    """Python shows a warning of one text from one line once, so an ensemble says this once."""
    way = "one example at a time" if plan.looped else "by vmap"
    warnings.warn(
        f"Hooks do not see the gradients of {', '.join(plan.raw)}; they are taken {way}: as exact, "
        f"but slower. Leave them out with layers= if speed matters more.",
        SlowGradientsWarning,
        stacklevel=1,
    )


def _check_independent(model, task, probe) -> None:
    """Refuse a model whose answer to an example depends on the rest of the batch."""
    with undisturbed(model), torch.no_grad():

        def answer(batch):
            return task.output(task.predict(model, batch), batch).double()

        together = answer(probe)
        alone = torch.cat(
            [answer(take(probe, slice(i, i + 1))) for i in range(batch_length(probe))]
        )
    off = float((together - alone).norm() / (alone.norm() + 1e-300))
    if off > 100 * TOLERANCE:
        raise UnsupportedModelError(
            f"The model's outputs for four examples together and one by one differ by "
            f"{off:.1e}: examples of a batch see each other, so none has a gradient of its own. "
            f"Normalise over features instead of over the batch."
        )


def _hookable(model, wanted, probe, task):
    """Known modules that are called in a forward pass and own their parameters alone."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    called: set[str] = set()
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, module in model.named_modules()
    ]
    try:
        with undisturbed(model), torch.no_grad():
            task.check(task.predict(model, probe), probe)
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name, module in model.named_modules():
        if name not in called or not knows(module):
            continue
        if any(owners[id(p)] > 1 for p in module.parameters(recurse=False)):
            continue  # tied weights
        full = {p: f"{name}.{p}" if name else p for p in own_parameters(module)}
        pair = tuple(
            full[p] if p in full and full[p] in wanted else None for p in ("weight", "bias")
        )
        if any(pair):
            found[name] = pair
    return found


def _take_raw(plan: Capture, bad: set[str], wanted: list[str]) -> None:
    for name, pair in list(plan.hooked.items()):
        if bad.intersection(p for p in pair if p):
            del plan.hooked[name]
    covered = {p for pair in plan.hooked.values() for p in pair if p}
    plan.raw = [name for name in wanted if name not in covered]


def _try(plan, probe, truths, complain=False) -> dict[str, float] | None:
    """Relative error by parameter, by the nearer truth; None where the plan does not run."""
    try:
        layers = plan(probe).factors[0]
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if complain and not isinstance(error, (DataError, SettingError)):
            raise UnsupportedModelError(
                f"Per-example gradients of this model failed: {error}"
            ) from error
        if isinstance(error, (DataError, SettingError)):
            raise
        return None
    found = {k: v for f in layers for k, v in f.gradients().items()}
    tried = [_errors(found, truth) for truth in truths]
    return {name: min(errors[name] for errors in tried) for name in tried[0]}


def _errors(found: dict, truth: dict) -> dict[str, float]:
    size = torch.stack([g.double().square().sum() for g in truth.values()]).sum().sqrt()
    errors = {}
    for name, right in truth.items():
        if name not in found:
            errors[name] = float("inf")
            continue
        off = (found[name].double() - right.double()).norm()
        # a gradient that is all but zero is judged by the whole model's
        errors[name] = float(off / (right.double().norm() + 1e-6 * size + 1e-300))
    return errors


def _gradients_together(model, task: Task, probe, names: list[str]) -> dict[str, torch.Tensor]:
    """Gradients of each example's output, from one forward pass of them all."""
    chosen = dict(model.named_parameters())
    with undisturbed(model), torch.enable_grad():
        for name in names:
            chosen[name].requires_grad_(True)
        wanted = [chosen[name] for name in names]
        outputs = task.output(task.predict(model, probe), probe)
        each = [
            torch.autograd.grad(one.sum(), wanted, allow_unused=True, retain_graph=True)
            for one in outputs
        ]
    zeros = [torch.zeros_like(p) for p in wanted]
    return {
        name: torch.stack([z if g is None else g.detach() for g in column])
        for name, z, column in zip(names, zeros, zip(*each, strict=True), strict=True)
    }


def explicit_gradients(
    model: nn.Module, task: Task, batch, names: list[str], outputs: Outputs | None = None
) -> dict[str, torch.Tensor]:
    """Gradients of the output by plain autograd, one example at a time: slow, and the truth.

    Returns
    -------
    dict of parameter name -> tensor, shape (example, *parameter)
    """
    outputs = outputs or task.output
    chosen = dict(model.named_parameters())
    each = []
    with undisturbed(model), torch.enable_grad():
        for name in names:
            chosen[name].requires_grad_(True)
        wanted = [chosen[name] for name in names]
        for i in range(batch_length(batch)):
            single = take(batch, slice(i, i + 1))
            prediction = task.predict(model, single)
            task.check(prediction, single)
            total = outputs(prediction, single).sum()
            found = torch.autograd.grad(total, wanted, allow_unused=True)
            each.append(
                [torch.zeros_like(p) if g is None else g.detach() for g, p in zip(found, wanted)]
            )
    return {name: torch.stack(g) for name, g in zip(names, zip(*each, strict=True))}
