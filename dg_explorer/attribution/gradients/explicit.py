"""The slow ways to per-example gradients, which need nothing of the model but that it runs.

One example at a time by plain autograd is the truth that every rule is compared with; `vmap` is
quicker where the model allows it. Gradients of complex parameters are kept as two real numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import torch
import torch._C._functorch as functorch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...data.batch import Batch
from .examples import length, some
from .watching import undisturbed

# (prediction, batch) -> scalars to differentiate, shape (example,) or (example, row)
Outputs = Callable[[object, object], torch.Tensor]


def as_real(gradient: torch.Tensor) -> torch.Tensor:
    """A dense gradient of real numbers: complex ones get a last axis of two."""
    gradient = gradient.detach()
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    return torch.view_as_real(gradient.resolve_conj()) if gradient.is_complex() else gradient


def wide(x: torch.Tensor) -> torch.Tensor:
    """In float32, or float64 where it is that already: half precision is for storage only."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def one_by_one(
    model: nn.Module, task, batch, names: list[str], outputs: Outputs | None = None
) -> list[dict[str, torch.Tensor]]:
    """Gradients of each example alone, by plain autograd: by name, shape (row, *parameter)."""
    outputs = outputs or task.output
    parameters, found = dict(model.named_parameters()), []
    with undisturbed(model, names), torch.enable_grad():
        for i in range(length(batch)):
            single = some(batch, slice(i, i + 1))
            prediction = task.predict(model, single)
            task.check(prediction, single)
            rows = outputs(prediction, single).reshape(1, -1)[0]
            each = [
                gradients_of(row, names, parameters, r + 1 < len(rows))
                for r, row in enumerate(rows)
            ]
            found.append({name: torch.stack([g[name] for g in each]) for name in names})
    return found


def gradients_of(
    value: torch.Tensor, names: list[str], parameters: dict[str, nn.Parameter], keep: bool
) -> dict[str, torch.Tensor]:
    """Gradient of one number by name; zero where a parameter has no part in it."""
    wanted = [parameters[name] for name in names]
    if value.requires_grad:
        found = torch.autograd.grad(value, wanted, allow_unused=True, retain_graph=keep)
    else:
        found = [None] * len(names)
    return {
        name: as_real(torch.zeros_like(p) if g is None else g)
        for name, p, g in zip(names, wanted, found, strict=True)
    }


def explicit_gradients(
    model: nn.Module, task, batch, names: list[str], outputs: Outputs | None = None
) -> dict[str, torch.Tensor]:
    """Gradients of the output by plain autograd, one example at a time: slow, and the truth.

    Returns
    -------
    dict of parameter name -> tensor, shape (example, *parameter)
    """
    each = one_by_one(model, task, batch, names, outputs)
    return {name: torch.stack([found[name][0] for found in each]) for name in names}


def by_vmap(model, task, batch, names: list[str], outputs: Outputs, row: int) -> dict:
    """Gradients of one row of the outputs by `torch.func`, all examples at once."""
    own = dict(model.named_parameters())
    rest = {k: v.detach() for k, v in own.items()} | dict(model.named_buffers())
    values = {name: rest.pop(name) for name in names}
    leaves, axes, rebuild = _taken_apart(batch)

    def one(values, *tensors):
        single = rebuild(
            [t if axis is None else t.unsqueeze(axis) for t, axis in zip(tensors, axes)]
        )

        def called(*args, **kwargs):
            return functional_call(model, rest | values, args, kwargs)

        for attribute in ("config", "device", "dtype"):
            if hasattr(model, attribute):
                setattr(called, attribute, getattr(model, attribute))
        return outputs(task.predict(called, single), single).reshape(-1)[row]

    # the fused attention kernels have no batching rule and would run example by example
    with _quiet_fallback(), sdpa_kernel(SDPBackend.MATH):
        found = vmap(grad(one), in_dims=(None, *axes), randomness="error")(values, *leaves)
    return {name: as_real(found[name]) for name in names}


@contextmanager
def _quiet_fallback():
    """Without torch's request to be told of each operation that has no batching rule."""
    quieten = getattr(functorch, "_set_vmap_fallback_warning_enabled", lambda _: None)
    quieten(False)
    try:
        yield
    finally:
        quieten(True)


def _taken_apart(batch) -> tuple[list, list, Callable]:
    """Tensors of a batch, the axis of the examples in each, and the way back."""
    if isinstance(batch, Batch):
        leaves, axes, as_batch = batch.tensors()
        return leaves, axes, lambda tensors: as_batch(tensors, batch.ids[:1])
    leaves, spec = tree_flatten(batch)
    where = [i for i, leaf in enumerate(leaves) if torch.is_tensor(leaf)]
    n = length(batch)

    def rebuild(tensors):
        filled = list(leaves)
        for i, tensor in zip(where, tensors, strict=True):
            filled[i] = tensor
        return tree_unflatten(filled, spec)

    tensors = [leaves[i] for i in where]
    axes = [0 if t.ndim and t.shape[0] == n else None for t in tensors]
    return tensors, axes, rebuild
