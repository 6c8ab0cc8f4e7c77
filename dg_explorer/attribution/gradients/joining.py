"""Factors of the same parameters, joined and paired by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ...errors import DGExplorerError
from .convolution import Convolution
from .factors import Explicit, Factor, Lookup, Outer, Shared, written_out


class FactorMismatchError(DGExplorerError, ValueError):
    """Gradients of different parameters, or of different sizes, were to be put together."""


def aligned(*sets: Sequence[Factor]) -> list[list[Factor]]:
    """Sets of factors with the same parameters at the same places.

    Parameters that some set keeps together and another apart are written out.

    Raises
    ------
    FactorMismatchError
        Names a parameter that one set has and another lacks, or that has two sizes.
    """
    layouts = [[f.sizes for f in each] for each in sets]
    if all(layout == layouts[0] for layout in layouts):
        return [list(each) for each in sets]
    flat = [{name: size for sizes in layout for name, size in sizes.items()} for layout in layouts]
    for other in flat[1:]:
        for name in flat[0].keys() ^ other.keys():
            raise FactorMismatchError(
                f"The gradient of {name!r} is in one of two sets of examples and not in the other. "
                f"Compute both with the same attributor, model and layers."
            )
        for name, size in flat[0].items():
            if other[name] != size:
                raise FactorMismatchError(
                    f"The gradient of {name!r} has {size} entries in one set of examples and "
                    f"{other[name]} in another: they are not of the same model."
                )
    groups = _together(layouts)
    return [[_only(each, group) for group in groups] for each in sets]


def _together(layouts) -> list[list[str]]:
    """The finest groups of names that no set cuts through, in the first set's order."""
    group = {name: {name} for sizes in layouts[0] for name in sizes}
    for layout in layouts:
        for sizes in layout:
            joined = set().union(*(group[name] for name in sizes))
            for name in joined:
                group[name] = joined
    order = [name for sizes in layouts[0] for name in sizes]
    done: set[str] = set()
    groups = []
    for name in order:
        if name not in done:
            done |= group[name]
            groups.append([other for other in order if other in group[name]])
    return groups


def _only(factors: Sequence[Factor], group: list[str]) -> Factor:
    mine = [f for f in factors if set(f.sizes) <= set(group)]
    if len(mine) == 1 and list(mine[0].sizes) == group:
        return mine[0]
    found = {k: v for f in mine for k, v in f.gradients().items()}
    return Explicit.of({name: found[name] for name in group})


def concatenate(blocks: Sequence[Sequence[Factor]]) -> list[Factor]:
    """Join blocks of examples, layer by layer; shorter sequences are padded with zeros."""
    return [_join(list(layer)) for layer in zip(*aligned(*blocks), strict=True)]


def in_one_precision(layers: Sequence[Factor]) -> list[Factor]:
    """The same gradients in the widest precision among them: parameters may be of several."""
    kinds = {f.values.dtype for f in layers}
    return [f.to(torch.float64) for f in layers] if len(kinds) > 1 else list(layers)


def compact(found: Factor) -> Factor:
    """The same gradients in the smaller form: written out where that beats the factors."""
    if isinstance(found, Convolution):
        found = found.outer()
    if not isinstance(found, Outer) or found.a.shape[1] <= 1:
        return found
    factored = found.a.shape[1] * (found.a.shape[2] + found.d.shape[2])
    return found if found.numel >= factored else written_out(found)


def _join(parts: list[Factor]) -> Factor:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if len({type(part) for part in parts}) > 1 or isinstance(first, Explicit):
        # a batch of other length was cheaper written out
        written = [written_out(p) for p in parts]
        return replace(written[0], gradient=torch.cat([p.gradient for p in written]))
    same: Any = parts  # all of the form of the first
    if isinstance(first, Shared):
        if any(len(p.parts) != len(first.parts) for p in same):
            return _join([written_out(p) for p in parts])
        columns: Any = [_join(list(column)) for column in zip(*(p.parts for p in same))]
        return Shared(tuple(columns))
    if isinstance(first, Convolution):
        if len({(p.x.shape[1:], p.geometry) for p in same}) > 1:
            return _join([written_out(p) for p in parts])
        return replace(first, x=torch.cat([p.x for p in same]), d=torch.cat([p.d for p in same]))
    length = max(p.d.shape[1] for p in same)
    d = torch.cat([_pad(p.d, length) for p in same])
    if isinstance(first, Lookup):
        return replace(first, tokens=torch.cat([_pad(p.tokens, length) for p in same]), d=d)
    outer: Any = first
    return replace(outer, a=torch.cat([_pad(p.a, length) for p in same]), d=d)


def _pad(x: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - x.shape[1]
    if missing == 0:
        return x
    return torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], 1)
