"""K-FAC and EK-FAC: curvature layer by layer, each a Kronecker product of two small matrices."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..gradients.convolution import Convolution
from ..gradients.factors import Factor, Outer
from ..gradients.joining import concatenate
from ..projections.kernel import diagonal
from .damping import absolute_damping

CHUNK = 1 << 24  # gradient entries written out at a time
SMALL = 4096  # other parameters up to this many get their exact block, more their diagonal


def kronecker_scores(
    rows: list[list[Factor]],
    ascent: list[Factor],
    test: list[Factor],
    damping,
    corrected: bool,
) -> tuple[torch.Tensor, float]:
    """q' (H + damping I)^-1 v with H block-diagonal by layer.

    The block of a linear or convolutional layer is (A x S) for K-FAC, with A and S the second
    moments of inputs and output gradients, and (Q_A x Q_S) Lambda (Q_A x Q_S)' for EK-FAC, with
    Lambda the second moments of the curvature's gradients in the eigenbasis.

    Returns
    -------
    scores : float64, shape (n_test, n_train)
    added : the absolute damping, the same as that of the exact solver

    References
    ----------
    Martens & Grosse (2015), K-FAC; Grosse & Martens (2016), for convolutions; George et al.
    (2018), "Fast Approximate Natural Gradient Descent in a Kronecker-factored Eigenbasis".
    """
    layers = concatenate(rows)
    trace = diagonal(layers).sum()
    added = absolute_damping((trace / len(ascent[0]))[None, None], damping)
    scores = torch.zeros(len(test[0]), len(ascent[0]), dtype=torch.float64)
    scores = scores.to(trace.device)
    for blocks in zip(layers, test, ascent, strict=True):
        curvature, query, train = (f.outer() if isinstance(f, Convolution) else f for f in blocks)
        if all(isinstance(f, Outer) and f.weight for f in (curvature, query, train)):
            basis = KroneckerBasis(curvature, corrected)
        else:
            basis = PlainBasis(curvature)
        weight = 1 / (basis.values + added)
        for start, block in basis.rotated(query):
            for begin, other in basis.rotated(train):
                part = (block * weight) @ other.T
                scores[start : start + len(block), begin : begin + len(other)] += part
    return scores, added


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
            self.values = sum(block.square().sum(0) for _, block in self.rotated(curvature))
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
