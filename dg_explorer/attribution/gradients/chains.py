"""Chains: from the gradient of what an operation used to that of the parameter behind it.

A transpose only swaps the sides of outer products. A position table read at 0, 1, 2, ... keeps
its rows. Anything else (a slice, a weight norm, two low-rank matrices multiplied) is undone by
autograd itself, for all examples at once.
"""

from __future__ import annotations

import torch
from torch.autograd.graph import GradientEdge

from .convolution import Convolution
from .factors import Explicit, Factor, Lookup, Outer, Shared
from .graph import Use, operation
from .rules import Images, Part, Products, TableRows

IDLE = frozenset({"ToCopy", "Alias", "Clone"})  # nothing but a copy or another precision
RESHAPES = IDLE | {"View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze"}

Form = Outer | Lookup | Convolution | torch.Tensor  # a tensor is (example, *parameter)


def pulled_back(
    part: Part, use: Use, shape: tuple[int, ...], parameters: dict[str, torch.nn.Parameter]
) -> dict[str, Form]:
    """Gradients of the parameters behind one use, in as small a form as they allow.

    Parameters
    ----------
    part : gradient of the operand, as the rule of the operation gives it
    shape : of the operand
    parameters : all those from which the operand was made, by name
    """
    steps = [step for step in use.chain if operation(step) not in IDLE]
    if len(parameters) == 1:
        ((name, parameter),) = parameters.items()
        found = _plain(part, steps, name, parameter)
        if found is not None:
            return {name: found}
        if not steps:
            written = _written(part, shape)
            return {name: written.reshape(len(written), *parameter.shape)}
    written = _written(part, shape)
    return _by_autograd(written, use, parameters)


def swaps(steps) -> bool | None:
    """Whether steps of a chain transpose a matrix on the whole; None where they do more."""
    turned = False
    for step in steps:
        name = operation(step)
        if name == "Transpose":
            dims = {step._saved_dim0 % 2, step._saved_dim1 % 2}
            if len(step._input_metadata[0].shape) != 2:
                return None
            turned ^= len(dims) == 2
        elif name == "Permute":
            if len(step._input_metadata[0].shape) != 2:
                return None
            turned ^= step._saved_dims[0] % 2 == 1
        elif name == "T":
            turned = not turned
        else:
            return None
    return turned


def _plain(part: Part, steps, name: str, parameter) -> Form | None:
    if isinstance(part, Products):
        turned = swaps(steps) if parameter.ndim == 2 else (None if steps else False)
        if turned is None:
            return None
        left, right = (part.right, part.left) if turned else (part.left, part.right)
        return Outer(right, left, name, None, tuple(parameter.shape))
    if isinstance(part, Images):
        if steps:
            return None
        return Convolution(part.x, part.d, name, None, tuple(parameter.shape), part.geometry)
    if isinstance(part, TableRows):
        if steps or parameter.ndim != 2:
            return None
        return Lookup(part.tokens, part.d, name, len(parameter))
    if steps and operation(steps[0]) == "Embedding" and parameter.ndim == 2:
        return _positions(part, steps, name, parameter)
    return None


def _positions(part: torch.Tensor, steps, name: str, parameter) -> Lookup | None:
    """A table read at the same rows for every example, such as learned positions."""
    table, *others = steps
    if any(operation(step) not in RESHAPES for step in others) or table._saved_scale_grad_by_freq:
        return None
    tokens = table._saved_indices.flatten()
    d = part.reshape(len(part), len(tokens), parameter.shape[1])
    padding = table._saved_padding_idx
    if padding is not None and 0 <= padding < len(parameter):
        d = d * (tokens != padding)[:, None]
    return Lookup(tokens.expand(len(part), -1), d, name, len(parameter))


def _written(part: Part, shape: tuple[int, ...]) -> torch.Tensor:
    if isinstance(part, Products):
        return (part.left.mT @ part.right).reshape(-1, *shape)
    if isinstance(part, TableRows):
        return Lookup(part.tokens, part.d, "operand", shape[0]).gradients()["operand"]
    if isinstance(part, Images):
        found = Convolution(part.x, part.d, "operand", None, shape, part.geometry)
        return found.gradients()["operand"]
    return part.reshape(len(part), *shape)


def _by_autograd(written: torch.Tensor, use: Use, parameters) -> dict[str, Form]:
    """Every example's gradient sent back through the chain."""
    node, number = use.operand
    edge = [GradientEdge(node, number)]
    wanted = list(parameters.values())
    written = written.to(node._input_metadata[number].dtype)
    try:
        found = torch.autograd.grad(
            edge, wanted, [written], retain_graph=True, is_grads_batched=True, allow_unused=True
        )
    except RuntimeError:  # an operation that autograd knows for one gradient only
        each = [
            torch.autograd.grad(edge, wanted, [one], retain_graph=True, allow_unused=True)
            for one in written
        ]
        found = [None if column[0] is None else torch.stack(column) for column in zip(*each)]
    return {
        name: written.new_zeros(len(written), *p.shape) if g is None else g
        for (name, p), g in zip(parameters.items(), found, strict=True)
    }


def combined(forms: list[Form], name: str, shape: tuple[int, ...]) -> Factor:
    """One factor from all uses of a parameter: positions one after another where forms agree."""
    if any(isinstance(form, Convolution) for form in forms) and len(forms) > 1:
        forms = [f.outer() if isinstance(f, Convolution) else f for f in forms]
    if len(forms) == 1 and isinstance(forms[0], Factor):
        return forms[0]
    outers = [f for f in forms if isinstance(f, Outer)]
    lookups = [f for f in forms if isinstance(f, Lookup)]
    if len(outers) + len(lookups) == len(forms):
        parts = []
        if outers:
            a, d = (torch.cat([getattr(f, x) for f in outers], 1) for x in "ad")
            parts.append(Outer(a, d, name, None, shape))
        if lookups:
            tokens = torch.cat([f.tokens for f in lookups], 1)
            d = torch.cat([f.d for f in lookups], 1)
            parts.append(Lookup(tokens, d, name, shape[0]))
        return parts[0] if len(parts) == 1 else Shared(tuple(parts))
    total, *more = (f if isinstance(f, torch.Tensor) else f.gradients()[name] for f in forms)
    for one in more:
        total = total + one
    return Explicit.of({name: total})
