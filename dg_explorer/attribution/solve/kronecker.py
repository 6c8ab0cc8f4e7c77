"""K-FAC and EK-FAC: curvature layer by layer, each a Kronecker product of two small matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

import torch

from ..gradients.convolution import Convolution
from ..gradients.factors import Explicit, Factor, Outer, layer_names
from ..gradients.joining import aligned, concatenate
from ..projections.kernel import diagonal
from .damping import absolute_damping

CHUNK = 1 << 24  # gradient entries written out at a time
SMALL = 4096  # other parameters up to this many get their exact block, more their diagonal


class KroneckerCurvature:
    """The damped curvature of some training examples, block-diagonal by layer, each block solved.

    The block of a linear or convolutional layer is (A x S) for K-FAC, with A and S the second
    moments of inputs and output gradients, and (Q_A x Q_S) Lambda (Q_A x Q_S)' for EK-FAC, with
    Lambda the second moments of the curvature's gradients in the eigenbasis.

    Parameters
    ----------
    rows : [row][layer] factors of the curvature, one row of every training example each
    damping : "auto", float or ("absolute", float)
        As for `GaussNewton`.
    corrected : EK-FAC rather than K-FAC

    Attributes
    ----------
    added : float
        The absolute damping, the same as that of the exact solver.

    References
    ----------
    Martens & Grosse (2015), K-FAC; Grosse & Martens (2016), for convolutions; George et al.
    (2018), "Fast Approximate Natural Gradient Descent in a Kronecker-factored Eigenbasis".
    """

    def __init__(self, rows: list[list[Factor]], damping, corrected: bool):
        layers = concatenate(rows)
        trace = diagonal(layers).sum()
        self.added = absolute_damping((trace / len(rows[0][0]))[None, None], damping)
        self._bases = [basis_of(layer, corrected) for layer in layers]
        # one example of each says how the layer is laid out; the others are in the bases
        self.layers = [unfolded(layer.take(slice(0, 1))) for layer in layers]

    def by_layer(self, query: list[Factor], ascent: list[Factor]) -> dict[str, torch.Tensor]:
        """q' (H + damping I)^-1 v of each layer alone, by the layer's name; they sum to `scores`.

        Returns
        -------
        dict of float64, shape (n_query, n_ascent)
        """
        layers, query, ascent = aligned(self.layers, query, ascent)
        if [list(f.sizes) for f in layers] != [list(f.sizes) for f in self.layers]:
            # a set keeps apart what the curvature keeps together: write out what it needs
            query = [_like(factor, query) for factor in self.layers]
            ascent = [_like(factor, ascent) for factor in self.layers]
        found: dict[str, torch.Tensor] = {}
        for name, layer, basis, q, v in zip(
            layer_names(self.layers), self.layers, self._bases, query, ascent, strict=True
        ):
            scores = torch.zeros(len(q), len(v), dtype=torch.float64, device=basis.values.device)
            weight = 1 / (basis.values + self.added)
            for start, block in rotated(basis, q, layer):
                for begin, other in rotated(basis, v, layer):
                    part = (block * weight) @ other.T
                    scores[start : start + len(block), begin : begin + len(other)] += part
            found[name] = found[name] + scores if name in found else scores
        return found

    def scores(self, query: list[Factor], ascent: list[Factor]) -> torch.Tensor:
        """q' (H + damping I)^-1 v for every query gradient q and direction v."""
        first, *more = self.by_layer(query, ascent).values()
        return sum(more, first)


def basis_of(curvature: Factor, corrected: bool = True) -> KroneckerBasis | PlainBasis:
    """The eigenbasis of one layer's block."""
    curvature = unfolded(curvature)
    return KroneckerBasis(curvature, corrected) if is_layer(curvature) else PlainBasis(curvature)


def unfolded(factor: Factor) -> Factor:
    """A convolution as a linear layer of its patches; any other factor as it is."""
    return factor.outer() if isinstance(factor, Convolution) else factor


def is_layer(factor: Factor) -> TypeGuard[Outer]:
    """Whether a factor is a layer's own weight, with inputs and output gradients apart."""
    return isinstance(factor, Outer) and bool(factor.weight)


def entries(factor: Factor, layer: Factor) -> torch.Tensor:
    """Gradients written out as the basis of `layer` reads them, float64, (example, entries)."""
    layer, factor = unfolded(layer), unfolded(factor)
    found = factor.gradients()
    if not is_layer(layer):
        return torch.cat([found[name].flatten(1) for name in layer.sizes], 1).double()
    weight = found[str(layer.weight)]
    weight = weight.reshape(len(weight), layer.shape[0], -1)
    if layer.bias:
        weight = torch.cat([weight, found[layer.bias].unsqueeze(2)], 2)
    return weight.flatten(1).double()


def rotated(basis, factor: Factor, layer: Factor) -> Iterator[tuple[int, torch.Tensor]]:
    """(first example, gradients in the basis of `layer`, (example, entries)) in chunks."""
    factor = unfolded(factor)
    if type(factor) is type(layer) and list(factor.sizes) == list(layer.sizes):
        yield from basis.rotated(factor)
        return
    step = max(1, CHUNK // max(factor.numel, 1))
    for start in range(0, len(factor), step):
        part = factor.take(slice(start, start + step))
        yield start, basis.rotate(entries(part, layer))


def _like(layer: Factor, factors: list[Factor]) -> Factor:
    """The gradients of a layer's parameters out of factors that keep them otherwise."""
    mine = [f for f in factors if set(f.sizes) & set(layer.sizes)]
    found = {name: gradient for f in mine for name, gradient in f.gradients().items()}
    return Explicit.of({name: found[name] for name in layer.sizes})


class KroneckerBasis:
    """One layer's eigenbasis and the curvature's second moments in it."""

    def __init__(self, curvature: Outer, corrected: bool):
        a, d = _inputs(curvature), curvature.d.double()
        # each example's positions share the layer's weight: moments are summed over both
        input_moment = torch.einsum("nti,ntj->ij", a, a)
        output_moment = torch.einsum("nto,ntp->op", d, d)
        a_values, self.q_a = torch.linalg.eigh(input_moment)
        d_values, self.q_d = torch.linalg.eigh(output_moment)
        if corrected:
            first, *more = (block.square().sum(0) for _, block in self.rotated(curvature))
            self.values: torch.Tensor = sum(more, first)
        else:
            count = max(int(_counted(curvature).sum()), 1)
            product = d_values.clamp(min=0)[:, None] * a_values.clamp(min=0)[None, :]
            self.values = product.flatten() / count

    def rotated(self, factor: Outer) -> Iterator[tuple[int, torch.Tensor]]:
        """(first example, gradients in the eigenbasis, shape (example, entries)) in chunks."""
        size = self.q_a.shape[0] * self.q_d.shape[0]
        step = max(1, CHUNK // size)
        for start in range(0, len(factor), step):
            part = factor.take(slice(start, start + step))
            a, d = _inputs(part) @ self.q_a, part.d.double() @ self.q_d
            yield start, (d.mT @ a).flatten(1)

    def rotate(self, gradients: torch.Tensor) -> torch.Tensor:
        """Gradients written out, shape (example, entries), in the eigenbasis."""
        shape = (-1, len(self.q_d), len(self.q_a))
        return (self.q_d.T @ gradients.reshape(shape) @ self.q_a).flatten(1)

    def rotate_back(self, gradients: torch.Tensor) -> torch.Tensor:
        """From the eigenbasis to entries of the layer's weight (and bias)."""
        shape = (-1, len(self.q_d), len(self.q_a))
        return (self.q_d @ gradients.reshape(shape) @ self.q_a.T).flatten(1)


class PlainBasis:
    """Exact block of a few parameters, or the diagonal of many."""

    def __init__(self, curvature: Factor):
        g = curvature.flat().double()
        self.vectors = None
        if g.shape[1] <= SMALL:
            self.values, self.vectors = torch.linalg.eigh(g.T @ g)
            self.values = self.values.clamp(min=0)
        else:
            self.values = g.square().sum(0)

    def rotated(self, factor: Factor) -> Iterator[tuple[int, torch.Tensor]]:
        step = max(1, CHUNK // max(factor.numel, 1))
        for start in range(0, len(factor), step):
            g = factor.take(slice(start, start + step)).flat().double()
            yield start, self.rotate(g)

    def rotate(self, gradients: torch.Tensor) -> torch.Tensor:
        return gradients if self.vectors is None else gradients @ self.vectors

    def rotate_back(self, gradients: torch.Tensor) -> torch.Tensor:
        return gradients if self.vectors is None else gradients @ self.vectors.T


def _inputs(factor: Outer) -> torch.Tensor:
    """Inputs in float64, with a constant one where the layer has a bias; zero where none counts."""
    a = factor.a.double()
    a = torch.cat([a, torch.ones_like(a[..., :1])], -1) if factor.bias else a
    return a * _counted(factor)[..., None]


def _counted(factor: Outer) -> torch.Tensor:
    """Positions that have a gradient, bool, shape (example, position): padding has none."""
    return (factor.d != 0).any(-1)
