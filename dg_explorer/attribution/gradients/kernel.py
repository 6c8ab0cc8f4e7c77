"""Kernel: exact inner products of per-example gradients, parameter by parameter, in tiles."""

from __future__ import annotations

import torch

from ...errors import NonFiniteError
from .factors import Factor
from .joining import aligned

TILE = 512  # a float32 tile of 1 MB stays in the cache while all layers add to it


def gram(left: list[Factor], right: list[Factor] | None = None) -> torch.Tensor:
    """Inner products of the gradients of two sets of examples, summed over parameters.

    Parameters
    ----------
    left, right : factors of the same parameters, in any order; `right` left out means `left`
        with itself, of which only one triangle is computed.

    Returns
    -------
    shape (n_left, n_right), in the precision of the factors

    Raises
    ------
    FactorMismatchError
        The two sets are of different parameters; names one.
    """
    same = right is None
    left, right = (left, left) if same else aligned(left, right)
    n, m = len(left[0]), len(right[0])
    out = like(left).new_zeros(n, m)
    for i in range(0, n, TILE):
        rows = [f.take(slice(i, i + TILE)) for f in left]
        for j in range(i if same else 0, m, TILE):
            columns = [f.take(slice(j, j + TILE)) for f in right]
            tile = inner_products(rows, columns)
            out[i : i + TILE, j : j + TILE] = tile
            if same and j > i:
                out[j : j + TILE, i : i + TILE] = tile.T
    if not torch.isfinite(out).all():
        raise NonFiniteError("The kernel of gradients is not finite; the gradients overflow.")
    return out


def diagonal(layers: list[Factor]) -> torch.Tensor:
    """Squared norms of the gradients of each example, float64, shape (example,)."""
    n = len(layers[0])
    out = torch.empty(n, dtype=torch.float64, device=like(layers).device)
    step = 32
    for i in range(0, n, step):
        rows = [f.take(slice(i, i + step)) for f in layers]
        out[i : i + step] = inner_products(rows, rows).diagonal().double()
    return out


def like(layers: list[Factor]) -> torch.Tensor:
    """A tensor of the precision and on the device of the factors."""
    first = layers[0]
    return first.d if hasattr(first, "d") else first.gradient


def inner_products(rows: list[Factor], columns: list[Factor]) -> torch.Tensor:
    """The same for two aligned sets that are small enough to be taken at once."""
    tile = like(rows).new_zeros(len(rows[0]), len(columns[0]))
    for a, b in zip(rows, columns, strict=True):
        if type(a) is type(b):
            a.add_gram(b, tile)
        else:  # one batch was cheaper written out, another factored
            tile.addmm_(a.flat(), b.flat().T)
    return tile
