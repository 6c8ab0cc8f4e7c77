"""What a step passes back, and how it moves, for many directions through one graph of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def vjp(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], adjoint: Sequence[Tensor]
) -> list[Tensor]:
    """Each input's derivative of the sum of outputs times adjoint, shape (query, ...)."""
    pairs = [(o, a) for o, a in zip(outputs, adjoint, strict=True) if o.requires_grad and o.numel()]
    got, n = [None] * len(inputs), len(adjoint[0])
    if pairs:
        got = torch.autograd.grad(
            [o for o, _ in pairs],
            inputs,
            [a if n > 1 else a[0] for _, a in pairs],
            is_grads_batched=n > 1,
            retain_graph=True,
            allow_unused=True,
        )
        if n == 1:
            got = [None if g is None else g[None] for g in got]
    return [x.new_zeros(n, *x.shape) if g is None else g for g, x in zip(got, inputs, strict=True)]


def jvp(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], tangents: Sequence[Tensor]
) -> list[Tensor]:
    """How outputs move along tangents of the inputs: the transpose of `vjp`, taken by it."""
    n = len(tangents[0])
    there = [o for o in outputs if o.requires_grad and o.numel()]
    moved = {id(o): o.new_zeros(n, *o.shape) for o in outputs}
    if there:
        dummies = [torch.zeros_like(o).requires_grad_() for o in there]
        back = torch.autograd.grad(there, inputs, dummies, create_graph=True, allow_unused=True)
        pairs = [
            (b, t)
            for b, t in zip(back, tangents, strict=True)
            if b is not None and b.requires_grad and b.numel()
        ]
        got = torch.autograd.grad(
            [b for b, _ in pairs],
            dummies,
            [t for _, t in pairs],
            is_grads_batched=True,
            retain_graph=True,
            allow_unused=True,
        )
        moved |= {id(o): g for o, g in zip(there, got, strict=True) if g is not None}
    return [moved[id(o)] for o in outputs]
