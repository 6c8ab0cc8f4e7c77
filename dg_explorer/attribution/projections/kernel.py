"""Kernel: exact inner products of per-example gradients, parameter by parameter, in tiles."""

from __future__ import annotations

import torch

from ...errors import NonFiniteError
from ..gradients.factors import Explicit, Factor, Lookup, Outer, layer_names
from ..gradients.joining import aligned
from .sketches import FactoredSketch

TILE = 512  # a float32 tile of 1 MB stays in the cache while all layers add to it
WRITTEN = 1 << 27  # entries of gradients up to which all their inner products are computed
SKETCHED = 1024  # width of the sketch that is enough for the sum of their squares


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
    out = left[0].values.new_zeros(n, m)
    for i in range(0, n, TILE):
        rows = [f.take(slice(i, i + TILE)) for f in left]
        for j in range(i if same else 0, m, TILE):
            columns = [f.take(slice(j, j + TILE)) for f in right]
            tile = _tile(rows, columns)
            out[i : i + TILE, j : j + TILE] = tile
            if same and j > i:
                out[j : j + TILE, i : i + TILE] = tile.T
    if not torch.isfinite(out).all():
        raise NonFiniteError("The kernel of gradients is not finite; the gradients overflow.")
    return out


def gram_by_layer(left: list[Factor], right: list[Factor]) -> dict[str, torch.Tensor]:
    """Inner products within each layer, by its name; over all layers they sum to `gram`.

    Returns
    -------
    dict of shape (n_left, n_right), in the precision of the factors
    """
    found: dict[str, torch.Tensor] = {}
    left, right = aligned(left, right)
    for name, a, b in zip(layer_names(left), left, right, strict=True):
        part = gram([a], [b])
        found[name] = found[name] + part if name in found else part
    return found


def diagonal(layers: list[Factor]) -> torch.Tensor:
    """Squared norms of the gradients of each example, float64, shape (example,)."""
    n = len(layers[0])
    out = torch.empty(n, dtype=torch.float64, device=layers[0].values.device)
    step = 32
    for i in range(0, n, step):
        rows = [f.take(slice(i, i + step)) for f in layers]
        out[i : i + step] = _tile(rows, rows).diagonal().double()
    return out


def squared_sum(layers: list[Factor]) -> float:
    """The sum over all pairs of examples of their squared inner product, without the matrix.

    Of many examples, or of large models, it is estimated from a sketch, for time that grows with
    the number of examples and not with that of pairs.
    """
    n = len(layers[0])
    if n * sum(f.numel for f in layers) > WRITTEN:
        return _sketched_squared_sum(layers)
    total = 0.0
    blocks = [[f.take(slice(i, i + TILE)) for f in layers] for i in range(0, n, TILE)]
    for i, rows in enumerate(blocks):
        total += float(_tile(rows, rows).double().square().sum())
        for columns in blocks[i + 1 :]:
            total += 2 * float(_tile(rows, columns).double().square().sum())
    return total


def _sketched_squared_sum(layers: list[Factor]) -> float:
    """|Z'Z|^2 of sketches Z, less what the sketch adds on average."""
    sketch, step = FactoredSketch(SKETCHED), 32
    products = torch.zeros(SKETCHED, SKETCHED, dtype=torch.float64, device=layers[0].values.device)
    for i in range(0, len(layers[0]), step):
        z = sketch([f.take(slice(i, i + step)) for f in layers]).double()
        products.addmm_(z.T, z)
    # an inner product of sketches is off by (|g|^2 |h|^2 + (g'h)^2) / width, squared, on average
    found, lengths = float(products.square().sum()), diagonal(layers)
    corrected = (found - float(lengths.sum()) ** 2 / SKETCHED) / (1 + 1 / SKETCHED)
    return max(corrected, float(lengths.square().sum()))


def _tile(rows: list[Factor], columns: list[Factor]) -> torch.Tensor:
    tile = rows[0].values.new_zeros(len(rows[0]), len(columns[0]))
    for a, b in zip(rows, columns, strict=True):
        if type(a) is type(b):
            a.add_gram(b, tile)
        elif isinstance(b, Explicit):
            _add_written(a, b, tile)
        else:
            _add_written(b, a, tile.T)
    return tile


def _add_written(factor: Factor, written: Factor, out: torch.Tensor) -> None:
    """Add inner products with gradients that are written out to `out`, shape (n, m).

    A written gradient is often that of a whole set of examples: a few large ones, with which the
    others are multiplied position by position, so that theirs need not exist.
    """
    n, m = len(factor), len(written)
    layer = isinstance(factor, (Outer, Lookup))
    if (
        not layer
        or (m > 1 and factor.d.shape[1] > 1 and n * factor.numel <= WRITTEN)
        or list(factor.sizes) != list(written.sizes)
    ):
        out.addmm_(factor.flat(), written.flat().T)
        return
    for j in range(m):
        gradient = {k: g[0] for k, g in written.take(slice(j, j + 1)).gradients().items()}
        if isinstance(factor, Lookup):
            out[:, j] += (factor.d * gradient[factor.weight][factor.tokens]).sum((1, 2))
            continue
        if factor.weight:
            weight = gradient[factor.weight].reshape(factor.d.shape[2], factor.a.shape[2])
            out[:, j] += ((factor.d @ weight) * factor.a).sum((1, 2))
        if factor.bias:
            out[:, j] += factor.d.sum(1) @ gradient[factor.bias].flatten()
