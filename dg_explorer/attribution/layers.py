"""Layers the capture knows: from a module's input and output gradient to a factor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .convolution import Convolution, Geometry
from .factors import Explicit, Factor, Lookup, Outer

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) + (
    (nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()
)
KNOWN = (nn.Linear, nn.Embedding, *CONVOLUTIONS, *NORMS)


def own_parameters(module: nn.Module) -> list[str]:
    """Names of the parameters a module holds itself."""
    return [name for name, _ in module.named_parameters(recurse=False)]


def knows(module: nn.Module) -> bool:
    """Whether the gradient of all of a module's own parameters has a factor here."""
    if not isinstance(module, KNOWN) or set(own_parameters(module)) - {"weight", "bias"}:
        return False  # e.g. a parametrised or weight-normalised layer
    if isinstance(module, nn.Embedding):
        # scale_grad_by_freq and max_norm change what a gradient is
        return not module.scale_grad_by_freq and module.max_norm is None
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return module.track_running_stats
    return True


def factor(
    module: nn.Module,
    weight: str | None,
    bias: str | None,
    uses: list[tuple[torch.Tensor, torch.Tensor]],
    n: int,
) -> Factor:
    """The factor of one layer for `n` examples.

    Parameters
    ----------
    weight, bias : full parameter names, None for one that is absent or not attributed
    uses : (input, gradient of the output) of every call of the module in the forward pass
    """
    if isinstance(module, NORMS):
        return _norm(module, weight, bias, uses, n)
    if isinstance(module, nn.Embedding):
        tokens, d = _stack([_positions(x, d, n, 0) for x, d in uses])
        if module.padding_idx is not None:
            d = d * (tokens != module.padding_idx)[..., None]
        tokens, d = _drop_idle(tokens, d)
        return Lookup(tokens, d, weight, module.num_embeddings)
    if isinstance(module, nn.Linear):
        a, d = _drop_idle(*_stack([_positions(x, d, n, 1) for x, d in uses]))
        return Outer(a, d, weight, bias, tuple(module.weight.shape))
    if module.groups > 1:
        return _grouped(module, weight, bias, uses)
    geometry, shape = Geometry.of(module), tuple(module.weight.shape)
    if len(uses) == 1:
        x, d = (_image(u) for u in uses[0])
        return Convolution(x, d, weight, bias, shape, geometry)
    a, d = _stack([(geometry.patches(_image(x)), d.flatten(2).mT) for x, d in uses])
    return Outer(a, d, weight, bias, shape)


def _image(x):
    """One-dimensional signals as images of height 1."""
    return x[:, :, None] if x.ndim == 3 else x


def _positions(x, d, n, x_features):
    """Input and gradient as (example, position, ...); examples must vary slowest."""
    d = d.reshape(n, -1, d.shape[-1])
    x = x.reshape(n, -1, x.shape[-1]) if x_features else x.reshape(n, -1)
    return x, d


def _stack(uses):
    """A module used twice is one sequence with the positions of both uses."""
    if len(uses) == 1:
        return uses[0]
    return torch.cat([x for x, _ in uses], 1), torch.cat([d for _, d in uses], 1)


def _drop_idle(x, d):
    """Leave out positions whose gradient is zero for every example of the batch.

    A model read at its last token has many; the sum over positions does not miss them.
    """
    # mostly one example tells that every position is busy, and reading all of them takes long
    if d.shape[1] == 1 or (len(d) and bool((d[0] != 0).any(1).all())):
        return x, d
    busy = (d != 0).any(2).any(0)
    return (x, d) if bool(busy.all()) else (x[:, busy], d[:, busy])


def compact(found: Factor) -> Factor:
    """The same gradients in the smaller form: written out where that beats the factors."""
    if isinstance(found, Convolution):
        found = found.outer()
    if not isinstance(found, Outer) or found.a.shape[1] <= 1:
        return found
    factored = found.a.shape[1] * (found.a.shape[2] + found.d.shape[2])
    return found if found.numel >= factored else _explicit(found.gradients())


def _explicit(gradients: dict[str, torch.Tensor]) -> Explicit:
    return Explicit(
        torch.cat([g.flatten(1) for g in gradients.values()], 1),
        tuple(gradients),
        tuple(tuple(g.shape[1:]) for g in gradients.values()),
    )


def _grouped(module, weight, bias, uses) -> Explicit:
    total: dict[str, torch.Tensor] = {}
    groups = module.groups
    for x, d in uses:
        n = d.shape[0]
        a = Geometry.of(module).patches(_image(x)).mT.reshape(n, groups, -1, d.flatten(2).shape[2])
        g = d.flatten(2).reshape(n, groups, -1, a.shape[-1])
        found = {}
        if weight:
            found[weight] = (g @ a.mT).reshape(n, *module.weight.shape)
        if bias:
            found[bias] = d.flatten(2).sum(2)
        total = {k: total[k] + v if k in total else v for k, v in found.items()}
    return _explicit(total)


def _normalised(module, x):
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, None, None, module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, None, None, module.eps)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return F.batch_norm(x, module.running_mean, module.running_var, None, None, eps=module.eps)
    return F.rms_norm(x, module.normalized_shape, None, module.eps)


def _norm(module, weight, bias, uses, n) -> Explicit:
    total: dict[str, torch.Tensor] = {}
    for x, d in uses:
        product = _normalised(module, x) * d if weight else d
        found = {}
        for name, g in ((weight, product), (bias, d)):
            if not name:
                continue
            if isinstance(module, (nn.LayerNorm, *NORMS[5:])):
                found[name] = g.reshape(n, -1, *module.normalized_shape).sum(1)
            else:
                found[name] = g.flatten(2).sum(2) if g.ndim > 2 else g
        total = {k: total[k] + v if k in total else v for k, v in found.items()}
    return _explicit(total)
