"""Capture: one forward pass, one backward to the layers' outputs, gradients of every example.

Hooks keep each layer's input and output; `torch.autograd.grad` of the summed output by the
layers' outputs gives every example's output gradient at once, with the parameters themselves
out of the graph. What hooks cannot see (raw parameters, attention projections, layers used
behind the module's back) is found by comparing with plain autograd on a few examples, and
taken by `vmap` instead. Silence is not an option: on the layers it gets wrong, an unchecked
kernel is off by up to a third and looks fine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import DataError, NonFiniteError, SettingError
from .batches import batch_length, take
from .factors import Explicit, Factor
from .layers import factor, knows, own_parameters
from .memory import memory_advice
from .tasks import Task

# (prediction, batch) -> scalars to differentiate, shape (example,) or (example, row)
Outputs = Callable[[object, object], torch.Tensor]

TOLERANCE = 1e-3


class UnsupportedModelError(SettingError):
    """Per-example gradients of this model cannot be had correctly."""


@dataclass
class Captured:
    """One batch: factors[row][layer] and what the task said about its examples."""

    factors: list[list[Factor]]
    output: torch.Tensor
    weight: torch.Tensor

    def __len__(self):
        return len(self.output)


@dataclass
class Capture:
    """How to take per-example gradients of one model; made by `attach`.

    hooked : module name -> (weight name, bias name), each None if not attributed
    raw : names of parameters taken by `vmap` instead of hooks
    copies : layer outputs are copied before the model goes on (in-place activations)
    errors : relative error against plain autograd of each parameter, by name
    """

    model: nn.Module
    task: Task
    hooked: dict[str, tuple[str | None, str | None]]
    raw: list[str] = field(default_factory=list)
    copies: bool = False
    looped: bool = False
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> list[str]:
        """Every parameter attributed, in the model's own order."""
        covered = {name for pair in self.hooked.values() for name in pair if name}
        covered.update(self.raw)
        return [name for name, _ in self.model.named_parameters() if name in covered]

    def __call__(self, batch, outputs: Outputs | None = None) -> Captured:
        """Gradients of `outputs` (by default the task's output) for every example of a batch."""
        advice = "Lower batch_size (or serve smaller batches), or name fewer layers with layers="
        with undisturbed(self.model), memory_advice(advice):
            return self._run(batch, outputs or self.task.output)

    def _run(self, batch, outputs: Outputs) -> Captured:
        n = batch_length(batch)
        modules = dict(self.model.named_modules())
        calls: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {k: [] for k in self.hooked}
        handles = [
            modules[name].register_forward_hook(self._keep(calls[name]), with_kwargs=True)
            for name in self.hooked
        ]
        try:
            with torch.enable_grad():
                prediction = self.task.predict(self.model, batch)
                self.task.check(prediction, batch)
                values = outputs(prediction, batch)
                rows = values[:, None] if values.ndim == 1 else values
        finally:
            for handle in handles:
                handle.remove()
        if rows.shape[0] != n:
            raise DataError(f"{n} examples gave outputs of shape {tuple(values.shape)}.")
        layers = [name for name in calls if calls[name]]
        kept = [out for name in layers for _, out in calls[name]]
        factors = []
        for r in range(rows.shape[1]):
            gradients = self._backward(rows[:, r].sum(), kept, r + 1 < rows.shape[1])
            found = []
            for name in self.hooked:
                uses = [(x, gradients.pop(0)) for x, _ in calls[name]]
                found.append(_factor_or_zero(modules[name], *self.hooked[name], uses, n, rows))
            if self.raw:
                found.append(self._raw_gradients(batch, outputs, r, values.ndim == 2))
            factors.append(found)
        prediction = prediction.detach() if torch.is_tensor(prediction) else prediction
        with torch.no_grad():
            output = self.task.output(prediction, batch).detach().double()
            weight = self.task.weight(prediction, batch).detach().double()
        return Captured(factors, output, weight)

    def _keep(self, calls: list):
        def hook(module, args, kwargs, out):
            x = args[0] if args else kwargs["input"]
            if not out.requires_grad:
                out.requires_grad_()
            calls.append((x.detach(), out))
            return out.clone() if self.copies else None

        return hook

    def _backward(self, total, kept, retain) -> list[torch.Tensor]:
        if not kept or not total.requires_grad:
            return [torch.zeros_like(out) for out in kept]
        found = torch.autograd.grad(total, kept, retain_graph=retain, allow_unused=True)
        return [torch.zeros_like(out) if g is None else g for g, out in zip(found, kept)]

    def _raw_gradients(self, batch, outputs, row, many) -> Explicit:
        own = dict(self.model.named_parameters())
        rest = {k: v.detach() for k, v in own.items()} | dict(self.model.named_buffers())
        raw = {name: rest.pop(name) for name in self.raw}

        def one(values, example):
            single = _map_tensors(example, lambda x: x[None])

            def called(*args, **kwargs):
                return functional_call(self.model, rest | values, args, kwargs)

            for attribute in ("config", "device", "dtype"):
                if hasattr(self.model, attribute):
                    setattr(called, attribute, getattr(self.model, attribute))
            found = outputs(self.task.predict(called, single), single)
            return (found[:, row] if many else found).sum()

        n = batch_length(batch)
        if self.looped:
            each = [grad(one)(raw, take(batch, i)) for i in range(n)]
            found = {name: torch.stack([e[name] for e in each]) for name in raw}
        else:
            found = _vmapped(one, raw, batch)
        dtype = next(iter(found.values())).dtype
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return Explicit(
            torch.cat([found[name].reshape(n, -1).to(wide) for name in self.raw], 1),
            tuple(self.raw),
            tuple(tuple(raw[name].shape) for name in self.raw),
        )


def _vmapped(one, raw, batch):
    leaves, spec = torch.utils._pytree.tree_flatten(batch)
    dims = [0 if torch.is_tensor(leaf) else None for leaf in leaves]

    def flat(values, *tensors):
        return grad(one)(values, torch.utils._pytree.tree_unflatten(list(tensors), spec))

    # the fused attention kernels have no batching rule and would run example by example
    with sdpa_kernel(SDPBackend.MATH):
        return vmap(flat, in_dims=(None, *dims), randomness="error")(raw, *leaves)


def _map_tensors(batch, change):
    return torch.utils._pytree.tree_map(lambda x: change(x) if torch.is_tensor(x) else x, batch)


def _factor_or_zero(module, weight, bias, uses, n, like) -> Factor:
    """The layer's factor; exact zeros where this batch did not pass through it."""
    if uses:
        wide = torch.float64 if uses[0][1].dtype == torch.float64 else torch.float32
        uses = [(x.to(wide) if x.is_floating_point() else x, d.to(wide)) for x, d in uses]
        return factor(module, weight, bias, uses, n)
    zero = {p: getattr(module, p.rpartition(".")[2]) for p in (weight, bias) if p}
    size = sum(p.numel() for p in zero.values())
    shapes = tuple(tuple(p.shape) for p in zero.values())
    return Explicit(like.new_zeros(n, size), tuple(zero), shapes)


@contextmanager
def undisturbed(model: nn.Module):
    """Evaluation mode with the parameters out of the graph; everything put back afterwards."""
    training = {module: module.training for module in model.modules()}
    tracked = {parameter: parameter.requires_grad for parameter in model.parameters()}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        for parameter in tracked:
            parameter.requires_grad_(False)
        # the fused attention path bypasses the modules we watch
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in training.items():
            module.training = mode
        for parameter, flag in tracked.items():
            parameter.requires_grad_(flag)


def select_parameters(model: nn.Module, layers=None) -> list[str]:
    """Names of the trainable parameters, or of those in the named layers.

    `layers` holds module or parameter names or patterns: "blocks.0", "*.mlp", "head.weight".
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    if layers is None:
        chosen = names
    else:
        layers = [layers] if isinstance(layers, str) else list(layers)
        chosen = []
        for wanted in layers:
            hits = [n for n in names if fnmatchcase(n, wanted) or fnmatchcase(n, f"{wanted}.*")]
            if not hits:
                raise SettingError(
                    f"No layer matches {wanted!r}; the model's parameters are {', '.join(names)}."
                )
            chosen += hits
    if not chosen:
        raise SettingError(
            "The model has no trainable parameter: every one has requires_grad=False."
        )
    wanted = set(chosen)
    return [name for name in names if name in wanted]


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
    plan = Capture(model, task, _hookable(model, wanted, probe, task))
    plan.copies = any(getattr(m, "inplace", False) for m in model.modules())
    errors = _try(plan, probe, truth)
    if errors is None and not plan.copies:
        plan.copies = True
        errors = _try(plan, probe, truth)
    if errors is None:
        errors = dict.fromkeys(wanted, float("inf"))
    bad = {name for name in wanted if errors.get(name, float("inf")) > TOLERANCE}
    if bad:
        _take_raw(plan, bad, wanted)
        errors = _try(plan, probe, truth)
        if errors is None or max(errors.values()) > TOLERANCE:
            plan.looped = True
            errors = _try(plan, probe, truth, complain=True)
    worst = max(errors, key=errors.get)
    if errors[worst] > TOLERANCE:
        raise UnsupportedModelError(
            f"The gradient of {worst!r} is off by {errors[worst]:.1e} against plain autograd, one "
            f"example at a time. Leave the layer out with layers=."
        )
    plan.errors = errors
    return plan


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


def _try(plan, probe, truth, complain=False) -> dict[str, float] | None:
    """Relative error by parameter; None where the plan does not run at all."""
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


__all__ = [
    "Capture",
    "Captured",
    "UnsupportedModelError",
    "attach",
    "explicit_gradients",
    "select_parameters",
    "undisturbed",
]
