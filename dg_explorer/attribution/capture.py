"""Capture: one forward pass, one backward to the layers' outputs, gradients of every example.

Hooks keep each layer's input and output; `torch.autograd.grad` of the summed output by the
layers' outputs gives every example's output gradient at once, with the parameters themselves
out of the graph. What hooks cannot see is taken by `vmap` instead; `attach` finds out what.
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

from ..errors import DataError, SettingError
from .batches import batch_length, take
from .factors import Explicit, Factor
from .gradients.memory import memory_advice
from .layers import factor
from .tasks import Task

# (prediction, batch) -> scalars to differentiate, shape (example,) or (example, row)
Outputs = Callable[[object, object], torch.Tensor]


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
            own = outputs == self.task.output
            output = values if own else self.task.output(prediction, batch)
            output = output.detach().double()
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
